"""Probation: how long a new champion is compared with the former one, and when it is rolled back."""

import math
from dataclasses import dataclass

from mlops_assets.errors import DeclarationError
from mlops_assets.products.task import Metric

SCORE_MARGIN = 0.005  # of a score such as ROC AUC
ERROR_MARGIN = 0.01  # of an error such as MAE, as a share of the former champion's


@dataclass(frozen=True)
class Probation:
    """For `periods` after its deployment a champion is rolled back automatically when it loses more than `margin` against the
    former champion on the same rows, at `confidence` over all these periods together, or when it fails to score more than
    `error_rate` of the rows.

    periods=0: a champion is never rolled back automatically. margin: in the unit of the product's metric, as in
    `not_worse_than_champion`; None: 0.005 for scores, where more is better, and 1 % of the former champion's error."""

    periods: int = 3
    confidence: float = 0.95
    error_rate: float = 0.01
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.periods < 0 or not 0.5 < self.confidence < 1 or not 0 <= self.error_rate <= 1:
            raise DeclarationError(
                f"probation: periods ({self.periods}) must be at least 0, confidence ({self.confidence}) must lie between 0.5 and "
                f"1, and error_rate ({self.error_rate}) must be a share from 0 to 1."
            )
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise DeclarationError(
                f"probation: margin ({self.margin}) must be a loss in the metric's unit of at least 0, or None for the default."
            )

    def margin_of(self, metric: Metric, former: float) -> float:
        """The largest loss that is tolerated, where the former champion scores `former`."""
        if self.margin is not None:
            return self.margin
        return SCORE_MARGIN if metric.more_is_better else ERROR_MARGIN * abs(former)
