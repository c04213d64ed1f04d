"""What an experiment may spend, and the ranges it may search in."""

from dataclasses import dataclass

from mlops_assets.errors import DeclarationError


@dataclass(frozen=True)
class Search:
    """An experiment tries every candidate as it is declared, then `trials` other settings of them, for at most `seconds`
    in all; whichever ends first. trials=0: only what is declared."""

    trials: int = 0
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.trials < 0 or self.seconds <= 0:
            raise DeclarationError(
                f"search: trials {self.trials} is at least 0, seconds {self.seconds} is more than 0."
            )


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Real:
    """Numbers from `low` to `high`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class OneOf:
    options: tuple[int | float | str | bool | None, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise DeclarationError("search: a choice of nothing. Give its options.")


Range = Whole | Real | OneOf


def _require_range(low: float, high: float, *, log: bool) -> None:
    if not low < high or (log and low <= 0):
        raise DeclarationError(
            f"search: {low} to {high} is no range{', and a logarithm needs more than 0' if log else ''}."
        )
