"""The failure sensor: notifies people of a failed run and its error, once no retry follows."""

from collections.abc import Sequence

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.notifier import Notifier
from resources.platform import Platform
from sensors.attempts import State
from sensors.runs import CAUSE, how_to_continue, is_final, root_error, standing, will_be_retried

RETRIED_AFTER_ANY_ERROR = ("arrival", "labels", "only_labels")


def build_failure_sensor(
    status: dg.DefaultSensorStatus, products: Sequence[ModelProduct], name: str = "failures"
) -> dg.SensorDefinition:
    products_by_name = {product.name: product for product in products}

    @dg.run_failure_sensor(
        name=name,
        minimum_interval_seconds=5,
        default_status=status,
        description="Notifies of every run that failed for good: no retry follows, or only a person can fix the cause.",
    )
    def failures(context: dg.RunFailureSensorContext, notifier: Notifier, platform: Platform) -> dg.SkipReason | None:
        run, instance = context.dagster_run, context.instance
        if will_be_retried(run):
            return dg.SkipReason(f"run {run.run_id} is retried by Dagster")
        cause = run.tags.get(CAUSE, "")
        name, period, what = cause.split(":", 2) if cause.count(":") >= 2 else ("", "", "")
        remedy = ""
        if product := products_by_name.get(name):
            state, gives_up = platform.state_of(product), what not in RETRIED_AFTER_ANY_ERROR
            status_of_run = standing(instance, state, period, what, gives_up=gives_up)
            if status_of_run.is_open:
                if not (status_of_run.attempts == 1 and is_final(instance, run.run_id)):
                    return dg.SkipReason(f"{cause} failed {status_of_run.attempts} times and is requested again")
                remedy = f" It is requested again by itself, less and less often. {how_to_continue(product, period)}"
            if status_of_run.state is State.GIVEN_UP:
                remedy = f" It failed {status_of_run.attempts} times. {how_to_continue(product, period)}"
        root = root_error(instance, run.run_id)
        error = (
            f"{root.step}: {root.kind}: {root.text}"
            if root
            else f"before its first step: {context.failure_event.message}"
        )
        notifier.notify(
            title=f"run of {cause or run.job_name} failed",
            text=f"{error}{remedy} (run {run.run_id})",
            product=run.tags.get("product", ""),
            level="error",
        )
        return None

    return failures
