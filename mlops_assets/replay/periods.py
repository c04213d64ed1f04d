"""The periods of a replay: those of the history, those that are decided, and those that are left."""

from collections.abc import Sequence

from mlops_assets.errors import DeclarationError, NotArrived
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState


def split_history(
    product: ModelProduct, arrived: Sequence[Period], start: str = "", end: str = ""
) -> tuple[list[Period], list[Period]]:
    """The periods before the first champion, and those that are replayed with a champion.

    start: key of the first period with a champion; "": the first one with enough history. end: key of the last period; "": the
    newest. Raises DeclarationError: the period has not arrived. Raises NotArrived: too few periods have arrived."""
    needed = product.training_periods
    keys = [period.key for period in arrived]
    for option, key in (("--from", start), ("--to", end)):
        if key and product.period.at(key).key not in keys:
            raise DeclarationError(f"{option} {key} has not arrived. The source has {keys[0]} to {keys[-1]}.")
    if len(arrived) < needed:
        raise NotArrived(
            f"{len(arrived)} periods of {product.name} have arrived, and the first champion learns from {needed}: "
            f"{needed - len(arrived)} more must arrive, or declare a shorter training_window."
        )
    first = keys.index(start) if start else needed
    if first < needed:
        raise DeclarationError(
            f"--from {start} has {first} periods before it, and the first champion learns from {needed}. The first that has "
            f"enough is {product.period.shift(arrived[0], needed).key}."
        )
    last = keys.index(end) + 1 if end else len(arrived)
    return list(arrived[: min(first, last)]), list(arrived[first:last])


def unfinished(state: ProductState, periods: Sequence[Period]) -> list[Period]:
    """These periods from the last decided one on, as an interruption may have come right after its decision."""
    decided = state.records.keys(DriftDecision)
    return [period for period in periods if not decided or period.key >= decided[-1]]


def deployed_after(state: ProductState) -> dict[str, int]:
    """The version that became champion after each period, from the ledger, without the first champion."""
    periods = state.product.period
    return {
        periods.shift(periods.at(item.partition), -1).key: item.version for item in reversed(state.ledger.history()[1:])
    }
