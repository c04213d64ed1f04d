"""What `mlops new` asks of a person, and what it tells: one line for each assumption and each warning."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """option: of the command, which answers it without a prompt. assumption: what is taken where nobody answers."""

    option: str
    sentence: str
    assumption: str
    why: str = ""
    options: tuple[str, ...] = ()


Ask = Callable[[Question], str]


@dataclass
class Remarks:
    """In the order in which they came up."""

    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def assume(self, what: str, why: str) -> None:
        self.assumed.append(f"{what}: {why}")

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


def listed(names: list[str] | tuple[str, ...], shown: int = 8) -> str:
    """
    >>> listed(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
