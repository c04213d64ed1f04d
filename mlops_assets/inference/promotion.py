"""Promotion: whether a version may become champion, read anew from the evidence and not from what ran before."""

from dataclasses import dataclass

from mlops_assets.errors import GateFailed
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.testing.acceptance import AcceptanceRecord
from mlops_assets.testing.run import accept_partition


@dataclass(frozen=True)
class Promotion:
    deployment: Deployment
    former: int | None


def promote(product: ModelProduct, home: Home, key: str, run_id: str, approval_key: str = "") -> Promotion:
    """Make the partition's version champion.

    A failed gate blocks only what runs after it in the same run, so the gates are judged again here, and so is the
    signature of a person's approval: a record of it can be reported to Dagster by anybody.
    Raises GateFailed: it was not accepted, or its evidence changed since. BundleError: the bundle cannot be opened."""
    record = home.documents.load(product.name, "acceptance", key, AcceptanceRecord)
    again = accept_partition(product, home, key, approval_key)
    if not record.accepted or not again.accepted:
        raise GateFailed(
            f"version {record.version} of {product.name} is not accepted: {again.reason}. The champion stays."
        )
    if record.evidence != again.evidence or record.version != again.version:
        raise GateFailed(
            f"version {again.version} of {product.name} has other reports or another bundle than were accepted. Materialise "
            f"{product.name}/acceptance for {key} again. The champion stays."
        )
    folder = home.bundle(product.name, record.version)
    Bundle.open(folder, product)  # a bundle that cannot be opened must not become champion
    history = home.ledger.history(product.name)
    if history and history[-1].version == record.version:
        return Promotion(history[-1], history[-1].version)
    deployment = Deployment(
        product.name, record.version, key, home.clock.now(), str(folder), again.reason, again.by, run_id
    )
    home.ledger.append(deployment)
    return Promotion(deployment, history[-1].version if history else None)
