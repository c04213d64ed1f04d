"""`mlops history`, `served` and `rollback`: what serves since when, and back to an earlier version."""

import getpass
import time
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from mlops_assets import addresses
from mlops_assets.cli.workspaces import By, InHome, opened, tracking_of
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.state.ledger import terms


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
