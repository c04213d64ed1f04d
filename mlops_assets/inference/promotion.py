"""Promotion: decides from the stored evidence, whatever earlier runs said, whether a version may become champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops_assets.errors import GateFailed, StaleVersion
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.state.ledger import Deployment, ReworkFlag, deployments_of, flags_of
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing.run import accept_partition


@dataclass(frozen=True)
class Promotion:
    deployment: Deployment
    former: int | None


def promote(state: ProductState, key: str, run_id: str) -> Promotion:
    """Make the partition's version champion.

    A failed gate blocks only later assets of the same run, and anybody can report an acceptance to Dagster. So the gates and
    the signature of a person's approval are checked again here.
    Raises GateFailed if the version is not accepted, or its evidence changed afterwards. Raises what `deploy` raises."""
    product = state.product
    record = state.records.load(AcceptanceRecord, key)
    again = accept_partition(state, key)
    if not record.accepted or not again.accepted:
        raise GateFailed(
            f"version {record.version} of {product.name} is not accepted: {again.reason}. The champion stays."
        )
    if record.evidence != again.evidence or record.version != again.version:
        raise GateFailed(
            f"the reports or the bundle of version {again.version} of {product.name} changed after it was accepted. The champion "
            f"stays. Materialise {product.name}/acceptance for {key} again."
        )
    return deploy(state, record.version, key, reason=again.reason, by=again.by, run_id=run_id, evidence=again.evidence)


def deploy(
    state: ProductState,
    version: int,
    key: str,
    *,
    reason: str,
    by: str,
    run_id: str = "",
    evidence: Mapping[str, str] | None = None,
) -> Promotion:
    """Make an accepted version champion. Backtests, which have no staging, call this directly.

    Raises BundleError if the bundle cannot be opened, StaleVersion if the version is older than the champion, was replaced or
    was flagged, ChampionChanged if another deployment came first."""
    product = state.product
    open_bundle(state, version)  # a bundle that cannot be opened must not become champion
    entries = state.ledger.entries()
    history = deployments_of(entries)
    if history and history[-1].version == version:
        return Promotion(history[-1], version)
    refuse_to_go_back(product, history, flags_of(entries), version, key)
    deployment = state.ledger.deploy(
        version, key, state.clock.now(), reason=reason, by=by, run_id=run_id, evidence=evidence, after=len(entries)
    )
    return Promotion(deployment, history[-1].version if history else None)


def refuse_to_go_back(
    product: ModelProduct, history: Sequence[Deployment], flags: Sequence[ReworkFlag], version: int, key: str
) -> None:
    """Raises StaleVersion if the version served before, was flagged, or is older than the champion.

    Only `mlops rollback`, which records a reason, goes back. history: deployments, oldest first. flags: open and cleared."""
    if not history:
        return
    champion = history[-1]
    served = [item for item in history if item.version == version]
    remedy = f"To let it serve again, run `mlops rollback {product.name} --to {version} --reason ...`."
    if served:
        raise StaleVersion(
            f"version {version} of {product.name} served from {served[-1].deployed_at:%Y-%m-%d %H:%M} until it was replaced, "
            f"and version {champion.version} serves now ({champion.reason}). The champion stays. {remedy}"
        )
    flagged = [flag for flag in flags if flag.version == version]
    if flagged:
        raise StaleVersion(
            f"version {version} of {product.name} was flagged for rework on {flagged[-1].flagged_at:%Y-%m-%d}: "
            f"{flagged[-1].reason}. The champion stays. Let a new recipe leave development."
        )
    if (key, version) < (champion.partition, champion.version):
        raise StaleVersion(
            f"version {version} of {product.name}, trained for {key}, is older than the champion, which is version "
            f"{champion.version} and was trained for {champion.partition}. The champion stays. Retrain for a later partition."
        )
