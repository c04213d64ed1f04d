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
    """Run a command, and every process that it starts, with the products of this folder."""
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
    exit: Annotated[bool, Parameter(negative="", help="End after the demo instead of running until Ctrl-C.")] = False,
    product: Annotated[str, Parameter(help="The product whose year is replayed.")] = "flight_delay",
    home: Annotated[Path, Parameter(help="Data home of the demo; the results of the last demo are removed.")] = Path(
        "var/demo"
    ),
    go_on: Annotated[bool, Parameter(negative="", help="Continue an interrupted demo in this home.")] = False,
) -> None:
    """Replay a year of real data, then let its last weeks arrive through the sensors of a running Dagster."""
    from mlops_assets.replay.demo import run_demo

    run_demo(product_named(product), home, Console(), leave=exit, resumes=go_on)


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
        Parameter(
            help='Products whose sensors run, with commas, "all" or "none" (default: those with data in this state).'
        ),
    ] = "",
) -> None:
    """Start Dagster, MLflow and the prediction API on your own data home, until Ctrl-C."""
    from mlops_assets.cli.starting import next_steps, sensors_to_run
    from mlops_assets.servers.platform import run_platform

    workspace = opened(home, create=True)
    running = sensors_to_run(workspace, sensors)
    run_platform(workspace, running, Console(), next_steps(workspace, running))


@app.command
def products() -> None:
    """List the model products of the catalog, and try their labels and features on synthetic rows.

    Exit code 1: one of them cannot be used, or there is none."""
    from mlops_assets.features.validation import validate_product

    console, collected, are_usable = Console(), catalog(), True
    for product in collected.products:
        file, line = Path(product.declared_at.file), product.declared_at.line
        console.print(f"[bold]{product.name}[/bold] ({product.task}, {product.metric}): {product.description}")
        console.print(f"  {shown_path(file)}:{line}", style="dim", soft_wrap=True, highlight=False)
        try:
            validate_product(product)
        except PlatformError as error:
            are_usable = False
            console.print(f"  [red]cannot be used[/red]: {escape(str(error))}", soft_wrap=True, highlight=False)
        for note in product.notes(datetime.now(UTC)):
            console.print(f"  {note}", soft_wrap=True, highlight=False)
    for broken in collected.broken:
        console.print(f"[bold red]{broken.name}[/bold red] cannot be used", highlight=False)
        console.print(f"  {escape(broken.place)}: {escape(broken.sentence)}", soft_wrap=True, highlight=False)
    if not (collected.products or collected.broken):
        console.print(f"There is no product. {collected.search_hint}", soft_wrap=True, highlight=False)
    if not (are_usable and collected.products) or collected.broken:
        sys.exit(1)


@app.command
def report(product: str, period: str, *, home: InHome = "") -> None:
    """Render the Evidently reports of a period with stored readings; the API serves them."""
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
    answer_after: Annotated[int, Parameter(help="Periods until development answers a rework; 0: never.")] = 1,
    home: InHome = "",
) -> None:
    """Replay drift policies over the recorded periods and compare them with never retraining, always, and by the calendar."""
    from mlops_assets.cli.plans import table_of_plans
    from mlops_assets.monitoring.backtest import compare, run_backtests
    from mlops_assets.monitoring.plots import backtest_figure

    declared, console = product_named(product), Console()
    state = opened(home).of(declared)
    with console.status("the shipped policy starts") as status:
        results = run_backtests(state, policy, status.update, answer_after or None)
    console.print(table_of_plans(compare(results), f"{declared.name}, {len(results[0].periods)} periods"))
    with state.reports.replacing("backtest", "latest", "png") as picture:
        backtest_figure(results, declared.drift).savefig(picture, dpi=110, format="png")
    console.print(f"picture: {state.reports.address('backtest', 'latest', 'png')}", soft_wrap=True)


@app.command
def clean(
    product: str,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Only list what would be removed.")] = False,
    home: InHome = "",
) -> None:
    """Remove objects of the product that are older than its retention times, as Dagster does every night."""
    from rich.table import Table

    from mlops_assets.state.retention import expired, in_table, remove
    from resources.environments import read_environment

    declared, console = product_named(product), Console()
    state = opened(home).of(declared)
    expired_kinds = expired(state, declared.keep.changed_by(read_environment().keep), state.clock.now())
    if not dry_run:
        remove(state, expired_kinds)
    rows = in_table(expired_kinds)
    shown = Table(*rows[0], title=f"{declared.name}: " + ("would be removed" if dry_run else "removed"))
    for row in rows:
        shown.add_row(*row.values())
    console.print(shown)


@app.command
def copy(source: str, target: str) -> None:
    """Copy a state from one folder or bucket to another and verify it; run it again to continue an interrupted copy."""
    from rich.progress import Progress

    from mlops_assets.state.copying import copy_databases, copy_state, remaining_parts
    from mlops_assets.state.workspace import Workspace

    places = Workspace(source).objects, Workspace(target).objects
    console = Console()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("objects")
        copied = copy_state(*places, lambda done, every: progress.update(bar, completed=done, total=every))
    console.print(
        f"{copied.objects:,} objects are in {places[1].url}, {copied.written:,} of them were written ({copied.bytes / 1e6:,.1f} MB)",
        soft_wrap=True,
    )
    if isinstance(places[0], Folder):
        for sentence in remaining_parts(places[0].root):
            console.print(sentence, soft_wrap=True)
    if all(isinstance(place, Folder) for place in places):
        databases = copy_databases(*(place.root for place in places if isinstance(place, Folder)))
        console.print(f"databases copied: {', '.join(databases) or 'none'}")
    console.print(
        "The databases of Dagster and MLflow are not part of a state, so they were not copied; DAGSTER_HOME and "
        "MLOPS_MLFLOW_TRACKING say where they are. With a bucket, set MLOPS_ONLINE_STORE to the URL of an online store, and "
        "materialise online_features to fill it.",
        soft_wrap=True,
    )


@app.command
def serve() -> None:
    """Start the prediction API on MLOPS_HOST and MLOPS_PORT (default 127.0.0.1:8000)."""
    import runpy

    opened("", create=True)  # raises for an unusable variable before anything starts
    sys.argv = ["serving"]  # with the argument `serve` it would start as SageMaker's container
    runpy.run_module("serving", run_name="__main__")
