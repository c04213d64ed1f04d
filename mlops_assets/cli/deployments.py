"""`mlops history`, `served` and `rollback`: which version served since when, and back to an earlier one."""

import getpass
import time
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from mlops_assets import addresses
from mlops_assets.cli.workspaces import By, InHome, opened, tracking_of
from mlops_assets.data.next_step import how_a_rework_ends
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.state.ledger import terms


def history(
    product: str,
    *,
    verify: Annotated[bool, Parameter(negative="", help="Prove that no entry was changed or removed.")] = False,
    home: InHome = "",
) -> None:
    """List which version served from when to when, and why."""
    shown = Table("since", "until", "version", "partition", "by", "reason")
    ledger = opened(home).of(product_named(product)).ledger
    if verify:
        count = ledger.verify()
        Console().print(
            f"the ledger of {product} is intact: none of {count} entries was changed or removed", soft_wrap=True
        )
        return
    for item, end in terms(ledger.history()):
        until = f"{end:%Y-%m-%d %H:%M}" if end else "now"
        since = f"{item.deployed_at:%Y-%m-%d %H:%M}"
        shown.add_row(since, until, str(item.version), item.partition, item.by, item.reason)
    Console().print(shown)
    if flag := ledger.open_flag():
        Console().print(
            f"version {flag.version} is flagged for rework since {flag.flagged_at:%Y-%m-%d %H:%M}: {flag.reason}. Automatic retraining "
            f"is off. {how_a_rework_ends(product)}",
            soft_wrap=True,
        )


def served(
    product: str,
    *,
    at: Annotated[str, Parameter(help="A time in UTC, such as 2013-07-04T12:00.")],
    home: InHome = "",
) -> None:
    """Show which version served at a time."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise DeclarationError(f"{at!r} is not a time. Write it as 2013-07-04T12:00 (UTC).") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    champion = opened(home).of(product_named(product)).ledger.champion_at(moment)
    if champion is None:
        Console().print(f"no version of {product} served at {moment:%Y-%m-%d %H:%M} UTC")
        return
    Console().print(
        f"version {champion.version} (partition {champion.partition}), since {champion.deployed_at:%Y-%m-%d %H:%M} by "
        f"{champion.by}: {champion.reason}",
        soft_wrap=True,
    )


def rollback(
    product: str,
    *,
    reason: str,
    to: Annotated[int | None, Parameter(help="Version that serves again (default: the former champion).")] = None,
    by: By = "",
    home: InHome = "",
) -> None:
    """Let an earlier version serve again. The API follows; the ledger and Dagster record it."""
    from mlops_assets.inference.rollback import roll_back
    from resources.environments import read_environment

    started = time.perf_counter()
    declared, console = product_named(product), Console()
    workspace = opened(home)
    rolled_back = roll_back(workspace.of(declared), to=to, by=by or getpass.getuser(), reason=reason)
    deployment, former = rolled_back.deployment, rolled_back.former
    console.print(
        f"version {deployment.version} serves again instead of {former.version} ({time.perf_counter() - started:.2f} s)"
    )
    # the version serves already; Dagster and MLflow only record it
    from mlops_assets.inference.assets import deployment_facts
    from mlops_assets.state.model_registry import CHAMPION, ModelRegistry
    from resources.event_log import EventLog, opened_instance

    environment = read_environment()
    with opened_instance(workspace, environment.dagster_home) as instance:
        if instance is None:
            console.print("recorded only in the ledger, because there is no Dagster instance here")
        else:
            facts = deployment_facts(deployment, former.version)
            EventLog(instance, declared).report("deployment", deployment.partition, facts, str(deployment.version))
    tracking = tracking_of(workspace, home)
    registry = ModelRegistry(tracking, workspace.mlflow_artifacts(tracking))
    if not registry.mirror_alias(declared.name, CHAMPION, deployment.version):
        console.print(
            f"MLflow at {addresses.shown(tracking)} has no version {deployment.version}, so its alias was not moved",
            soft_wrap=True,
        )
