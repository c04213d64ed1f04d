"""The runs of a cause in Dagster's records: attempts, their results, and the next run request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import ProductState
from sensors.attempts import Attempt, Standing, State, standing_of

CAUSE = "mlops/cause"  # the reason for a sensor's request, one per event: product:period:what
WHAT = "mlops/what"
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ENDED = (dg.DagsterRunStatus.SUCCESS, *FAILED)
OPEN = tuple(status for status in dg.DagsterRunStatus if status not in ENDED)
# tags that Dagster's own run retries leave
WILL_RETRY, RETRIED_BY, RETRY_NUMBER = "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/retry_number"
RETRY_SECONDS = 300.0  # a retry that Dagster announced and did not launch within this time will not come
NEWEST_RUNS = 100
BLOCKED_BY_CHECK = "DagsterAssetCheckFailedError"


def cause_of(product: ModelProduct, period: str, what: str) -> str:
    return f"{product.name}:{period}:{what}"


def standing(
    instance: dg.DagsterInstance,
    state: ProductState,
    period: str,
    what: str,
    *,
    since: float | None = None,
    gives_up: bool = False,
) -> Standing:
    """The standing of what a sensor requests.

    Runs that ended before a person requested the period again do not count. since: failed runs before this time, in seconds
    since 1970, do not count either. gives_up: an error that is not transient, such as a failed gate, is final; otherwise its
    cause may be fixed outside of the platform, and the run is requested again."""
    product = state.product
    again = state.skipped.asked_again_at(period)

    def counts(record: dg.RunRecord) -> bool:
        launched, status = record.create_timestamp.timestamp(), record.dagster_run.status
        if again is not None and status in ENDED and launched < again.timestamp():
            return False
        return since is None or status not in FAILED or launched >= since

    records = [record for record in _records(instance, cause_of(product, period, what)) if counts(record)]
    return standing_of([_attempt(instance, record, gives_up) for record in records], datetime.now(UTC), product.retries)


def request(
    instance: dg.DagsterInstance,
    product: ModelProduct,
    period: str,
    what: str,
    partition: str,
    selection: Sequence[dg.AssetKey],
    *,
    kind: str = "",
) -> dg.RunRequest:
    """A run for this cause. Dagster accepts each run key once, so the key contains the number of the attempt.

    kind: a tag that runs of different causes share (default: `what`)."""
    cause = cause_of(product, period, what)
    return dg.RunRequest(
        run_key=f"{cause}:{len(_records(instance, cause)) + 1}",
        partition_key=partition,
        asset_selection=list(selection),
        tags={CAUSE: cause, "product": product.name, WHAT: kind or what},
    )


def under_way(instance: dg.DagsterInstance, product: ModelProduct, what: str) -> str | None:
    """The cause of an active run of this kind, for which the next period waits."""
    runs = instance.get_runs(dg.RunsFilter(tags={"product": product.name, WHAT: what}, statuses=list(OPEN)), limit=1)
    return runs[0].tags[CAUSE] if runs else None


def unfinished_periods(instance: dg.DagsterInstance, product: ModelProduct, what: str) -> set[str]:
    """Periods whose newest run of this kind has failed or not ended.

    Only the newest runs are read, so that the time of a tick does not grow with the history."""
    runs = instance.get_runs(dg.RunsFilter(tags={"product": product.name, WHAT: what}), limit=NEWEST_RUNS)
    newest: dict[str, dg.DagsterRunStatus] = {}
    for run in runs:
        newest.setdefault(run.tags[CAUSE].split(":")[1], run.status)
    return {period for period, status in newest.items() if status is not dg.DagsterRunStatus.SUCCESS}


def in_words(product: ModelProduct, period: str, what: str, standing: Standing) -> str:
    """The reason for which a tick requests no run of a period."""
    failed = f"{what} of {period} failed {standing.attempts} times and is"
    if standing.state is State.GIVEN_UP:
        return f"{failed} not requested again. {how_to_continue(product, period)}"
    if standing.state is State.WAITS and standing.until is not None:
        return f"{failed} requested again at {standing.until:%H:%M:%S} UTC"
    return f"{what} of {period} is {standing.state}"


def how_to_continue(product: ModelProduct, period: str) -> str:
    return (
        f"Fix the error of the run, then `mlops retry {product.name} {period}`; or continue without the period: "
        f'`mlops skip {product.name} {period} --reason "…"`.'
    )


@dataclass(frozen=True)
class RootError:
    """The exception at the root of a failed step. kind: the name of its class."""

    step: str
    kind: str
    text: str


def root_error(instance: dg.DagsterInstance, run_id: str) -> RootError | None:
    """The error of the first failed step; None where the run failed outside of its steps."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        error = event.step_failure_data.error if event else None
        while error is not None and error.cause is not None:
            error = error.cause
        if event and error is not None:
            name, _, text = error.message.strip().partition(": ")
            return RootError(str(event.step_key), str(error.cls_name or name).rpartition(".")[2], text or name)
    return None


def is_final(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether another attempt would not help: a check failed, or one of our errors that is not transient."""
    error = root_error(instance, run_id)
    return error is not None and (error.kind == BLOCKED_BY_CHECK or error.kind in _final_errors())


def _attempt(instance: dg.DagsterInstance, record: dg.RunRecord, gives_up: bool) -> Attempt:
    run = record.dagster_run
    has_ended = run.status in ENDED and not _is_about_to_be_retried(record)
    ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC) if has_ended else None
    has_failed = run.status in FAILED
    return Attempt(
        ended_at=ended,
        succeeded=run.status is dg.DagsterRunStatus.SUCCESS,
        is_final=gives_up and has_failed and is_final(instance, run.run_id),
        is_retry=RETRY_NUMBER in run.tags,
    )


def will_be_retried(run: dg.DagsterRun) -> bool:
    """Whether Dagster announced or launched a retry of this failed run."""
    return run.tags.get(WILL_RETRY) == "true"


def _is_about_to_be_retried(record: dg.RunRecord) -> bool:
    if not will_be_retried(record.dagster_run) or RETRIED_BY in record.dagster_run.tags:
        return False
    ended = record.end_time or record.update_timestamp.timestamp()
    return datetime.now(UTC).timestamp() - ended < RETRY_SECONDS


def _records(instance: dg.DagsterInstance, cause: str) -> list[dg.RunRecord]:
    """Oldest first."""
    return list(instance.get_run_records(dg.RunsFilter(tags={CAUSE: cause}), ascending=True))


def _final_errors() -> set[str]:
    names, kinds = set(), [PlatformError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if not kind.is_transient:
            names.add(kind.__name__)
    return names
