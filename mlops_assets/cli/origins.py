"""`mlops why` and `reproduce`: where a version comes from, and the same version again."""

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.products.catalog import product_named


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


def _same(is_same: bool) -> str:
    return "same to the bit" if is_same else "[bold]different[/bold]"
