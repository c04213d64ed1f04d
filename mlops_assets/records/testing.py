"""Records of the testing pipeline: what is known of a version from its unseen rows and from staging."""

from typing import ClassVar

import msgspec

from mlops_assets.records.record import Record


class Scored(msgspec.Struct, frozen=True):
    metric: str
    value: float
    low: float
    high: float


class CalibrationBin(msgspec.Struct, frozen=True):
    predicted: float
    observed: float
    rows: int


class Comparison(msgspec.Struct, frozen=True):
    """Gain over the champion on the same rows, paired; positive is better, in the metric's unit."""

    champion_version: int
    metric: str
    gain: float
    low: float
    high: float
    confidence: float


class Confusion(msgspec.Struct, frozen=True):
    """Rows by true class (outer) and answered class (inner), in the order of `classes`. threshold: probability from which
    on the answer is the second class; None for more than two classes, where the most probable one is answered."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    threshold: float | None


class Slice(msgspec.Struct, frozen=True):
    """A category of a feature and the metric on it; None where the slice cannot be scored (one class only)."""

    feature: str
    category: str
    rows: int
    metric: str
    value: float | None
    gap: float | None


class WorstSlice(msgspec.Struct, frozen=True):
    """A slice that lost against the whole window. p_adjusted: chance to see such a gap in any of the slices that were
    looked at, were there none (one-sided t over a jackknife of days, times their number); None with under three days."""

    description: str
    rows: int
    metric: str
    value: float
    gap: float
    low: float | None
    p_adjusted: float | None


class Leakage(msgspec.Struct, frozen=True):
    """skills: how well each input predicts the label on the test rows without the others; 0: not at all, 1: it is the label.
    shared_rows: test rows whose entity key was also fitted on."""

    skills: dict[str, float]
    shared_rows: int

    @property
    def most_predictive(self) -> tuple[str, float]:
        """The input with the largest skill, and that skill. A stored report has its inputs in alphabetical order."""
        return max(self.skills.items(), key=lambda item: item[1], default=("", 0.0))


class TestReport(Record, frozen=True):
    """What is known of a version before it may serve. `importance`: metric lost when the input is shuffled.

    calibration_error: mean distance of predicted and observed share over the bins, weighted by rows; None unless binary.
    confusion: None for a regression. slices_examined: how many slices the search for the worst looked at. leakage: None
    without the rows that were fitted on. onnx_difference: the largest of `parity_rows`, the test window and edge rows;
    flipped_labels: of the same rows. bundle_bytes: None where it was not measured.
    """

    asset: ClassVar[str] = "test_report"
    schema: ClassVar[int] = 2

    product: str
    version: int
    partition: str
    rows: int
    scores: tuple[Scored, ...]
    slices: tuple[Slice, ...]
    calibration: tuple[CalibrationBin, ...]
    importance: dict[str, float]
    onnx_difference: float
    comparisons: tuple[Comparison, ...]
    calibration_error: Scored | None
    confusion: Confusion | None
    worst_slices: tuple[WorstSlice, ...]
    slices_examined: int
    leakage: Leakage | None
    bundle_bytes: int | None
    parity_rows: int
    flipped_labels: int

    def against_champion(self, metric: str) -> Comparison | None:
        """None while there is no champion to be compared with."""
        return next((item for item in self.comparisons if item.metric == metric), None)

    def value_of(self, metric: str) -> float:
        return next(item.value for item in self.scores if item.metric == metric)


class LatencyReading(msgspec.Struct, frozen=True):
    """One round of requests of one row, in milliseconds.

    witness: what was asked in turn, such as "champion 4". slower_by: p99 less the witness's p99, low end of its interval.
    own: p99 without what the machine added, low end. cpu: what a request over the limit, or one of the
    slowest, took of a processor when it was sent again. others_share: of the machine's processors, what other programs used
    meanwhile. rounds: how many were measured until this one."""

    requests: int
    p50: float
    p99: float
    witness: str
    witness_p99: float
    slower_by: float
    own: float
    cpu: float
    others_share: float
    rounds: int


class StagingReport(Record, frozen=True):
    """The API as a client saw it. skew: largest difference of an online prediction to the offline one, in
    float32 steps.

    latency: the last round of single requests, beside the champion; None where they were sent once, with nothing beside them."""

    asset: ClassVar[str] = "staging_report"

    product: str
    version: int
    rows: int
    skew: float
    p50_milliseconds: float
    p99_milliseconds: float
    memory_mb: float
    start_seconds: float
    refused_bad_request: bool
    latency: LatencyReading | None
