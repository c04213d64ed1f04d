"""Calibration: slope and intercept of a sigmoid over a model's log-odds (Platt 1999), and how they are applied."""

import msgspec
import numpy as np
from numpy.typing import NDArray

# Added to both sides of the odds. Near 0 and 1 the log-odds of two neighbouring float32 numbers lie far apart, and a difference
# of one float32 step between the estimator and its ONNX form would grow beyond 1e-5. With it, it stays within 4e-6.
SOFTENING = 5e-4


class Calibration(msgspec.Struct, frozen=True):
    """slope 1 and intercept 0 leave a probability as it is, apart from the softening."""

    slope: float
    intercept: float

    def apply(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of class 1. probabilities: of class 1, as the model gives them, (n,)."""
        logits = self.slope * log_odds(probabilities) + self.intercept
        # exp of a large number overflows: this form takes exp of negative numbers alone
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of class 1, softened so that 0 and 1 have finite ones. probabilities: (n,)."""
    likely = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.log((likely + SOFTENING) / (1.0 - likely + SOFTENING)))
