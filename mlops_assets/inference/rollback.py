"""Rollback: an earlier version serves again, in one transaction of the ledger, whatever else is down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.errors import DeclarationError, NoChampion, choices
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle


@dataclass(frozen=True)
class Rollback:
    """`deployment` serves since, in place of `former`."""

    deployment: Deployment
    former: Deployment


def roll_back(product: ModelProduct, home: Home, *, to: int | None, by: str, reason: str, run_id: str = "") -> Rollback:
    """Let version `to` serve again; None: the champion before the present one.

    Gates are not asked: they decide what goes forward. The bundle has to open, or nothing changes.
    Raises NoChampion: nothing serves. DeclarationError: no such version ever served, or it serves already.
    BundleError: its bundle cannot be opened by the code as it is now."""
    history = home.ledger.history(product.name)
    if not history:
        raise NoChampion(product.name)
    if not reason.strip():
        raise DeclarationError("a rollback needs its reason: those who look at the history later have nothing else.")
    present = history[-1]
    target = version_before(history) if to is None else to
    if target is None:
        raise DeclarationError(
            f"nothing served {product.name} before version {present.version}: nothing to go back to."
        )
    served = {item.version: item for item in history}
    if target not in served:
        known = choices(str(target), (str(version) for version in served))
        raise DeclarationError(f"version {target} of {product.name} never served. {known}")
    if target == present.version:
        raise DeclarationError(
            f"version {target} of {product.name} serves already, since {present.deployed_at:%Y-%m-%d %H:%M}."
        )
    earlier = served[target]
    Bundle.open(Path(earlier.bundle), product)
    deployment = Deployment(
        product.name,
        target,
        earlier.partition,
        home.clock.now(),
        earlier.bundle,
        f"rolled back from version {present.version}: {reason}",
        by,
        run_id,
    )
    home.ledger.append(deployment)
    return Rollback(deployment, present)


def version_before(history: Sequence[Deployment]) -> int | None:
    """The champion to go back to: the one that served before the present one was first deployed.

    Going back twice goes further back, and not to and fro."""
    served: list[int] = []
    for item in history:
        if item.version in served:
            del served[served.index(item.version) :]
        served.append(item.version)
    return served[-2] if len(served) > 1 else None
