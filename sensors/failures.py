"""A run failed: tell people which, and what it said."""

import dagster as dg

from resources.notifier import Notifier


def build_failure_sensor(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failures", minimum_interval_seconds=5, default_status=status, description="Notifies of every failed run."
    )
    def failures(context: dg.RunFailureSensorContext, notifier: Notifier) -> None:
        run = context.dagster_run
        steps = [event.step_key for event in context.get_step_failure_events() if event.step_key]
        what = run.tags.get("mlops/cause", run.job_name)
        notifier.notify(
            title=f"run of {what} failed",
            text=f"{', '.join(steps) or 'before its first step'}: {context.failure_event.message} (run {run.run_id})",
            product=run.tags.get("product", ""),
            level="error",
        )

    return failures
