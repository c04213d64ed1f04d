"""A run failed: tell people which, and what it said."""

import dagster as dg

from resources.notifier import Notifier


def build_failure_sensor(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failures", minimum_interval_seconds=5, default_status=status, description="Notifies of every failed run."
    )
    def failures(context: dg.RunFailureSensorContext, notifier: Notifier) -> None:
        run = context.dagster_run
        failed = [event for event in context.get_step_failure_events() if event.step_key]
        said = [f"{event.step_key}: {_reason(event)}" for event in failed]
        what = run.tags.get("mlops/cause", run.job_name)
        notifier.notify(
            title=f"run of {what} failed",
            text=f"{'; '.join(said) or f'before its first step: {context.failure_event.message}'} (run {run.run_id})",
            product=run.tags.get("product", ""),
            level="error",
        )

    return failures


def _reason(event: dg.DagsterEvent) -> str:
    """What the exception at the root of a failed step said, without the path of its class."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return str(event.message)
    kind, _, text = error.message.strip().partition(": ")
    return f"{kind.rpartition('.')[2]}: {text}" if text else kind
