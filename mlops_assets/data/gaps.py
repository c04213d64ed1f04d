"""Gaps: periods in which nothing happened, for a product that declares gaps="allow"."""

from datetime import datetime

from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct

ALLOWED = "gaps='allow'"  # who skipped the period


def is_gap(product: ModelProduct, period: Period, now: datetime) -> bool:
    """Is the period a gap: it is over, the source has nothing of it, and a later period has arrived? Only where gaps are allowed."""
    if product.gaps != "allow" or period.end > now or product.source.has_arrived(period, now):
        return False
    later = product.period.shift(period, 1)
    while product.period.has(later) and later.end <= now:
        if product.source.has_arrived(later, now):
            return True
        later = product.period.shift(later, 1)
    return False


def how_to_allow(product: ModelProduct, period: Period) -> str:
    """What to do about a period without rows."""
    return (
        f"If nothing happened in {period.key}, declare gaps='allow', or go on without it: `mlops skip {product.name} {period.key} "
        '--reason "…"`.'
    )
