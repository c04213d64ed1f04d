"""Retention: how long a product keeps each kind of what it stores."""

import re
from dataclasses import dataclass, fields, replace
from datetime import timedelta

from mlops_assets.errors import DeclarationError, choices

UNITS = {"d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
LONGEST = timedelta(days=100 * 365)
FOR_EVER = "none"
EXAMPLE = "predictions:90d,shadow:none"


@dataclass(frozen=True)
class Keep:
    """How long each kind is kept; None means for ever. What the loop has not read yet is kept in any case.

    predictions, labels: the API's answers, and the outcomes reported to it. Three years: a person may ask about a decision
    for as long as claims can be made (three years in many countries; the EU's AI Act requires at least six months), and
    materialising the labels of a period again needs both. shadow: predictions of challengers. 90 days: they matter until
    the challenger is deployed or refused. pinned: answers of a server with one pinned bundle (MLOPS_BUNDLE), which are not
    traffic. 90 days, like shadow. reports: HTML pages. A year: they are large, and `mlops report` renders those of a period
    again. training_sets: 180 days: they can be rebuilt to the bit from features and labels, which are never removed.
    versions: bundles that never served and were replaced by newer ones. 90 days: they can no longer be deployed.
    trials: those of a search. 30 days: only a search that continues after being killed reads them."""

    predictions: timedelta | None = timedelta(days=3 * 365)
    shadow: timedelta | None = timedelta(days=90)
    pinned: timedelta | None = timedelta(days=90)
    labels: timedelta | None = timedelta(days=3 * 365)
    reports: timedelta | None = timedelta(days=365)
    training_sets: timedelta | None = timedelta(days=180)
    versions: timedelta | None = timedelta(days=90)
    trials: timedelta | None = timedelta(days=30)

    def __post_init__(self) -> None:
        for kind in KINDS:
            if (kept_for := self.of(kind)) is not None and not timedelta(0) <= kept_for <= LONGEST:
                raise DeclarationError(
                    f"keep: {kind} is {in_words(kept_for)}. Give a time from 0 days to 100 years, or {FOR_EVER} to keep them for ever."
                )

    def of(self, kind: str) -> timedelta | None:
        kept_for: timedelta | None = getattr(self, kind)
        return kept_for

    def changed_by(self, text: str) -> "Keep":
        """A copy with the times that `text` gives some kinds, as in `predictions:90d,shadow:none`.

        Raises DeclarationError: a kind is unknown or named twice, or its time is not one."""
        changes: dict[str, timedelta | None] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            kind, _, value = (part.strip() for part in item.partition(":"))
            if kind not in KINDS:
                raise DeclarationError(f"{kind!r} has no retention time. {choices(kind, KINDS)} Write it as {EXAMPLE}.")
            if kind in changes:
                raise DeclarationError(f"{kind!r} is named twice. Give one time for it, as in {EXAMPLE}.")
            changes[kind] = _time(kind, value)
        return replace(self, **changes)


KINDS = tuple(field.name for field in fields(Keep))


def in_words(kept_for: timedelta | None) -> str:
    if kept_for is None:
        return "for ever"
    days = kept_for / timedelta(days=1)
    return f"{days:g} day{'' if days == 1 else 's'}"


def _time(kind: str, value: str) -> timedelta | None:
    if value == FOR_EVER:
        return None
    if not re.fullmatch(r"[0-9]{1,5}[dwy]", value):
        raise DeclarationError(
            f"the retention time of {kind} is {value!r}. Give whole days, weeks or years, as in 90d, 12w and 3y, or "
            f"{FOR_EVER} to keep them for ever."
        )
    return int(value[:-1]) * UNITS[value[-1]]
