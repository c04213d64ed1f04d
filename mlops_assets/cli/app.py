"""`mlops …`: the platform from the command line."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from mlops_assets.cli.checking import check
from mlops_assets.cli.clocks import clock
from mlops_assets.cli.deployments import history, rollback, served
from mlops_assets.cli.new import new
from mlops_assets.cli.origins import reproduce, why
from mlops_assets.cli.periods import retry, skip
from mlops_assets.cli.recipes import recipe
from mlops_assets.cli.replaying import replay
from mlops_assets.cli.running import experiment, materialize, train
from mlops_assets.cli.signatures import approve, reject, sign
from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.errors import PlatformError
from mlops_assets.products.catalog import FOLDER, catalog, product_named, shown_path
from mlops_assets.state.objects import Folder

app = App(name="mlops", help="Data, features, models, tests, deployments and drift as Dagster assets.")


@app.meta.default
def with_products(
    *command: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    products: Annotated[
        str, Parameter(help="Folder of your product files (default: MLOPS_PRODUCTS_DIR, else ./products).")
    ] = "",
) -> None:
    """Run a command on the products of this folder, and every process that it starts."""
    if products:
        os.environ[FOLDER] = str(Path(products).absolute())
    app(command)


for command in (approve, reject, retry, skip, history, served, rollback, why, reproduce, sign):
    app.command(command)
app.command(recipe)
app.command(new)


@app.command
def demo(
    *,
    exit: Annotated[bool, Parameter(negative="", help="End by itself instead of staying up until Ctrl-C.")] = False,
    product: Annotated[str, Parameter(help="Which product's year is replayed.")] = "flight_delay",
    home: Annotated[Path, Parameter(help="Data home of the demo; what the last demo left there is removed.")] = Path(
        "var/demo"
    ),
    go_on: Annotated[bool, Parameter(negative="", help="Go on with a demo that was cut short in this home.")] = False,
) -> None:
    """Replay a year of real data, then let its last weeks arrive through the sensors of a running Dagster."""
    from mlops_assets.replay.demo import run_demo

    run_demo(product_named(product), home, Console(), leave=exit, goes_on=go_on)


app.command(check)
app.command(replay)
app.command(clock)
app.command(materialize)
app.command(train)
app.command(experiment)


@app.command
def up(
    *,
    home: InHome = "",
    sensors: Annotated[
        str,
        Parameter(help='Products whose sensors run, by comma, "all" or "none" (default: those that this state holds).'),
    ] = "",
) -> None:
    """Start Dagster, MLflow and the prediction API on your own data home, until Ctrl-C."""
    from mlops_assets.cli.starting import next_steps, sensors_to_run
    from mlops_assets.servers.platform import run_platform

    workspace = opened(home, is_made=True)
    running = sensors_to_run(workspace, sensors)
    run_platform(workspace, running, Console(), next_steps(workspace, running))


@app.command
def products() -> None:
    """List the model products of the catalog, after trying their labels and features on rows that are made up.

    Exit code 1: one of them cannot be used, or there is none."""
    from mlops_assets.features.validation import validate_product

    console, known, are_well = Console(), catalog(), True
    for product in known.products:
        file, line = Path(product.declared_at.file), product.declared_at.line
        console.print(f"[bold]{product.name}[/bold] ({product.task}, {product.metric}): {product.description}")
        console.print(f"  {shown_path(file)}:{line}", style="dim", soft_wrap=True, highlight=False)
        try:
            validate_product(product)
        except PlatformError as error:
            are_well = False
            console.print(f"  [red]cannot be used[/red]: {escape(str(error))}", soft_wrap=True, highlight=False)
        for note in product.notes(datetime.now(UTC)):
            console.print(f"  {note}", soft_wrap=True, highlight=False)
    for broken in known.broken:
        console.print(f"[bold red]{broken.name}[/bold red] cannot be used", highlight=False)
        console.print(f"  {escape(broken.place)}: {escape(broken.sentence)}", soft_wrap=True, highlight=False)
    if not (known.products or known.broken):
        console.print(f"There is no product. {known.search_hint}", soft_wrap=True, highlight=False)
    if not (are_well and known.products) or known.broken:
        sys.exit(1)


@app.command
def report(product: str, period: str, *, home: InHome = "") -> None:
    """Render the Evidently reports of a period whose readings are stored; the API serves them."""
    from mlops_assets.monitoring.render import render_drift, render_performance

    state = opened(home).of(product_named(product))
    state.product.period.at(period)
    console = Console()
    for name, render in (("data drift", render_drift), ("performance", render_performance)):
        with console.status(f"rendering {name} of {period}"):
            address = render(state, period)
        console.print(f"{name}: {address}", soft_wrap=True)


@app.command
def backtest(
    product: str,
    *,
    policy: Annotated[tuple[str, ...], Parameter(help="A policy to try, as retrain=5,rework=10,cooldown=30d.")] = (),
    answer_after: Annotated[int, Parameter(help="Periods after which development answers a rework; 0: never.")] = 1,
    home: InHome = "",
) -> None:
    """Replay drift policies over the recorded periods, beside never, always and as often by calendar; nothing is changed."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mlops_assets.monitoring.backtest import compare, run_backtests
    from mlops_assets.monitoring.plots import backtest_figure

    declared, console = product_named(product), Console()
    state = opened(home).of(declared)
    with console.status("the shipped policy starts") as status:
        results = run_backtests(state, policy, status.update, answer_after or None)
    rows = compare(results)
    title = f"{declared.name}, {len(results[0].periods)} periods"
    shown = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in rows[0]:
        is_plan = name == "plan"
        shown.add_column(name, no_wrap=not is_plan, overflow="fold", justify="left" if is_plan else "right")
    for row in rows:
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(shown)
    with state.reports.replacing("backtest", "latest", "png") as picture:
        backtest_figure(results, declared.drift).savefig(picture, dpi=110, format="png")
    console.print(f"picture: {state.reports.address('backtest', 'latest', 'png')}", soft_wrap=True)


