"""`mlops …` about versions: who let them serve, what serves since when, back to an earlier one, why, and again."""

import getpass
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.stores.home import Home

InHome = Annotated[Path | None, Parameter(name="--home", help="Data home (default: MLOPS_HOME, else var/home).")]
By = Annotated[str, Parameter(help="Who does it.")]

recipe = App(name="recipe", help="Recipes: what leaves development.")


def approve(product: str, version: int, *, by: By, note: str, home: InHome = None) -> None:
    """Sign an approval of a version that waits; the approvals sensor deploys it."""
    _answer(product, version, "approved", by, note, home)


def reject(product: str, version: int, *, by: By, reason: str, home: InHome = None) -> None:
    """Turn a version that waits down; the reason is recorded with your name."""
    _answer(product, version, "rejected", by, reason, home)


def history(product: str, *, home: InHome = None) -> None:
    """What served from when to when, and why."""
    shown = Table("since", "until", "version", "partition", "by", "reason")
    deployments = opened(home).ledger.history(product_named(product).name)
    ends = [f"{item.deployed_at:%Y-%m-%d %H:%M}" for item in deployments[1:]] + ["now"]
    for item, until in zip(deployments, ends, strict=False):
        since = f"{item.deployed_at:%Y-%m-%d %H:%M}"
        shown.add_row(since, until, str(item.version), item.partition, item.by, item.reason)
    Console().print(shown)


def served(
    product: str,
    *,
    at: Annotated[str, Parameter(help="A moment in UTC, as 2013-07-04T12:00.")],
    home: InHome = None,
) -> None:
    """Which version served at a moment."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise DeclarationError(f"{at!r} is no moment. Write it as 2013-07-04T12:00 (UTC).") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    found = opened(home).ledger.champion_at(product_named(product).name, moment)
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
    home: InHome = None,
) -> None:
    """Let an earlier version serve again; the API follows by itself. Recorded in the ledger and in Dagster."""
    from mlops_assets.inference.rollback import roll_back
    from resources.environments import read_environment

    started = time.perf_counter()
    declared, held, console = product_named(product), opened(home), Console()
    done = roll_back(declared, held, to=to, by=by or getpass.getuser(), reason=reason)
    console.print(
        f"version {done.deployment.version} serves again, in place of {done.former.version} "
        f"({time.perf_counter() - started:.2f} s)"
    )
    # it serves already; what follows tells Dagster and MLflow
    from mlops_assets.inference.assets import deployment_facts
    from mlops_assets.stores.model_registry import CHAMPION, ModelRegistry
    from resources.event_log import EventLog, opened_instance

    environment = read_environment()
    with opened_instance(held, environment.dagster_home) as instance:
        if instance is None:
            console.print("recorded in the ledger; there is no Dagster instance here to record it in as well")
        else:
            facts = deployment_facts(done.deployment, done.former.version)
            log = EventLog(instance, declared)
            log.report("deployment", done.deployment.partition, facts, str(done.deployment.version))
    tracking = held.mlflow_store if home else environment.mlflow_tracking
    registry = ModelRegistry(tracking, held.mlflow_artifacts)
    if not registry.mirror_alias(declared.name, CHAMPION, done.deployment.version):
        console.print(
            f"MLflow at {tracking} does not know version {done.deployment.version}: its alias stays", soft_wrap=True
        )


def why(
    product: str,
    version: Annotated[int | None, Parameter(help="A version (default: the champion).")] = None,
    *,
    home: InHome = None,
    dagster_url: str = "http://127.0.0.1:3000",
) -> None:
    """From what serves back to the raw partitions, as Dagster's log and the ledger recorded it."""
    from mlops_assets.inference.why import Places, explain
    from resources.environments import read_environment
    from resources.event_log import EventLog, opened_instance

    declared, held, environment = product_named(product), opened(home), read_environment()
    places = Places(dagster_url.rstrip("/"), environment.mlflow_url.rstrip("/"), environment.api_url.rstrip("/"))
    with opened_instance(held, environment.dagster_home) as instance:
        log = EventLog(instance, declared) if instance is not None else None
        newest = log.newest if log is not None else lambda *_: None
        steps = explain(declared, held, version, newest, places)
    shown = Tree(f"[bold]{declared.name}[/bold]: {declared.description}")
    for step in steps:
        branch = shown.add(f"[bold]{step.name}[/bold]  [dim]{step.link}[/dim]")
        for fact in step.facts:
            branch.add(Text(fact))
    Console().print(shown, soft_wrap=True)


def reproduce(product: str, version: int, *, home: InHome = None) -> None:
    """Build a version again from what it recorded: identical to the bit, or what changed is named (exit code 1)."""
    import sys

    from mlops_assets.training.reproduce import reproduce as build_again

    declared, held, console = product_named(product), opened(home), Console()
    with console.status(f"version {version}") as status:
        found = build_again(declared, held, version, status.update)
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
    home: InHome = None,
) -> None:
    """Let the settings of an MLflow run leave development as the product's next recipe, whoever logged the run."""
    from mlops_assets.errors import choices
    from mlops_assets.products.catalog import CATALOG
    from mlops_assets.stores.model_registry import NEEDS_REWORK, ModelRegistry
    from mlops_assets.training.from_run import settings_of_run
    from mlops_assets.training.recipe import RECIPE, clear_flag, current_recipe, promote_settings, recipe_key
    from resources.environments import read_environment
    from resources.event_log import EventLog, opened_instance

    held, environment = opened(home), read_environment()
    tracking = held.mlflow_store if home else environment.mlflow_tracking
    registry = ModelRegistry(tracking, held.mlflow_artifacts)
    facts = registry.run_facts(run_id)
    name = product or facts.tags.get("product", "")
    if not name:
        known = choices("", (item.name for item in CATALOG))
        raise DeclarationError(f"run {run_id} does not say whose it is. Name the product with --product. {known}")
    declared = product_named(name)
    settings = settings_of_run(declared, run_id, facts.params, facts.tags)
    former = current_recipe(held.documents, declared)
    made = promote_settings(held.documents, declared, settings, by, why, held.clock.now(), run_id)
    version = held.documents.save(declared.name, RECIPE, recipe_key(made.version), made)
    if (cleared := clear_flag(held, former, made)) is not None:
        registry.untag_version(declared.name, cleared, NEEDS_REWORK)
    with opened_instance(held, environment.dagster_home) as instance:
        if instance is not None:
            said = {"recipe version": made.version, "estimator": made.estimator, "by": made.by, "reason": made.reason}
            EventLog(instance, declared).report("recipe", None, said, version)
    Console().print(
        f"recipe {made.version} of {declared.name}: {made.estimator} {made.hyperparameters}", soft_wrap=True
    )


def opened(home: Path | None) -> Home:
    from resources.environments import read_environment

    return Home(home.absolute()) if home else read_environment().home


def _answer(product: str, version: int, verdict: str, by: str, note: str, home: Path | None) -> None:
    from mlops_assets.stores.approvals import Verdict
    from mlops_assets.testing.run import answer_version
    from resources.environments import read_environment

    given = answer_version(
        product_named(product), opened(home), version, Verdict(verdict), by, note, read_environment().approval_key
    )
    until = f", counts until {given.expires_at:%Y-%m-%d %H:%M} UTC" if verdict == Verdict.APPROVED else ""
    Console().print(
        f"version {version} of {product} {verdict} by {by}{until}; signature {given.signature[:12]}", soft_wrap=True
    )


def _same(is_same: bool) -> str:
    return "same to the bit" if is_same else "[bold]different[/bold]"
