"""The budget of an experiment, and the ranges it searches in."""

from dataclasses import dataclass

from mlops_assets.errors import DeclarationError


@dataclass(frozen=True)
class Search:
    """An experiment tries every candidate as declared, then up to `trials` other settings, for at most `seconds` in all.

    trials=0: only the candidates as declared."""

    trials: int = 0
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.trials < 0 or self.seconds <= 0:
            raise DeclarationError(
                f"search: trials ({self.trials}) must be at least 0, and seconds ({self.seconds}) above 0."
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
            raise DeclarationError("search: OneOf needs at least one option.")


Range = Whole | Real | OneOf


def _require_range(low: float, high: float, *, log: bool) -> None:
    if not low < high or (log and low <= 0):
        raise DeclarationError(
            f"search: {low} to {high} is not a range: low must be below high{' and above 0, as log=True' if log else ''}."
        )