@app.command
def clean(
    product: str,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be removed.")] = False,
    home: InHome = "",
) -> None:
    """Remove what the product has kept for long enough, as Dagster does every night."""
    from rich.table import Table

    from mlops_assets.state.retention import expired, in_table, remove
    from resources.environments import read_environment

    declared, console = product_named(product), Console()
    state = opened(home).of(declared)
    what = expired(state, declared.keep.changed_by(read_environment().keep), state.clock.now())
    if not dry_run:
        remove(state, what)
    rows = in_table(what)
    shown = Table(*rows[0], title=f"{declared.name}: " + ("would be removed" if dry_run else "removed"))
    for row in rows:
        shown.add_row(*row.values())
    console.print(shown)


@app.command
def copy(source: str, target: str) -> None:
    """Copy a state from one folder or bucket to another, verified; a copy that was cut short goes on when it is run again."""
    from rich.progress import Progress

    from mlops_assets.state.copying import copy_databases, copy_state, remaining_parts
    from mlops_assets.state.workspace import Workspace

    places = Workspace(source).objects, Workspace(target).objects
    console = Console()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("objects")
        copied = copy_state(*places, lambda done, every: progress.update(bar, completed=done, total=every))
    console.print(
        f"{copied.objects:,} objects are in {places[1].url}, {copied.written:,} of them newly written ({copied.bytes / 1e6:,.1f} MB)",
        soft_wrap=True,
    )
    if isinstance(places[0], Folder):
        for sentence in remaining_parts(places[0].root):
            console.print(sentence, soft_wrap=True)
    if all(isinstance(place, Folder) for place in places):
        databases = copy_databases(*(place.root for place in places if isinstance(place, Folder)))
        console.print(f"copied as well: {', '.join(databases) or 'no database'}")
    console.print(
        "The databases of Dagster and MLflow are not part of a state: they stay where they are, or are named by URL "
        "(DAGSTER_HOME, MLOPS_MLFLOW_TRACKING). A bucket needs an online store by URL (MLOPS_ONLINE_STORE); materialise "
        "online_features to fill it.",
        soft_wrap=True,
    )


@app.command
def serve() -> None:
    """Start the prediction API on MLOPS_HOST and MLOPS_PORT (default 127.0.0.1:8000)."""
    import runpy

    opened("", is_made=True)  # says which variable cannot be used before anything starts
    sys.argv = ["serving"]  # the word `serve` would tell it that SageMaker starts it
    runpy.run_module("serving", run_name="__main__")
