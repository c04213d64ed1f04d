"""Records of the testing pipeline: the scores of a version on unseen rows, and its behaviour in staging."""

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
    """Paired gain over the champion on the same rows, in the metric's unit; positive is better."""

    champion_version: int
    metric: str
    gain: float
    low: float
    high: float
    confidence: float


class Confusion(msgspec.Struct, frozen=True):
    """Rows by true class (outer) and predicted class (inner), in the order of `classes`. threshold: least probability at which
    the second class is predicted; None for more than two classes, of which the most probable is predicted."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    threshold: float | None


class Slice(msgspec.Struct, frozen=True):
    """A category of a feature and the metric on its rows; None if they cannot be scored (they hold one class only)."""

    feature: str
    category: str
    rows: int
    metric: str
    value: float | None
    gap: float | None


class WorstSlice(msgspec.Struct, frozen=True):
    """A slice that scores below the whole window. p_adjusted: probability of such a gap in any examined slice if none were
    worse (one-sided t over a jackknife of days, times the number of slices); None with fewer than three days."""

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
    """The measurements of a version on unseen rows. importance: metric lost when the input is shuffled.

    calibration_error: mean distance of predicted and observed share over the bins, weighted by rows; None unless binary.
    confusion: None for a regression. slices_examined: number of slices that the search for the worst scored. leakage: None
    without the fitted rows. onnx_difference: the largest over `parity_rows`, which are the test window and edge rows.
    flipped_labels: rows among them whose predicted label differs. bundle_bytes: None if it was not measured.
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
    """The last round of one-row requests, in milliseconds.

    witness: the server whose requests alternated with the challenger's, such as "champion 4". slower_by: lower bound of the
    challenger's p99 minus the witness's. own: lower bound of the p99 without the delay of a busy machine. cpu: processor
    time of the requests over the limit, or of the slowest, when they were sent again. others_share: share of the machine's
    processors that other programs used. rounds: number of rounds, this one included."""

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
    """The real API as a client sees it. skew: largest difference of an online prediction from the offline one, in float32 steps.

    latency: the last round of single requests, beside a witness; None in reports that had no witness."""

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
