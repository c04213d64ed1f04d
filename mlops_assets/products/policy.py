"""What a product asks of drift readings, of acceptance and of serving."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from mlops_assets.errors import DeclarationError


class Action(StrEnum):
    NONE = "none"
    WATCH = "watch"
    RETRAIN = "retrain"
    REWORK = "rework"
    INCONCLUSIVE = "inconclusive"  # too few rows to read; a state, not a zero


@dataclass(frozen=True)
class DriftPolicy:
    """Bands in percent and the patience before they are acted on.

    A reading below `watch` is recorded; from `watch` to below `retrain` it is watched; from `retrain` to `rework`
    (inclusive) it asks for retraining; above `rework` for development. Of the last `of_periods` readings of the same
    feature `agreeing_periods` must agree (0: as many as must agree, so consecutive ones). `cooldown` is the least time
    between two retrainings, `retrainings_per_year` the budget.

    min_rows: rows, labelled ones where labels are read, of which fewer say nothing. min_blocks: days, of which fewer make no
    interval: rows of one day are alike, so whole days are resampled, and of a handful every sample is the same.

    stale: percent of the primary metric that a fresh model has to gain to be asked for. staleness_every: periods from one
    such comparison to the next, and periods it compares on; 0: never. pooled_periods: at most so many periods are pooled to
    tell a loss from the metric's own ups and downs. max_age: a champion that saw nothing for so long is retrained, whatever
    was read; None: no age asks for it.

    Where periods are shorter than a day, what is counted here are days.
    """

    watch: float = 2
    retrain: float = 5
    rework: float = 10
    agreeing_periods: int = 2
    cooldown: timedelta = timedelta(weeks=3)
    min_rows: int = 1_000
    retrainings_per_year: int = 26
    of_periods: int = 0
    stale: float = 1
    staleness_every: int = 4
    pooled_periods: int = 8
    max_age: timedelta | None = None
    min_blocks: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.watch < self.retrain < self.rework <= 100:
            raise DeclarationError(
                f"drift bands must rise: 0 < watch ({self.watch}) < retrain ({self.retrain}) < rework ({self.rework}) <= 100."
            )
        if self.agreeing_periods < 1 or self.min_rows < 1 or self.cooldown < timedelta(0):
            raise DeclarationError("agreeing_periods and min_rows are at least 1, cooldown is not negative.")
        if self.min_blocks < 2:
            raise DeclarationError(f"min_blocks ({self.min_blocks}) is at least 2: a single day has no interval.")
        if self.of_periods and self.of_periods < self.agreeing_periods:
            raise DeclarationError(
                f"{self.agreeing_periods} of the last {self.of_periods} periods cannot agree: of_periods is at least "
                "agreeing_periods, or 0 for consecutive periods."
            )
        if self.max_age is not None and self.max_age <= timedelta(0):
            raise DeclarationError(
                f"max_age ({self.max_age}) is a time above 0, or None where no age asks for a retraining."
            )
        if self.stale <= 0 or self.staleness_every < 0 or self.pooled_periods < 1 or self.retrainings_per_year < 0:
            raise DeclarationError(
                f"stale ({self.stale}) is above 0, pooled_periods ({self.pooled_periods}) at least 1, staleness_every "
                f"({self.staleness_every}, 0: never) and retrainings_per_year ({self.retrainings_per_year}) not negative."
            )

    def band(self, percent: float) -> Action:
        """The one action of a reading in percent, before any patience."""
        if percent > self.rework:
            return Action.REWORK
        if percent >= self.retrain:
            return Action.RETRAIN
        return Action.WATCH if percent >= self.watch else Action.NONE


@dataclass(frozen=True)
class Retries:
    """How often the sensors ask for a run that failed, and what becomes of a period that cannot be had.

    attempts: runs that are asked for, the first included; then a person is told. The wait after a failed run begins with
    `first_wait` and doubles up to `longest_wait`. missing: "fail" stops at a period whose source failed every attempt,
    until a person retries or skips it; "skip" goes on without it, and readings say which period they lack.
    """

    attempts: int = 8
    first_wait: timedelta = timedelta(minutes=1)
    longest_wait: timedelta = timedelta(hours=1)
    missing: str = "fail"

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DeclarationError(f"retries: {self.attempts} attempts ask for nothing. Give at least 1.")
        if not timedelta(0) < self.first_wait <= self.longest_wait:
            raise DeclarationError(
                f"retries: first_wait ({self.first_wait}) must be above 0 and at most longest_wait ({self.longest_wait})."
            )
        if self.missing not in ("fail", "skip"):
            raise DeclarationError(f"retries: missing={self.missing!r} does not exist. Known: fail, skip.")

    @property
    def skips(self) -> bool:
        return self.missing == "skip"

    def wait_after(self, failed: int) -> timedelta:
        """Time from the end of the `failed`-th failed run to the next one."""
        doublings = min(failed - 1, 30)  # 2^30 seconds are 34 years
        return min(self.first_wait * (1 << doublings), self.longest_wait)


@dataclass(frozen=True)
class Acceptance:
    """Who lets a version that passed its tests and its staging go live. valid_for: how long a person's approval counts."""

    kind: str = "automatic"
    valid_for: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        if self.kind not in ("automatic", "manual"):
            raise DeclarationError(f"acceptance {self.kind!r} does not exist. Known: automatic, manual.")
        if self.valid_for <= timedelta(0):
            raise DeclarationError("acceptance: an approval that is valid for no time lets nothing go live.")


