"""The questions of `mlops new` to a person, and its remarks: one line for each assumption and each warning."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from mlops_assets.errors import choices

_SHOWN_NAMES = 20


@dataclass(frozen=True)
class Question:
    """option: of the command, which answers it without a prompt. assumption: the answer where nobody gives one."""

    option: str
    sentence: str
    assumption: str
    why: str = ""
    options: tuple[str, ...] = ()


Ask = Callable[[Question], str]


class Assumption(NamedTuple):
    what: str
    why: str


@dataclass
class Remarks:
    """Assumptions and warnings, in the order in which they were made."""

    assumed: list[Assumption] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def assume(self, what: str, why: str) -> None:
        self.assumed.append(Assumption(what, why))

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


def known_columns(wrong: str, names: Iterable[str]) -> str:
    """A sentence with the columns of the table; of a wide table, only those with a similar name."""
    columns = list(names)
    close = get_close_matches(wrong, columns, n=_SHOWN_NAMES)
    if len(columns) <= _SHOWN_NAMES:
        return choices(wrong, columns)
    return f"It has {len(columns):,} columns. " + (choices(wrong, close) if close else "None has such a name.")


def listed(names: list[str] | tuple[str, ...], shown: int = 8) -> str:
    """
    >>> listed(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
