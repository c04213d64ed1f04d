"""`mlops retry` and `skip`: for a period that could not be stored."""

import getpass

from rich.console import Console

from mlops_assets.cli.workspaces import By, InHome, opened
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named


def retry(product: str, period: str, *, by: By = "", home: InHome = "") -> None:
    """Request a period again that was given up or skipped, once the cause is fixed. The sensors run it."""
    declared = product_named(product)
    state = opened(home).of(declared)
    key = declared.period.at(period).key
    state.skipped.ask_again(key, by or getpass.getuser())
    Console().print(f"the sensors of {declared.name} request {key} again at their next tick", soft_wrap=True)


def skip(product: str, period: str, *, reason: str, by: By = "", home: InHome = "") -> None:
    """Continue without a period that cannot be stored: it is stored without rows, and readings say that it is missing."""
    declared = product_named(product)
    state = opened(home).of(declared)
    key = declared.period.at(period).key
    if not reason.strip():
        raise DeclarationError("the reason is empty. Say why the period is skipped, for people who later find the gap.")
    if state.tables.has("raw", key) and (rows := state.tables.contents("raw", key).rows):
        raise DeclarationError(f"{key} of {declared.name} is stored with {rows:,} rows, so it cannot be skipped.")
    state.skipped.skip(key, reason, by or getpass.getuser())
    Console().print(
        f"{key} of {declared.name} will be stored without rows at the sensors' next tick; "
        f"`mlops retry {declared.name} {key}` requests it again",
        soft_wrap=True,
    )
