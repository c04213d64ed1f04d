"""`mlops materialize`, `train` and `experiment`: run assets in this process, for a terminal, cron, CI or another orchestrator."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from mlops_assets.cli.exit_codes import FAILED, TOO_EARLY
from mlops_assets.cli.output import AsJson, write_json
from mlops_assets.cli.workspaces import InHome, opened, tracking_of
from mlops_assets.errors import DataError
from mlops_assets.products.catalog import product_named
from mlops_assets.products.product import ModelProduct

if TYPE_CHECKING:
    from mlops_assets.records.training import Leaderboard
    from mlops_assets.replay.asked_runs import Outcome
    from mlops_assets.replay.runs import Replay
    from resources.environments import Environment


def materialize(
    product: str,
    *assets: str,
    partition: Annotated[
        str, Parameter(help="A period, or the first and the last of several: 2013-04-22..2013-06-03.")
    ] = "",
    as_json: AsJson = False,
    home: InHome = "",
) -> None:
    """Materialise assets of a product, for one period or several. Exit code 1: a run failed; 75: a period has not arrived."""
    from mlops_assets.replay.asked_runs import decisions_of, keys_of_range, partitions_of_runs, run_once, selection_of

    declared = product_named(product)
    keys = keys_of_range(declared, partition, datetime.now(UTC))
    with in_this_process(declared, home, create=True) as running:
        selection = selection_of(running, assets, has_partition=bool(keys))
        outcomes = []
        for partitions in partitions_of_runs(running, selection, keys):
            outcomes.append(run_once(running, selection, partitions))
            _print_outcome(outcomes[-1], as_json=as_json)
            if not outcomes[-1].succeeded:
                break
        decided = decisions_of(running.state, outcomes)
    if as_json:
        write_json({**_document(declared, outcomes), "decisions": [asdict(item) for item in decided]})
    else:
        for item in decided:
            Console().print(f"{item.period}: {item.action}: {item.reason}", soft_wrap=True, markup=False)
    if not outcomes[-1].succeeded:
        sys.exit(TOO_EARLY if outcomes[-1].is_too_early else FAILED)


def train(
    product: str,
    *,
    partition: Annotated[
        str, Parameter(help="The period it is trained for (default: the period after the newest labelled one).")
    ] = "",
    as_json: AsJson = False,
    home: InHome = "",
) -> None:
    """Train a version with the newest recipe, test, stage and deploy it. Exit code 1: its gates refused it."""
    from mlops_assets.data.next_step import labelled_history
    from mlops_assets.records.acceptance import AcceptanceRecord
    from mlops_assets.replay.asked_runs import begun, run_once
    from mlops_assets.training.recipe import current_recipe
    from sensors.selections import retraining

    declared = product_named(product)
    with in_this_process(declared, home) as running:
        state = running.state
        newest, count = labelled_history(state)
        key = begun(declared, declared.period.at(partition), datetime.now(UTC)).key if partition else newest
        needed = declared.training_periods
        if not key or (not partition and count < needed):
            raise DataError(
                f"{count} of the {needed} labelled periods that {product} learns from are stored. `mlops replay {product} "
                "--until-champion` stores them."
            )
        if current_recipe(state) is None:
            raise DataError(f"{product} has no recipe yet. Run `mlops experiment {product} --finalise`.")
        outcome = run_once(running, retraining(declared), (key,))
        accepted = state.records.load(AcceptanceRecord, key) if state.records.has(AcceptanceRecord, key) else None
    if not outcome.succeeded:
        accepted = None  # the record is that of an earlier run
        _print_outcome(outcome, as_json=as_json)
    if as_json:
        facts = {name: getattr(accepted, name, None) for name in ("version", "state", "reason")}
        write_json({**_document(declared, [outcome]), **facts})
    elif accepted is not None:
        Console().print(f"version {accepted.version} of {product} for {key}: {accepted.reason}", soft_wrap=True)
    if not outcome.succeeded:
        sys.exit(FAILED)


def experiment(
    product: str,
    *,
    as_of: Annotated[
        str, Parameter(help="Partition whose training window is searched (default: the newest labelled one).")
    ] = "",
    finalise: Annotated[bool, Parameter(negative="", help="Make the best candidate the recipe.")] = False,
    as_json: AsJson = False,
    home: InHome = "",
) -> None:
    """Compare the candidates and tune them within the product's search; `--finalise` makes the best the recipe."""
    from mlops_assets.records.training import Leaderboard
    from mlops_assets.replay.asked_runs import run_once
    from sensors.selections import development

    declared = product_named(product)
    if as_of:
        declared.period.at(as_of)
    leaderboard, recipe = development(declared)
    with in_this_process(declared, home) as running:
        ops = {"__".join(leaderboard.path): {"config": {"as_of": as_of}}}
        if finalise:
            ops["__".join(recipe.path)] = {"config": {"by": "mlops experiment"}}
        outcome = run_once(running, [leaderboard, recipe] if finalise else [leaderboard], (), ops)
        board = running.state.records.load(Leaderboard, "latest") if outcome.succeeded else None
    if not outcome.succeeded:
        _print_outcome(outcome, as_json=as_json)
    if as_json:
        write_json({**_document(declared, [outcome]), "leaderboard": board})
    elif board is not None:
        Console().print(leaderboard_table(board))
        ending = "it is the recipe now" if finalise else f"`mlops experiment {product} --finalise` makes it the recipe"
        Console().print(f"{board.best.candidate} is the best that can be served; {ending}", soft_wrap=True)
    if not outcome.succeeded:
        sys.exit(FAILED)


