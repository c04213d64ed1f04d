"""`mlops …` about versions: who let them serve, what serves since when, back to an earlier one, why, and again."""

import getpass
import os
import pwd
import time
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mlops_assets import addresses
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.records.training import Recipe
from mlops_assets.state.ledger import terms
from mlops_assets.state.objects import Folder, objects_at
from mlops_assets.state.workspace import Workspace

InHome = Annotated[
    str,
    Parameter(
        name=["--home", "--state"], help="Folder or bucket of the state (default: MLOPS_STATE, else MLOPS_HOME)."
    ),
]
By = Annotated[str, Parameter(help="Who does it.")]
Who = Annotated[str, Parameter(help="Who answers (default: your account; it is recorded in any case).")]

recipe = App(name="recipe", help="Recipes: what leaves development.")


def approve(product: str, version: int, *, note: str, by: Who = "", home: InHome = "") -> None:
    """Sign an approval of a version that waits; the approvals sensor deploys it."""
    _answer(product, version, "approved", by, note, home)


def reject(product: str, version: int, *, reason: str, by: Who = "", home: InHome = "") -> None:
    """Turn a version that waits down; the reason is recorded with your name."""
    _answer(product, version, "rejected", by, reason, home)


def retry(product: str, period: str, *, by: By = "", home: InHome = "") -> None:
    """Ask anew for a period that was given up or skipped, once what failed is mended; the sensors do the rest."""
    declared = product_named(product)
    state = opened(home).of(declared)
    key = declared.period.at(period).key
    state.skipped.ask_again(key, by or getpass.getuser())
    Console().print(f"the sensors of {declared.name} ask for {key} again at their next tick", soft_wrap=True)


def skip(product: str, period: str, *, reason: str, by: By = "", home: InHome = "") -> None:
    """Go on without a period that cannot be had: it is stored without rows, and readings say that it is missing."""
    declared = product_named(product)
    state = opened(home).of(declared)
    key = declared.period.at(period).key
    if not reason.strip():
        raise DeclarationError("a period is skipped for a reason: those who look at a gap later have nothing else.")
    if state.tables.has("raw", key) and (rows := state.tables.contents("raw", key).rows):
        raise DeclarationError(f"{key} of {declared.name} is stored with {rows:,} rows, so there is nothing to skip.")
    state.skipped.skip(key, reason, by or getpass.getuser())
    Console().print(
        f"{key} of {declared.name} is stored without rows at the sensors' next tick; "
        f"`mlops retry {declared.name} {key}` asks for it again",
        soft_wrap=True,
    )


def sign(product: str, version: int, *, home: InHome = "") -> None:
    """Sign the bundle of a version of before MLOPS_APPROVAL_KEY was set, once you know where it comes from."""
    state = opened(home).of(product_named(product))
    if not state.workspace.approval_key:
        raise DeclarationError("MLOPS_APPROVAL_KEY is not set. Set it to the key that bundles are signed with.")
    state.bundles.sign(version)
    Console().print(f"version {version} of {product} is signed", soft_wrap=True)


def history(
    product: str,
    *,
    verify: Annotated[bool, Parameter(negative="", help="Prove that no entry was changed or removed.")] = False,
    home: InHome = "",
) -> None:
    """What served from when to when, and why."""
    shown = Table("since", "until", "version", "partition", "by", "reason")
    ledger = opened(home).of(product_named(product)).ledger
    if verify:
        count = ledger.verify()
        Console().print(f"{count} entries of {product} follow each other: none was changed or removed", soft_wrap=True)
        return
    for item, end in terms(ledger.history()):
        until = f"{end:%Y-%m-%d %H:%M}" if end else "now"
        since = f"{item.deployed_at:%Y-%m-%d %H:%M}"
        shown.add_row(since, until, str(item.version), item.partition, item.by, item.reason)
    Console().print(shown)


