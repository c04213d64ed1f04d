"""The runs of a cause as Dagster recorded them: how often it was tried, how that ended, and the next run request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import ProductState
from sensors.attempts import Attempt, Standing, State, standing_of

CAUSE = "mlops/cause"  # what a sensor asked for, once per event: product:period:what
WHAT = "mlops/what"
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ENDED = (dg.DagsterRunStatus.SUCCESS, *FAILED)
OPEN = tuple(status for status in dg.DagsterRunStatus if status not in ENDED)
# tags that Dagster's own run retries leave
WILL_RETRY, RETRIED_BY, RETRY_NUMBER = "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/retry_number"
RETRY_SECONDS = 300.0  # a retry that Dagster announced and did not launch for so long does not come any more
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
    """How it stands with what a sensor asks for.

    What ended before a person asked for the period again does not count. since: seconds since 1970 before which failed
    runs do not count either. gives_up: an error that is not transient is the answer, as a
    failed gate is; otherwise what failed may be mended outside of us, and is asked for again."""
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
    """A run for this cause. Dagster takes each run key once, so it counts the runs that there were.

    kind: by which runs of different causes are found together (default: `what`)."""
    cause = cause_of(product, period, what)
    return dg.RunRequest(
        run_key=f"{cause}:{len(_records(instance, cause)) + 1}",
        partition_key=partition,
        asset_selection=list(selection),
        tags={CAUSE: cause, "product": product.name, WHAT: kind or what},
    )


def under_way(instance: dg.DagsterInstance, product: ModelProduct, what: str) -> str | None:
    """The cause of a run of this kind that has not ended; periods follow each other, so the next one waits for it."""
    runs = instance.get_runs(dg.RunsFilter(tags={"product": product.name, WHAT: what}, statuses=list(OPEN)), limit=1)
    return runs[0].tags[CAUSE] if runs else None


def unfinished_periods(instance: dg.DagsterInstance, product: ModelProduct, what: str) -> set[str]:
    """Periods whose newest run of this kind has not succeeded: it failed, or has not ended.

    Of the newest runs alone, so that a tick costs the same however long the history is."""
    runs = instance.get_runs(dg.RunsFilter(tags={"product": product.name, WHAT: what}), limit=NEWEST_RUNS)
    newest: dict[str, dg.DagsterRunStatus] = {}
    for run in runs:
        newest.setdefault(run.tags[CAUSE].split(":")[1], run.status)
    return {period for period, status in newest.items() if status is not dg.DagsterRunStatus.SUCCESS}


def in_words(product: ModelProduct, period: str, what: str, found: Standing) -> str:
    """What a tick says of a period that it asks nothing for."""
    if found.state is State.GIVEN_UP:
        return f"{what} of {period} failed {found.attempts} times and is not asked for again. {how_to_go_on(product, period)}"
    if found.state is State.WAITS and found.until is not None:
        return f"{what} of {period} failed {found.attempts} times and is asked for again at {found.until:%H:%M:%S} UTC"
    return f"{what} of {period} is {found.state}"


def how_to_go_on(product: ModelProduct, period: str) -> str:
    return (
        f"Mend what the run says, then `mlops retry {product.name} {period}`; or go on without the period: "
        f'`mlops skip {product.name} {period} --reason "…"`.'
    )


@dataclass(frozen=True)
class RootError:
    """The exception at the root of a failed step. kind: the name of its class."""

    step: str
    kind: str
    text: str


def root_error(instance: dg.DagsterInstance, run_id: str) -> RootError | None:
    """Of the first step that failed; None where the run failed outside of its steps."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        error = event.step_failure_data.error if event else None
        while error is not None and error.cause is not None:
            error = error.cause
        if event and error is not None:
            named, _, text = error.message.strip().partition(": ")
            return RootError(str(event.step_key), str(error.cls_name or named).rpartition(".")[2], text or named)
    return None


def is_final(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Did the run fail for a reason that another attempt does not change: a failed check, or one of our errors that is
    not transient?"""
    found = root_error(instance, run_id)
    return found is not None and (found.kind == BLOCKED_BY_CHECK or found.kind in _definite())


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
    """Has Dagster announced a retry of this failed run, or launched it?"""
    return run.tags.get(WILL_RETRY) == "true"


def _is_about_to_be_retried(record: dg.RunRecord) -> bool:
    if not will_be_retried(record.dagster_run) or RETRIED_BY in record.dagster_run.tags:
        return False
    ended = record.end_time or record.update_timestamp.timestamp()
    return datetime.now(UTC).timestamp() - ended < RETRY_SECONDS


def _records(instance: dg.DagsterInstance, cause: str) -> list[dg.RunRecord]:
    """Oldest first."""
    return list(instance.get_run_records(dg.RunsFilter(tags={CAUSE: cause}), ascending=True))


def _definite() -> set[str]:
    found, kinds = set(), [PlatformError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if not kind.is_transient:
            found.add(kind.__name__)
    return found
