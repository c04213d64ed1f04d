"""The periods that a sensor requests next: pure functions without Dagster."""

from collections.abc import Collection
from datetime import datetime

from mlops_assets.data.gaps import is_gap
from mlops_assets.products.product import ModelProduct


def periods_to_ingest(product: ModelProduct, now: datetime, stored: Collection[str]) -> list[str]:
    """Keys of the periods that arrived and are not stored, oldest first, with gaps where the product allows them."""
    return [
        period.key
        for period in product.period.ended_by(now)
        if period.key not in stored and (product.source.has_arrived(period, now) or is_gap(product, period, now))
    ]


def periods_to_label(product: ModelProduct, now: datetime, raw: Collection[str], done: Collection[str]) -> list[str]:
    """Keys of the stored periods whose labels are due and not `done`, oldest first."""
    return [
        period.key
        for period in product.period.ended_by(now - product.label.delay)
        if period.key in raw and period.key not in done
    ]
