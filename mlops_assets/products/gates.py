"""Gates a product declares: pass/fail rules on scores of a challenger. `testing.gates` evaluates them."""

from dataclasses import dataclass

from mlops_assets.errors import DeclarationError


@dataclass(frozen=True)
class AtLeast:
    metric: str
    limit: float

    @property
    def name(self) -> str:
        return f"{self.metric}_at_least_{_slug(self.limit)}"


@dataclass(frozen=True)
class AtMost:
    metric: str
    limit: float

    @property
    def name(self) -> str:
        return f"{self.metric}_at_most_{_slug(self.limit)}"


@dataclass(frozen=True)
class NotWorseThanChampion:
    """Passes when, at `confidence`, the challenger loses at most `margin` on the same rows, paired."""

    metric: str
    margin: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1 or self.margin < 0:
            raise DeclarationError(
                f"not_worse_than_champion: confidence {self.confidence} must lie between 0.5 and 1, margin {self.margin} "
                "must not be negative."
            )

    @property
    def name(self) -> str:
        return f"{self.metric}_not_worse_than_champion"


@dataclass(frozen=True)
class SliceGap:
    """Passes when the worst slice of `feature` loses at most `at_most` against the whole test window.

    Slices with fewer than `min_rows` rows are reported but not judged."""

    feature: str
    metric: str
    at_most: float
    min_rows: int = 200

    @property
    def name(self) -> str:
        return f"{self.metric}_gap_by_{self.feature}"


@dataclass(frozen=True)
class LatencyP99:
    """Passes when the staging server answers one row within this time in 99 of 100 requests.

    A measurement on a busy machine does not count: it is repeated, up to `rounds` times, and then left for later."""

    milliseconds: float
    name: str = "latency_p99"
    rounds: int = 3

    def __post_init__(self) -> None:
        if not self.milliseconds > 0 or self.rounds < 1:
            raise DeclarationError(
                f"latency_p99: milliseconds {self.milliseconds} must be above 0, rounds {self.rounds} at least 1."
            )


@dataclass(frozen=True)
class OnnxParity:
    """Passes when the bundle's ONNX model and the estimator differ by at most `tolerance` on the test window.

    For classes the difference is one of probabilities; for regression it is relative to the largest prediction."""

    tolerance: float
    name: str = "onnx_parity"


@dataclass(frozen=True)
class BundleSize:
    """Passes when the bundle's files are at most this large: every process of the API holds the model in memory."""

    megabytes: float
    name: str = "bundle_size"


@dataclass(frozen=True)
class LeakageProbe:
    """Passes when no single input predicts the label better than `at_most`, and no test row was used for fitting.

    at_most: skill from 0 (none) to 1 (it is the label): 2 ROC AUC - 1 for classes, R2 for numbers."""

    at_most: float
    name: str = "leakage_probe"

    def __post_init__(self) -> None:
        if not 0 < self.at_most < 1:
            raise DeclarationError(f"leakage_probe: at_most {self.at_most} is a skill and must lie between 0 and 1.")


Gate = AtLeast | AtMost | NotWorseThanChampion | SliceGap | LatencyP99 | OnnxParity | BundleSize | LeakageProbe
ScoreGate = AtLeast | AtMost | NotWorseThanChampion | SliceGap  # those that name a metric


def at_least(metric: str, limit: float) -> AtLeast:
    return AtLeast(metric, limit)


def at_most(metric: str, limit: float) -> AtMost:
    return AtMost(metric, limit)


def not_worse_than_champion(metric: str, margin: float, confidence: float = 0.95) -> NotWorseThanChampion:
    return NotWorseThanChampion(metric, margin, confidence)


def slice_gap(feature: str, metric: str, at_most: float) -> SliceGap:
    return SliceGap(feature, metric, at_most)


def latency_p99(milliseconds: float, rounds: int = 3) -> LatencyP99:
    return LatencyP99(milliseconds, rounds=rounds)


def onnx_parity(tolerance: float) -> OnnxParity:
    return OnnxParity(tolerance)


def bundle_size(megabytes: float) -> BundleSize:
    return BundleSize(megabytes)


def leakage_probe(at_most: float = 0.9) -> LeakageProbe:
    return LeakageProbe(at_most)


def _slug(limit: float) -> str:
    return f"{limit:g}".replace(".", "_").replace("-", "minus_").replace("+", "")
