"""`mlops …`: the platform from the command line."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from mlops_assets.errors import PlatformError
from mlops_assets.products.catalog import CATALOG, product_named
from mlops_assets.versions_cli import (
    InHome,
    approve,
    history,
    opened,
    recipe,
    reject,
    reproduce,
    rollback,
    served,
    why,
)

app = App(name="mlops", help="Data, features, models, tests, deployments and drift as Dagster assets.")


for command in (approve, reject, history, served, rollback, why, reproduce):
    app.command(command)
app.command(recipe)


@app.command
def demo(
    *,
    exit: Annotated[bool, Parameter(negative="", help="End by itself instead of staying up until Ctrl-C.")] = False,
    product: Annotated[str, Parameter(help="Which product's year is replayed.")] = "flight_delay",
    home: Annotated[Path, Parameter(help="Data home of the demo; what the last demo left there is removed.")] = Path(
        "var/demo"
    ),
) -> None:
    """Replay a year of real data, then let its last weeks arrive through the sensors of a running Dagster."""
    from mlops_assets.demo.demo import run_demo

    run_demo(product_named(product), home, Console(), leave=exit)


@app.command
def up(
    *,
    home: InHome = None,
    sensors: Annotated[str, Parameter(help='Products whose sensors run, by comma, or "all".')] = "",
) -> None:
    """Start Dagster, MLflow and the prediction API on your own data home, until Ctrl-C."""
    from mlops_assets.demo.platform import run_platform

    wanted = (
        "all" if sensors == "all" else ",".join(product_named(name.strip()).name for name in sensors.split(",") if name)
    )
    run_platform(opened(home), wanted, Console())


@app.command
def products() -> None:
    """List the model products of the catalog."""
    console = Console()
    for product in CATALOG:
        console.print(f"[bold]{product.name}[/bold] ({product.task}, {product.metric}): {product.description}")


@app.command
def report(product: str, period: str, *, home: InHome = None) -> None:
    """Render the Evidently reports of a period whose readings are stored; the API serves them."""
    from mlops_assets.monitoring.render import render_drift, render_performance

    declared, held = product_named(product), opened(home)
    declared.period.at(period)
    console = Console()
    for name, render in (("data drift", render_drift), ("performance", render_performance)):
        with console.status(f"rendering {name} of {period}"):
            path = render(declared, held, period)
        console.print(f"{name}: {path}", soft_wrap=True)


@app.command
def backtest(
    product: str,
    *,
    policy: Annotated[tuple[str, ...], Parameter(help="A policy to try, as retrain=5,rework=10,cooldown=30d.")] = (),
    home: InHome = None,
) -> None:
    """Replay drift policies over the recorded periods, beside never, always and as often by calendar; nothing is changed."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mlops_assets.monitoring.backtest import compare, run_backtests
    from mlops_assets.monitoring.plots import backtest_figure

    declared, console = product_named(product), Console()
    held = opened(home)
    with console.status("the shipped policy starts") as status:
        results = run_backtests(declared, held, policy, status.update)
    rows = compare(results)
    title = f"{declared.name}, {len(results[0].periods)} periods"
    shown = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in rows[0]:
        is_plan = name == "plan"
        shown.add_column(name, no_wrap=not is_plan, overflow="fold", justify="left" if is_plan else "right")
    for row in rows:
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(shown)
    picture = held.reports / declared.name / "backtest.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    backtest_figure(results, declared.drift).savefig(picture, dpi=110)
    console.print(f"picture: {picture}", soft_wrap=True)


@app.command
def serve() -> None:
    """Start the prediction API on MLOPS_HOST and MLOPS_PORT (default 127.0.0.1:8000)."""
    import runpy

    sys.argv = ["serving"]  # the word `serve` would tell it that SageMaker starts it
    runpy.run_module("serving", run_name="__main__")


def main() -> None:
    """A platform error is one sentence and exit code 1, not a traceback."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when LightGBM or scikit-learn load OpenMP
    try:
        app()
    except PlatformError as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/bold red]: {error}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