def served(
    product: str,
    *,
    at: Annotated[str, Parameter(help="A moment in UTC, as 2013-07-04T12:00.")],
    home: InHome = "",
) -> None:
    """Which version served at a moment."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise DeclarationError(f"{at!r} is no moment. Write it as 2013-07-04T12:00 (UTC).") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    found = opened(home).of(product_named(product)).ledger.champion_at(moment)
    if found is None:
        Console().print(f"nothing served {product} at {moment:%Y-%m-%d %H:%M} UTC")
        return
    Console().print(
        f"version {found.version} (partition {found.partition}), since {found.deployed_at:%Y-%m-%d %H:%M} by {found.by}: "
        f"{found.reason}",
        soft_wrap=True,
    )


def rollback(
    product: str,
    *,
    reason: str,
    to: Annotated[int | None, Parameter(help="Version that is to serve again (default: the champion before).")] = None,
    by: By = "",
    home: InHome = "",
) -> None:
    """Let an earlier version serve again; the API follows by itself. Recorded in the ledger and in Dagster."""
    from mlops_assets.inference.rollback import roll_back
    from resources.environments import read_environment

    started = time.perf_counter()
    declared, console = product_named(product), Console()
    workspace = opened(home)
    done = roll_back(workspace.of(declared), to=to, by=by or getpass.getuser(), reason=reason)
    console.print(
        f"version {done.deployment.version} serves again, in place of {done.former.version} "
        f"({time.perf_counter() - started:.2f} s)"
    )
    # it serves already; what follows tells Dagster and MLflow
    from mlops_assets.inference.assets import deployment_facts
    from mlops_assets.state.model_registry import CHAMPION, ModelRegistry
    from resources.event_log import EventLog, opened_instance

    environment = read_environment()
    with opened_instance(workspace, environment.dagster_home) as instance:
        if instance is None:
            console.print("recorded in the ledger; there is no Dagster instance here to record it in as well")
        else:
            facts = deployment_facts(done.deployment, done.former.version)
            log = EventLog(instance, declared)
            log.report("deployment", done.deployment.partition, facts, str(done.deployment.version))
    tracking = tracking_of(workspace, home)
    registry = ModelRegistry(tracking, workspace.mlflow_artifacts(tracking))
    if not registry.mirror_alias(declared.name, CHAMPION, done.deployment.version):
        console.print(
            f"MLflow at {addresses.shown(tracking)} does not know version {done.deployment.version}: its alias stays",
            soft_wrap=True,
        )


def why(
    product: str,
    version: Annotated[int | None, Parameter(help="A version (default: the champion).")] = None,
    *,
    home: InHome = "",
    dagster_url: str = "http://127.0.0.1:3000",
) -> None:
    """From what serves back to the raw partitions, as Dagster's log and the ledger recorded it."""
    from mlops_assets.inference.why import Places, explain
    from resources.environments import read_environment
    from resources.event_log import EventLog, opened_instance

    declared, workspace, environment = product_named(product), opened(home), read_environment()
    places = Places(dagster_url.rstrip("/"), environment.mlflow_url.rstrip("/"), environment.api_url.rstrip("/"))
    with opened_instance(workspace, environment.dagster_home) as instance:
        log = EventLog(instance, declared) if instance is not None else None
        newest = log.newest if log is not None else lambda *_: None
        steps = explain(workspace.of(declared), version, newest, places)
    shown = Tree(f"[bold]{declared.name}[/bold]: {declared.description}")
    for step in steps:
        branch = shown.add(f"[bold]{step.name}[/bold]  [dim]{step.link}[/dim]")
        for fact in step.facts:
            branch.add(Text(fact))
    Console().print(shown, soft_wrap=True)


def reproduce(product: str, version: int, *, home: InHome = "") -> None:
    """Build a version again from what it recorded: identical to the bit, or what changed is named (exit code 1)."""
    import sys

    from mlops_assets.training.reproduce import reproduce as build_again

    declared, console = product_named(product), Console()
    workspace = opened(home)
    with console.status(f"version {version}") as status:
        found = build_again(workspace.of(declared), version, status.update)
    shown = Table("what", "again", title=f"{declared.name} version {version}")
    shown.add_row("training set", _same(found.data_is_same))
    for name, is_same in found.files.items():
        shown.add_row(name, _same(is_same))
    largest = "not comparable" if found.largest_difference is None else f"{found.largest_difference:.3g}"
    shown.add_row(f"predictions of {found.rows:,} test rows", f"largest difference {largest}")
    console.print(shown)
    for changed in found.changed:
        console.print(f"changed since: {changed}", soft_wrap=True)
    if found.is_identical:
        console.print("identical to the last bit")
        return
    if not found.changed:
        console.print("nothing that was recorded has changed, and yet it is not the same")
    sys.exit(1)