def automatic() -> Acceptance:
    """Accepted as soon as every gate has passed."""
    return Acceptance("automatic")


def manual(valid_for: timedelta = timedelta(days=7)) -> Acceptance:
    """Waits, once every gate has passed, for a person's signed approval (`mlops approve`)."""
    return Acceptance("manual", valid_for)


class Durability(StrEnum):
    """When an answer may leave. STRICT: its rows are on disk. RELAXED: they are there `flush_milliseconds` later."""

    RELAXED = "relaxed"
    STRICT = "strict"


class Outage(StrEnum):
    """What a request gets while a store is down. SERVE: an answer with nulls, which says so. REFUSE: 503."""

    SERVE = "serve"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Serving:
    """Limits of the product's prediction route, what an answer may be worth without the stores, what a challenger sees.

    outage: of the online store, and of the disk below the prediction log. STRICT refuses without that disk in any case.
    shadow: share of the entities whose rows the challenger scores as well, unseen. canary: share that it answers.
    asked_ahead: how long before its event a row may be asked. What was asked earlier is answered and logged, but meets neither
    the batch's scores nor its label. Longer means that more of the log is read for each period.
    """

    max_rows: int = 10_000
    log_predictions: bool = True
    shadow: float = 0.0
    canary: float = 0.0
    durability: Durability = Durability.RELAXED
    flush_milliseconds: float = 100
    outage: Outage = Outage.SERVE
    asked_ahead: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise DeclarationError(f"serving: max_rows {self.max_rows} lets no request in. Give at least 1.")
        if min(self.shadow, self.canary) < 0 or not self.shadow + self.canary <= 1:
            raise DeclarationError(
                f"serving: shadow {self.shadow} and canary {self.canary} are shares of the entities. Give numbers from 0 "
                "that add up to at most 1."
            )
        if not 1 <= self.flush_milliseconds <= 60_000:
            raise DeclarationError(
                f"serving: flush_milliseconds {self.flush_milliseconds} is no use. Give 1 to 60,000, such as 100."
            )
        if self.asked_ahead < timedelta(0):
            raise DeclarationError(
                f"serving: asked_ahead {self.asked_ahead} is negative. Give a time from 0, such as timedelta(days=7)."
            )
        if self.durability is Durability.STRICT and not self.log_predictions:
            raise DeclarationError("serving: strict durability without log_predictions. Log, or leave it relaxed.")
