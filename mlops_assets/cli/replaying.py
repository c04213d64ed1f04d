"""`mlops replay`: replays a product's history, period by period."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from mlops_assets.cli.running import environment_of
from mlops_assets.cli.workspaces import InHome
from mlops_assets.products.catalog import product_named


def replay(
    product: str,
    *,
    start: Annotated[
        str, Parameter(name="--from", help="First period with a champion (default: the earliest possible one).")
    ] = "",
    end: Annotated[str, Parameter(name="--to", help="Last period (default: the newest that has arrived).")] = "",
    until_champion: Annotated[bool, Parameter(negative="", help="Stop once the first champion is deployed.")] = False,
    home: InHome = "",
) -> None:
    """Replay the source's history: train the first champion, then decide each later period. Run it again to continue."""
    from mlops_assets.replay.replay import run_replay

    arguments = {"--from": start, "--to": end, "--home": home}
    options = [f"{name} {value}" for name, value in arguments.items() if value]
    run_replay(
        product_named(product),
        environment_of(home, create=True),
        Console(),
        start=start,
        end=end,
        until_champion=until_champion,
        command=" ".join(["mlops replay", product, *options, *(["--until-champion"] if until_champion else [])]),
    )
