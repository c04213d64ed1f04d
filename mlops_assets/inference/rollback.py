"""Rollback: one ledger entry lets an earlier version serve again, whichever other services are down."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlops_assets.errors import ChampionChanged, DeclarationError, NoChampion, choices
from mlops_assets.features.opening import open_bundle
from mlops_assets.state.ledger import Deployment, Kind, deployments_of, standing
from mlops_assets.state.workspace import ProductState


@dataclass(frozen=True)
class Rollback:
    """`deployment` replaces `former`."""

    deployment: Deployment
    former: Deployment


def roll_back(
    state: ProductState,
    *,
    to: int | None,
    by: str,
    reason: str,
    run_id: str = "",
    instead_of: int | None = None,
) -> Rollback:
    """Let version `to` serve again; None: the champion before the present one.

    Gates are not judged, because they decide only about new versions. instead_of: the champion that the decision is about.
    Raises NoChampion if nothing serves, DeclarationError if the version never served or serves already, BundleError if the
    present code cannot open its bundle, ChampionChanged if another version than `instead_of` serves now."""
    product = state.product
    entries = state.ledger.entries()
    history = deployments_of(entries)
    if not history:
        raise NoChampion(product.name)
    if not reason.strip():
        raise DeclarationError(
            "a rollback needs a reason, because the ledger holds no other explanation of it. Give one with --reason."
        )
    present = history[-1]
    if instead_of is not None and present.version != instead_of:
        raise ChampionChanged(
            f"the rollback was decided for version {instead_of} of {product.name}, but version {present.version} serves now. "
            "Nothing was changed."
        )
    target = version_before(history) if to is None else to
    if target is None:
        raise DeclarationError(
            f"there is no version to go back to: nothing served {product.name} before version {present.version}."
        )
    served = {item.version: item for item in history}
    if target not in served:
        options = choices(str(target), (str(version) for version in served))
        raise DeclarationError(f"version {target} of {product.name} never served. {options}")
    if target == present.version:
        raise DeclarationError(
            f"version {target} of {product.name} serves already, since {present.deployed_at:%Y-%m-%d %H:%M}."
        )
    earlier = served[target]
    open_bundle(state, earlier.version)
    deployment = state.ledger.deploy(
        target,
        earlier.partition,
        state.clock.now(),
        reason=f"rolled back from version {present.version}: {reason}",
        by=by,
        run_id=run_id,
        after=len(entries),
        kind=Kind.ROLLED_BACK,
    )
    return Rollback(deployment, present)


def version_before(history: Sequence[Deployment]) -> int | None:
    """The version to roll back to: the one that served before the present champion was first deployed."""
    stack = standing(history)
    return stack[-2].version if len(stack) > 1 else None
