"""`mlops why` and `reproduce`: the origin of a version, and building it again."""

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.products.catalog import product_named

LONGEST_LINE = 1_000


def why(
    product: str,
    version: Annotated[int | None, Parameter(help="A version (default: the champion).")] = None,
    *,
    home: InHome = "",
    dagster_url: str = "http://127.0.0.1:3000",
) -> None:
    """Trace a version back to its raw partitions, as Dagster's log and the ledger recorded it."""
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
    # a line of a tree is cut off at the width of the console, and these lines hold addresses
    Console(width=max(Console().width, LONGEST_LINE)).print(shown, soft_wrap=True)


def reproduce(product: str, version: int, *, home: InHome = "") -> None:
    """Build a version again from its records and compare it to the bit. Exit code 1: it differs."""
    from mlops_assets.training.reproduce import reproduce as build_again

    declared, console = product_named(product), Console()
    workspace = opened(home)
    with console.status(f"version {version}") as status:
        reproduction = build_again(workspace.of(declared), version, status.update)
    shown = Table("part", "built again", title=f"{declared.name} version {version}")
    shown.add_row("training set", _same(reproduction.data_is_same))
    for name, is_same in reproduction.files.items():
        shown.add_row(name, _same(is_same))
    difference = reproduction.largest_difference
    largest = "not comparable" if difference is None else f"{difference:.3g}"
    shown.add_row(f"predictions of {reproduction.rows:,} test rows", f"largest difference {largest}")
    console.print(shown)
    for changed in reproduction.changed:
        console.print(f"changed since: {changed}", soft_wrap=True)
    if reproduction.is_identical:
        console.print("identical to the last bit")
        return
    if not reproduction.changed:
        console.print("the version differs, although none of its recorded inputs has changed")
    sys.exit(1)


def _same(is_same: bool) -> str:
    return "same to the bit" if is_same else "[bold]different[/bold]"
