"""Calibration: slope and intercept of a sigmoid over a model's log-odds (Platt 1999), and how they are applied."""

import msgspec
import numpy as np
from numpy.typing import NDArray

# Added to both sides of the odds. Near 0 and 1 the log-odds of neighbouring float32 numbers are far apart, and a difference of
# one float32 step between the estimator and its ONNX model would grow beyond 1e-5. Softened, it stays within 4e-6.
SOFTENING = 5e-4


class Calibration(msgspec.Struct, frozen=True):
    """Slope 1 and intercept 0 leave a probability unchanged, apart from the softening."""

    slope: float
    intercept: float

    def apply(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of class 1. probabilities: of class 1, as the model gives them, (n,)."""
        logits = self.slope * log_odds(probabilities) + self.intercept
        # exp of a large number overflows, so exp is only taken of negative numbers
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-odds of class 1, softened so that they are finite for 0 and 1. probabilities: (n,)."""
    likely = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.log((likely + SOFTENING) / (1.0 - likely + SOFTENING)))