@recipe.command
def promote(
    run_id: str,
    *,
    by: By,
    why: Annotated[str, Parameter(help="Why this one.")],
    product: Annotated[str, Parameter(help="Product (default: what the run's tag says).")] = "",
    home: InHome = "",
) -> None:
    """Let the settings of an MLflow run leave development as the product's next recipe, whoever logged the run."""
    from mlops_assets.errors import choices
    from mlops_assets.products.catalog import CATALOG
    from mlops_assets.state.model_registry import NEEDS_REWORK, ModelRegistry
    from mlops_assets.training.from_run import settings_of_run
    from mlops_assets.training.recipe import current_recipe, leave_development, promote_settings
    from resources.environments import read_environment
    from resources.event_log import EventLog, opened_instance

    workspace, environment = opened(home), read_environment()
    tracking = tracking_of(workspace, home)
    registry = ModelRegistry(tracking, workspace.mlflow_artifacts(tracking))
    facts = registry.run_facts(run_id)
    name = product or facts.tags.get("product", "")
    if not name:
        known = choices("", (item.name for item in CATALOG))
        raise DeclarationError(f"run {run_id} does not say whose it is. Name the product with --product. {known}")
    declared = product_named(name)
    settings = settings_of_run(declared, run_id, facts.params, facts.tags)
    state = workspace.of(declared)
    former = current_recipe(state)
    made = promote_settings(state, settings, by, why, state.clock.now(), run_id)
    left = leave_development(state, former, made)
    if left.cleared is not None:
        registry.untag_version(declared.name, left.cleared, NEEDS_REWORK)
    with opened_instance(workspace, environment.dagster_home) as instance:
        if instance is not None:
            said = {"recipe version": made.version, "estimator": made.estimator, "by": made.by, "reason": made.reason}
            EventLog(instance, declared).report(Recipe.asset, None, said, left.data_version)
    Console().print(
        f"recipe {made.version} of {declared.name}: {made.estimator} {made.hyperparameters}", soft_wrap=True
    )


def opened(home: str, *, is_made: bool = False) -> Workspace:
    """The workspace at a folder or bucket; where none is named, that of the environment.

    is_made: by the command, where there is none. Raises DeclarationError: there is none."""
    from resources.environments import read_environment

    there = read_environment().workspace
    if home:
        named = objects_at(home)
        local = named.root if isinstance(named, Folder) else there.home
        there = Workspace(named.url, local, there.online_store, there.approval_key, there.optuna_storage)
    if isinstance(there.objects, Folder) and not is_made and not there.objects.root.is_dir():
        raise DeclarationError(
            f"there is no state at {there.objects.root}. `mlops up` makes one; --home or MLOPS_HOME names the one to use."
        )
    return there


def tracking_of(workspace: Workspace, home: str) -> str:
    """Where MLflow is: a home that was named has its own, and all else is as the environment says."""
    from resources.environments import read_environment

    return workspace.mlflow_store if home and not workspace.is_shared else read_environment().mlflow_tracking


def _answer(product: str, version: int, verdict: str, by: str, note: str, home: str) -> None:
    from mlops_assets.records.acceptance import Verdict
    from mlops_assets.testing.run import answer_version

    account = _account()
    by, through = by or account, f"said on the command line by the account {account}"
    given = answer_version(opened(home).of(product_named(product)), version, Verdict(verdict), by, note, through)
    until = f", counts until {given.expires_at:%Y-%m-%d %H:%M} UTC" if verdict == Verdict.APPROVED else ""
    Console().print(
        f"version {version} of {product} {verdict} by {by}{until}; signature {given.signature[:12]}", soft_wrap=True
    )


def _account() -> str:
    """Of whoever runs this process; not what the environment says, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"number {os.getuid()}"


def _same(is_same: bool) -> str:
    return "same to the bit" if is_same else "[bold]different[/bold]"
