"""`mlops retry` and `skip`: what to do about a period that could not be had."""

import getpass

from rich.console import Console

from mlops_assets.cli.workspaces import By, InHome, opened
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named


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
