"""The steps of a replay: the history, the first champion, and every period that is decided after it."""

from collections.abc import Sequence

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlops_assets.errors import Inconclusive, PlatformError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord
from mlops_assets.replay.periods import deployed_after, unfinished
from mlops_assets.replay.runs import Replay, expect_success, failure_of
from mlops_assets.replay.story import one_line, week_of
from sensors.new_data import is_served
from sensors.selections import is_automatic


def store_history(replay: Replay, periods: Sequence[Period], console: Console) -> None:
    """Store the periods and labels that the first champion is trained on."""
    state = replay.state
    stored = {*state.tables.keys("features")} & {*state.tables.keys("labels")}
    missing = [period.key for period in periods if period.key not in stored]
    with progress_on(console) as progress:
        bar = progress.add_task(f"{len(missing)} periods of history arrive", total=len(missing))
        replay.at(periods[-1].end + state.product.label.delay)
        for count, result in replay.store_history(missing):
            expect_success(result)
            progress.advance(bar, count)


def train_first_champion(replay: Replay, key: str, console: Console) -> None:
    """Run the experiment and train the first champion as partition `key`, where there is none.

    Raises PlatformError: its gates refused it, or it waits for a person; the error says how to continue."""
    state = replay.state
    name = state.product.name
    replay.tick("approvals")
    if state.ledger.history():
        return
    _refuse_waiting_version(replay, key)
    with progress_on(console) as progress:
        progress.add_task("development: experiment, recipe, first champion", total=None)
        results = replay.develop(key, "first")
    for result in results:
        if not result.success:
            raise PlatformError(
                f"the first champion of {name} was refused: {failure_of(result)}. The stored periods are kept: change the product "
                "(its features, candidates or gates), then run the same command again, or begin with a later period (--from)."
            )
    _refuse_waiting_version(replay, key)
    champion = state.ledger.champion()
    console.print(f"{key}: first champion is version {champion.version}: {champion.reason}", soft_wrap=True)


def decide_periods(replay: Replay, periods: Sequence[Period], deployed: dict[str, int], console: Console) -> None:
    """Let each period arrive and be labelled, and carry out its decision. deployed: as in `deployed_after`; it is updated."""
    state = replay.state
    remaining = unfinished(state, periods)
    with progress_on(console) as progress:
        bar = progress.add_task("", total=len(remaining))
        for period in remaining:
            progress.update(bar, description=f"{period.key}: arrives")
            before = set(state.records.keys(DriftDecision))
            _arrive_and_label(replay, period)
            drift_runs = replay.tick("drift")
            for key in state.records.keys(DriftDecision):
                if key not in before:
                    progress.console.print(one_line(week_of(state, key, is_scored=False)))
            _follow(replay, period, drift_runs, deployed, progress.console)
            progress.advance(bar)
        if remaining and _has_later_labels(state.product, remaining[-1]):
            # the newest labels are due after the last period has arrived
            replay.at(remaining[-1].end + state.product.label.delay)
            _run(replay, "labels")
            _follow(replay, remaining[-1], replay.tick("drift"), deployed, progress.console)


def _has_later_labels(product: ModelProduct, period: Period) -> bool:
    """Whether the next period arrives before the labels of this one are due."""
    return product.label.delay > period.end - period.start


def _arrive_and_label(replay: Replay, period: Period) -> None:
    """Store the period, and the labels that are due until the next one."""
    state, product = replay.state, replay.product
    replay.tick("approvals")
    labels_are_later = _has_later_labels(product, period)
    # the first champion is deployed when the labels of its history are due, and periods that end until then have no predictions
    if labels_are_later or not is_served(state, period):
        # until then, labels of earlier periods are due
        replay.at(period.end)
    else:
        replay.at(period.end + product.label.delay)
        if not state.records.has(DriftRecord, period.key):
            result = replay.arrive_and_label(period.key)
            if result.success:
                return
            if not product.retries.skips:
                expect_success(result)
            state.skipped.skip(period.key, f"its run failed, and {product.name} declares missing='skip'", "replay")
    _run(replay, "new_data")
    if not labels_are_later:
        replay.at(period.end + product.label.delay)
    _run(replay, "labels")


def answer_rework(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """If the model was flagged, develop a new recipe and deploy it, as a team would."""
    flag = replay.state.ledger.open_flag()
    if flag is None:
        return
    console.print(f"    version {flag.version} is flagged for rework: {flag.reason}", soft_wrap=True)
    if not has_next(replay, period):
        console.print("    this is the last period, so the rework is not answered")
        return
    for result in replay.develop(replay.product.period.shift(period, 1).key, "rework"):
        if not result.success:
            console.print(f"    the answer was refused: {failure_of(result)}", soft_wrap=True)
    note_champion(replay, period, deployed, console)


def has_next(replay: Replay, period: Period) -> bool:
    return replay.product.period.has(replay.product.period.shift(period, 1))


def note_champion(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """Print the new champion, if the period's decision led to one."""
    champion = replay.state.ledger.champion()
    newest = deployed_after(replay.state)
    if {period: version for period, version in newest.items() if period not in deployed}:
        console.print(f"    version {champion.version} is the new champion: {champion.reason}", soft_wrap=True)
        deployed.update(newest)


def progress_on(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _run(replay: Replay, sensor: str) -> None:
    for result in replay.tick(sensor):
        expect_success(result)


def _follow(
    replay: Replay, period: Period, runs: list[dg.ExecuteInProcessResult], deployed: dict[str, int], console: Console
) -> None:
    """Print the result of a retraining, and answer a rework as a team would."""
    for result in runs:
        if not result.success:
            failure = failure_of(result)
            verdict = "could not be judged" if Inconclusive.__name__ in failure else "refused"
            console.print(f"    challenger {verdict}: {failure}", soft_wrap=True)
        elif not is_automatic(replay.product) and (version := _waiting(replay, result)):
            console.print(f"    version {version} waits: {_how_to_approve(replay, version)}", soft_wrap=True)
    note_champion(replay, period, deployed, console)
    answer_rework(replay, period, deployed, console)


def _waiting(replay: Replay, result: dg.ExecuteInProcessResult) -> int | None:
    """The version of this run that waits for a person."""
    for event in result.get_asset_materialization_events():
        if event.asset_key and event.asset_key.path[-1] == AcceptanceRecord.asset and event.partition:
            return _waiting_as(replay, event.partition)
    return None


def _waiting_as(replay: Replay, key: str) -> int | None:
    if not replay.state.records.has(AcceptanceRecord, key):
        return None
    record = replay.state.records.load(AcceptanceRecord, key)
    return record.version if record.state is AcceptanceState.WAITING else None


def _refuse_waiting_version(replay: Replay, key: str) -> None:
    if version := _waiting_as(replay, key):
        raise PlatformError(
            f"version {version} of {replay.product.name} waits for a person, and nothing is decided without a champion. "
            f"{_how_to_approve(replay, version).capitalize()}, then run the same command again."
        )


def _how_to_approve(replay: Replay, version: int) -> str:
    return f'run `mlops approve {replay.product.name} {version} --note "…" --home {replay.state.workspace.url}`'
