"""Probation: how long a new champion is watched beside the one before it, and what makes it go back."""

from dataclasses import dataclass

from mlops_assets.errors import DeclarationError


@dataclass(frozen=True)
class Probation:
    """For `periods` after its deployment a champion goes back by itself when it scores below the former champion on the
    same rows, at `confidence` over all the periods together, or cannot score more than `error_rate` of the rows.

    periods=0: a champion is never sent back by itself."""

    periods: int = 3
    confidence: float = 0.95
    error_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.periods < 0 or not 0.5 < self.confidence < 1 or not 0 <= self.error_rate <= 1:
            raise DeclarationError(
                f"probation: periods {self.periods} is at least 0, confidence {self.confidence} lies between 0.5 and 1, "
                f"error_rate {self.error_rate} is a share from 0 to 1."
            )
