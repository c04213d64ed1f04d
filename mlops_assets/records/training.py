"""Records of the training pipeline: the experiment, the recipe that left development, the inputs of a version."""

from datetime import datetime
from typing import ClassVar

import msgspec

from mlops_assets.products.candidates import Candidate, Hyperparameter
from mlops_assets.records.record import Record


class SearchedTrial(msgspec.Struct, frozen=True):
    """One setting of the search. score: the primary metric over all folds, None if it was pruned after `folds` of them."""

    number: int
    candidate: str
    hyperparameters: dict[str, Hyperparameter]
    score: float | None
    folds: int
    seconds: float


class Trial(msgspec.Struct, frozen=True):
    """A candidate's best setting: its mean score, its distance to the best candidate, both with intervals, and its cost.

    fit_seconds: of all folds together. bundle_bytes: model and estimator of the last fold, None if they have no ONNX form
    and cannot be served. tried: number of settings; the best of many looks slightly better than it is."""

    candidate: str
    estimator: str
    hyperparameters: dict[str, Hyperparameter]
    score: float
    low: float
    high: float
    behind_best: float
    behind_low: float
    behind_high: float
    is_tied_with_best: bool
    fit_seconds: float
    microseconds_per_row: float
    bundle_bytes: int | None
    tried: int


class Leaderboard(Record, frozen=True):
    """Trials, best first. as_of: the partition whose training window was searched. searched: every setting, in order.
    ended_by: the budget that ended the search."""

    asset: ClassVar[str] = "experiment"

    product: str
    as_of: str
    metric: str
    folds: tuple[str, ...]
    rows: int
    trials: tuple[Trial, ...]
    searched: tuple[SearchedTrial, ...]
    ended_by: str

    @property
    def best(self) -> Trial:
        """The best trial that can be served."""
        return next((trial for trial in self.trials if trial.bundle_bytes is not None), self.trials[0])


class ExperimentRun(Record, frozen=True):
    """The MLflow run to which the stored experiment was logged."""

    asset: ClassVar[str] = "experiment_run"

    mlflow_run_id: str


class Settings(msgspec.Struct, frozen=True):
    """An estimator and its hyperparameters: the part of a recipe that an MLflow run carries."""

    candidate: str
    estimator: str
    hyperparameters: dict[str, Hyperparameter]


class Recipe(Record, frozen=True):
    """The estimator and hyperparameters that left development, with who promoted them and why."""

    asset: ClassVar[str] = "recipe"

    product: str
    version: int
    candidate: str
    estimator: str
    hyperparameters: dict[str, Hyperparameter]
    by: str
    reason: str
    promoted_at: datetime
    mlflow_run_id: str = ""

    def as_candidate(self) -> Candidate:
        return Candidate(self.candidate, self.estimator, self.hyperparameters)

    def as_settings(self) -> Settings:
        return Settings(self.candidate, self.estimator, self.hyperparameters)


class TrainingInputs(Record, frozen=True):
    """The partitions that a training set was built from. versions: content hash by `features/2013-07-01`. shift_since: first
    period of the shift that it was split for, "" for the usual split."""

    asset: ClassVar[str] = "training_inputs"

    data_version: str
    versions: dict[str, str]
    shift_since: str


class ModelRecord(Record, frozen=True):
    """The version of the partition's model."""

    asset: ClassVar[str] = "model"

    version: int
