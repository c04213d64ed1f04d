"""A run failed: tell people which, and what it said, once nothing goes on by itself."""

from collections.abc import Sequence

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.notifier import Notifier
from resources.platform import Platform
from sensors.attempts import State
from sensors.runs import CAUSE, how_to_go_on, is_final, root_error, standing, will_be_retried

ASKED_AGAIN_WHATEVER_FAILED = ("arrival", "labels", "only_labels")


def build_failure_sensor(
    status: dg.DefaultSensorStatus, products: Sequence[ModelProduct], name: str = "failures"
) -> dg.SensorDefinition:
    known = {product.name: product for product in products}

    @dg.run_failure_sensor(
        name=name,
        minimum_interval_seconds=5,
        default_status=status,
        description="Notifies of every run that failed for good: no retry follows, or only a person can mend the reason.",
    )
    def failures(context: dg.RunFailureSensorContext, notifier: Notifier, platform: Platform) -> dg.SkipReason | None:
        run, instance = context.dagster_run, context.instance
        if will_be_retried(run):
            return dg.SkipReason(f"run {run.run_id} is retried by Dagster")
        cause = run.tags.get(CAUSE, "")
        name, period, what = cause.split(":", 2) if cause.count(":") >= 2 else ("", "", "")
        remedy = ""
        if name in known:
            found = standing(
                instance, platform.state_of(known[name]), period, what, gives_up=what not in ASKED_AGAIN_WHATEVER_FAILED
            )
            if found.is_open and not (found.attempts == 1 and is_final(instance, run.run_id)):
                return dg.SkipReason(f"{cause} failed {found.attempts} times and is asked for again")
            if found.state is State.GIVEN_UP:
                remedy = f" It failed {found.attempts} times. {how_to_go_on(known[name], period)}"
        root = root_error(instance, run.run_id)
        said = (
            f"{root.step}: {root.kind}: {root.text}"
            if root
            else f"before its first step: {context.failure_event.message}"
        )
        notifier.notify(
            title=f"run of {cause or run.job_name} failed",
            text=f"{said}{remedy} (run {run.run_id})",
            product=run.tags.get("product", ""),
            level="error",
        )
        return None

    return failures