@contextmanager
def in_this_process(product: ModelProduct, home: str, *, create: bool = False) -> Iterator["Replay"]:
    """Opens a `Replay` that runs assets of the product with their reports; Ctrl-C ends a run and records it as failed."""
    from mlops_assets.replay.opening import opened_replay, quieten
    from mlops_assets.servers.platform import interruptible, prepare

    environment = environment_of(home, create=create)
    prepare(environment.workspace)
    quieten()
    with interruptible(), opened_replay(environment.workspace.of(product), environment) as running:
        running.renders_reports = True
        yield running


def environment_of(home: str, *, create: bool) -> "Environment":
    """The environment of this process with this home. Raises DeclarationError: the home does not exist, and create is False."""
    from resources.environments import read_environment

    workspace = opened(home, create=create)
    return replace(read_environment(), workspace=workspace, mlflow_tracking=tracking_of(workspace, home))


def leaderboard_table(board: "Leaderboard") -> Table:
    shown = Table(
        "candidate", board.metric, "interval", "behind best", "settings tried", "fit s", "served", title=board.product
    )
    for trial in board.trials:
        behind = "tied with the best" if trial.is_tied_with_best else f"{trial.behind_best:.4f}"
        shown.add_row(
            trial.candidate,
            f"{trial.score:.4f}",
            f"{trial.low:.4f} to {trial.high:.4f}",
            behind,
            str(trial.tried),
            f"{trial.fit_seconds:.1f}",
            "no ONNX model" if trial.bundle_bytes is None else f"{trial.bundle_bytes / 1e6:.1f} MB",
        )
    shown.caption = (
        f"as of {board.as_of}, {board.rows:,} rows, {len(board.searched)} trials; ended by: {board.ended_by}"
    )
    return shown


def _document(product: ModelProduct, outcomes: "list[Outcome]") -> dict[str, object]:
    return {
        "product": product.name,
        "succeeded": all(outcome.succeeded for outcome in outcomes),
        "error": next((outcome.error for outcome in outcomes if not outcome.succeeded), ""),
        "runs": [asdict(outcome) for outcome in outcomes],
    }


def _print_outcome(outcome: "Outcome", *, as_json: bool) -> None:
    """Failures are always printed on standard error, where logs of other programs show them as a sentence."""
    partitions = f"{outcome.partitions[0]}: " if len(outcome.partitions) == 1 else ""
    if len(outcome.partitions) > 1:
        partitions = f"{outcome.partitions[0]} to {outcome.partitions[-1]}: "
    if outcome.succeeded and not as_json:
        Console().print(f"{partitions}{', '.join(outcome.materialized)} ({outcome.seconds:.1f} s)", soft_wrap=True)
    if not outcome.succeeded:
        failure = f"{partitions}run {outcome.run_id} failed: {outcome.error}"
        Console(stderr=True).print(failure, soft_wrap=True, markup=False)
