"""How long a product keeps what it leaves behind: a time for each kind, or for ever."""

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
    """How long each kind is kept; None: for ever. What the loop has not read yet stays in any case.

    predictions, labels: what the API answered, and the outcomes it was told. Three years: a person may ask about a decision
    for as long as claims can be made (three years in many countries; the AI Act of the EU asks for six months at least), and a
    period whose labels are materialised again finds told outcomes only while both are there. shadow: what challengers would
    have answered. 90 days: it is looked at until a challenger is deployed or refused. pinned: answers of a server with one pinned
    bundle (MLOPS_BUNDLE), which are no traffic. 90 days, like those. reports: HTML pages. A year: they are
    large, and `mlops report` makes those of a period again. training_sets: 180 days: features and labels, which are never
    removed, give them again to the bit. versions: bundles that never served and that something newer replaced. 90 days: they
    cannot be deployed any more. trials: of a search. 30 days: they are read only where a search that was killed goes on."""

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
                    f"keep: {kind} ({in_words(kept_for)}) is a time from 0 days to 100 years, or {FOR_EVER} to keep them for ever."
                )

    def of(self, kind: str) -> timedelta | None:
        kept_for: timedelta | None = getattr(self, kind)
        return kept_for

    def changed_by(self, text: str) -> "Keep":
        """With the times that `text` gives to some kinds, as in `predictions:90d,shadow:none`; empty: as it is.

        Raises DeclarationError: no such kind, none twice, or no time, with the choices."""
        changes: dict[str, timedelta | None] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            kind, _, value = (part.strip() for part in item.partition(":"))
            if kind not in KINDS:
                raise DeclarationError(f"{kind!r} is not kept by itself. {choices(kind, KINDS)} Write it as {EXAMPLE}.")
            if kind in changes:
                raise DeclarationError(f"{kind!r} is there twice. Give one time for it, as in {EXAMPLE}.")
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
            f"{kind} is to be kept for {value!r}, which is no time. Give whole days, weeks or years, as in 90d, 12w and 3y, or "
            f"{FOR_EVER} to keep them for ever."
        )
    return int(value[:-1]) * UNITS[value[-1]]
