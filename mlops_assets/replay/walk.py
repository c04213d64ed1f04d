"""Walks through a product's periods: the history, the first champion, and every period that is decided after it."""

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
from sensors.selections import is_automatic


def store_history(replay: Replay, periods: Sequence[Period], console: Console) -> None:
    """Store what the first champion learns from, with its labels."""
    state = replay.state
    stored = {*state.tables.keys("features")} & {*state.tables.keys("labels")}
    left = [period.key for period in periods if period.key not in stored]
    with a_progress(console) as progress:
        bar = progress.add_task(f"{len(left)} periods of history arrive", total=len(left))
        replay.at(periods[-1].end + state.product.label.delay)
        for count, result in replay.store_history(left):
            expect_success(result)
            progress.advance(bar, count)


def train_first_champion(replay: Replay, key: str, console: Console) -> None:
    """Experiment, recipe and the first champion as partition `key`, where there is none.

    Raises PlatformError: its gates refused it, or it waits for a person; the sentence says how to go on."""
    state = replay.state
    name = state.product.name
    replay.tick("approvals")
    if state.ledger.history():
        return
    _refuse_what_waits(replay, key)
    with a_progress(console) as progress:
        progress.add_task("development: experiment, recipe, first champion", total=None)
        results = replay.develop(key, "first")
    for result in results:
        if not result.success:
            raise PlatformError(
                f"the first champion of {name} was refused: {failure_of(result)}. What is stored is kept: change the product "
                "(its features, candidates or gates), then run the same command again, or begin with a later period (--from)."
            )
    _refuse_what_waits(replay, key)
    champion = state.ledger.champion()
    console.print(f"{key}: first champion is version {champion.version}: {champion.reason}", soft_wrap=True)


def decide_periods(replay: Replay, periods: Sequence[Period], deployed: dict[str, int], console: Console) -> None:
    """Let each period arrive and be labelled, and carry out what was decided. deployed: as in `deployed_after`, kept up
    to date."""
    state = replay.state
    left = unfinished(state, periods)
    with a_progress(console) as progress:
        bar = progress.add_task("", total=len(left))
        for period in left:
            progress.update(bar, description=f"{period.key}: arrives")
            before = set(state.records.keys(DriftDecision))
            _live_through(replay, period)
            carried_out = replay.tick("drift")
            for key in state.records.keys(DriftDecision):
                if key not in before:
                    progress.console.print(one_line(week_of(state, key, is_scored=False)))
            _follow(replay, period, carried_out, deployed, progress.console)
            progress.advance(bar)
        if left and _has_later_labels(state.product, left[-1]):
            # the newest labels are due after the last period has arrived
            replay.at(left[-1].end + state.product.label.delay)
            _run(replay, "labels")
            _follow(replay, left[-1], replay.tick("drift"), deployed, progress.console)


def _has_later_labels(product: ModelProduct, period: Period) -> bool:
    """Whether the next period arrives before the labels of this one are due."""
    return product.label.delay > period.end - period.start


def _live_through(replay: Replay, period: Period) -> None:
    """What arrives with the period, and what is labelled until the next one."""
    state, product = replay.state, replay.product
    replay.tick("approvals")
    if _has_later_labels(product, period):
        # labels of earlier periods are due meanwhile
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
    _run(replay, "labels")


def answer_rework(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """Where the model was flagged: run the experiment again, let a recipe leave, test and deploy it, as a team would."""
    flag = replay.state.ledger.open_flag()
    if flag is None:
        return
    console.print(f"    version {flag.version} is flagged for rework: {flag.reason}", soft_wrap=True)
    if not has_next(replay, period):
        console.print("    the year ends here, so nobody answers it")
        return
    for result in replay.develop(replay.product.period.shift(period, 1).key, "rework"):
        if not result.success:
            console.print(f"    the answer was refused: {failure_of(result)}", soft_wrap=True)
    note_champion(replay, period, deployed, console)


def has_next(replay: Replay, period: Period) -> bool:
    return replay.product.period.has(replay.product.period.shift(period, 1))


def note_champion(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """Say it, where the period's decision led to a new champion."""
    champion = replay.state.ledger.champion()
    newest = deployed_after(replay.state)
    if {period: version for period, version in newest.items() if period not in deployed}:
        console.print(f"    version {champion.version} is the new champion: {champion.reason}", soft_wrap=True)
        deployed.update(newest)


def a_progress(console: Console) -> Progress:
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
    """Say what became of a retraining; answer a brief the way a team would."""
    for result in runs:
        if not result.success:
            said = failure_of(result)
            verdict = "could not be judged" if Inconclusive.__name__ in said else "refused"
            console.print(f"    challenger {verdict}: {said}", soft_wrap=True)
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


def _refuse_what_waits(replay: Replay, key: str) -> None:
    if version := _waiting_as(replay, key):
        raise PlatformError(
            f"version {version} of {replay.product.name} waits for a person, and nothing is decided without a champion. "
            f"{_how_to_approve(replay, version).capitalize()}, then run the same command again."
        )


def _how_to_approve(replay: Replay, version: int) -> str:
    return f'say `mlops approve {replay.product.name} {version} --note "…" --home {replay.state.workspace.url}`'
