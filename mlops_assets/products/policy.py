"""The policies a product declares: for drift, failed runs, acceptance and serving."""

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
    """Bands in percent, and how patiently the loop acts on them.

    A reading below `watch` is recorded; from `watch` to below `retrain` it is watched; from `retrain` to `rework`
    (inclusive) it asks for retraining; above `rework` it asks for rework in development. `agreeing_periods` of the last
    `of_periods` readings of the same feature must agree (of_periods=0: consecutive readings must agree). `cooldown` is the
    least time between two retrainings, `retrainings_per_year` the budget.

    min_rows: with fewer rows (labelled rows, where labels are read) a reading is inconclusive. min_blocks: with fewer days it
    has no interval: rows of one day resemble each other, so whole days are resampled, and a few days give too few samples.

    stale: percent of the primary metric that a fresh model must gain for a retraining. staleness_every: periods between two
    such comparisons, and periods that one compares on; 0: never. pooled_periods: at most this many periods are pooled to
    distinguish a loss from the metric's usual variation. max_age: a champion whose training data is older than this is
    retrained, whatever the readings say; None: age alone never asks for it.

    Where periods are shorter than a day, all counts are in days.
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
            raise DeclarationError(
                f"agreeing_periods ({self.agreeing_periods}) and min_rows ({self.min_rows}) must be at least 1, and cooldown "
                f"({self.cooldown}) must not be negative."
            )
        if self.min_blocks < 2:
            raise DeclarationError(f"min_blocks ({self.min_blocks}) must be at least 2: a single day has no interval.")
        if self.of_periods and self.of_periods < self.agreeing_periods:
            raise DeclarationError(
                f"{self.agreeing_periods} of the last {self.of_periods} periods cannot agree: of_periods must be at least "
                "agreeing_periods, or 0 for consecutive periods."
            )
        if self.max_age is not None and self.max_age <= timedelta(0):
            raise DeclarationError(
                f"max_age ({self.max_age}) must be above 0, or None where age alone never asks for a retraining."
            )
        if self.stale <= 0 or self.staleness_every < 0 or self.pooled_periods < 1 or self.retrainings_per_year < 0:
            raise DeclarationError(
                f"stale ({self.stale}) must be above 0, pooled_periods ({self.pooled_periods}) at least 1, and staleness_every "
                f"({self.staleness_every}, 0: never) and retrainings_per_year ({self.retrainings_per_year}) not negative."
            )

    def band(self, percent: float) -> Action:
        """The action that one reading in percent asks for."""
        if percent > self.rework:
            return Action.REWORK
        if percent >= self.retrain:
            return Action.RETRAIN
        return Action.WATCH if percent >= self.watch else Action.NONE


@dataclass(frozen=True)
class Retries:
    """How often the sensors repeat a failed run, and what happens to a period that cannot be read.

    attempts: runs that are requested, including the first; after them a person is notified. The wait after a failed run
    begins with `first_wait` and doubles up to `longest_wait`. missing: "fail" stops at a period whose source failed in every
    attempt, until a person retries or skips it; "skip" continues without it, and readings say which period they lack.
    """

    attempts: int = 8
    first_wait: timedelta = timedelta(minutes=1)
    longest_wait: timedelta = timedelta(hours=1)
    missing: str = "fail"

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DeclarationError(f"retries: attempts ({self.attempts}) must be at least 1.")
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
            raise DeclarationError(f"acceptance: valid_for ({self.valid_for}) must be positive.")


def automatic() -> Acceptance:
    """Accepted as soon as every gate has passed."""
    return Acceptance("automatic")


def manual(valid_for: timedelta = timedelta(days=7)) -> Acceptance:
    """Waits, once every gate has passed, for a person's signed approval (`mlops approve`)."""
    return Acceptance("manual", valid_for)


class Durability(StrEnum):
    """When the API may answer. STRICT: once the rows are on disk. RELAXED: they are on disk `flush_milliseconds` later."""

    RELAXED = "relaxed"
    STRICT = "strict"


class Outage(StrEnum):
    """What a request gets while a store is unreachable. SERVE: an answer that uses nulls and says so. REFUSE: 503."""

    SERVE = "serve"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Serving:
    """Limits of the product's prediction route, its behaviour while a store is unreachable, and the challenger's share.

    outage: applies to the online store and to the disk of the prediction log. STRICT always refuses without that disk.
    shadow: share of the entities whose rows the challenger scores without answering. canary: share that it answers.
    asked_ahead: how long before its event a row may be requested. A prediction requested earlier is answered and logged, but is
    joined neither with the batch's scores nor with its label. A longer time reads more of the log for each period.
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
            raise DeclarationError(f"serving: max_rows ({self.max_rows}) must be at least 1.")
        if min(self.shadow, self.canary) < 0 or not self.shadow + self.canary <= 1:
            raise DeclarationError(
                f"serving: shadow {self.shadow} and canary {self.canary} are shares of the entities. Give numbers from 0 "
                "that add up to at most 1."
            )
        if not 1 <= self.flush_milliseconds <= 60_000:
            raise DeclarationError(
                f"serving: flush_milliseconds ({self.flush_milliseconds}) must lie between 1 and 60,000, such as 100."
            )
        if self.asked_ahead < timedelta(0):
            raise DeclarationError(
                f"serving: asked_ahead {self.asked_ahead} is negative. Give a time from 0, such as timedelta(days=7)."
            )
        if self.durability is Durability.STRICT and not self.log_predictions:
            raise DeclarationError(
                "serving: strict durability needs log_predictions. Turn log_predictions on, or leave durability relaxed."
            )
