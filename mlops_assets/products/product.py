"""`ModelProduct`: one typed, validated declaration from which all five pipelines are built."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

import narwhals as nw

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.declared import Place, declared_at
from mlops_assets.products.feature_view import MANY_CATEGORIES, Feature, FeatureKind, FeatureView
from mlops_assets.products.gates import Gate, LatencyP99, LeakageProbe, OnnxParity, ScoreGate, SliceGap
from mlops_assets.products.keep import Keep
from mlops_assets.products.periods import MANY_PARTITIONS, Periods, spelled
from mlops_assets.products.policy import Acceptance, DriftPolicy, Retries, Serving
from mlops_assets.products.probation import Probation
from mlops_assets.products.search import Search
from mlops_assets.products.source import Column, Source, tables_by_name
from mlops_assets.products.task import METRICS, Metric, Task, metrics_of

DEFAULT_PARITY, DEFAULT_LEAKAGE = 1e-5, 0.9
DEFAULT_METRICS = {Task.BINARY: "roc_auc", Task.MULTICLASS: "roc_auc", Task.REGRESSION: "mae"}


def _duplicates(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


@dataclass(frozen=True)
class Label:
    """The observed outcome: an expression over the main table, known `delay` after the event."""

    name: str
    expression: nw.Expr
    delay: timedelta = timedelta(0)
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelProduct:
    """The declared unit: source, features, label, candidates, gates, drift policy.

    entity_key, event_timestamp, created_timestamp: default to those of the source's main table.
    owner, description: default to the team with the product's name, and to what it predicts.
    metric: the one that compares candidates; defaults to ROC AUC for classes and the mean absolute error for numbers.
    training_window: how far back a retraining looks; its last `test_window` is held out for the test report.
    request: columns of the main table that a prediction request carries (features may use no others); defaults to the key, the
        event timestamp and every column whose name is that of a feature in an on-demand view.
    gaps: what happens to a period for which the source has no rows, or no file although it has one of a later period.
        "fail": the period fails until the source has rows or a person skips it. "allow": it is stored without rows.
    calibrate: the probabilities are used as such, so a binary estimator is calibrated on the last periods of its training rows.
    estimator_packages: packages whose estimators a recipe may name, besides scikit-learn, LightGBM and the candidates.
    trusted_types: types that a stored estimator may contain, besides those of scikit-learn, LightGBM and NumPy.

    Raises DeclarationError: the declaration contradicts itself; the sentence says what to change.
    """

    name: str
    owner: str = ""
    description: str = ""
    source: Source
    entity_key: tuple[str, ...] = ()
    event_timestamp: str = ""
    created_timestamp: str = ""
    period: Periods
    training_window: timedelta
    test_window: timedelta
    label: Label
    task: Task
    features: tuple[FeatureView, ...]
    request: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...]
    metric: str = ""
    gates: tuple[Gate, ...]
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    acceptance: Acceptance = field(default_factory=Acceptance)
    probation: Probation = field(default_factory=Probation)
    retries: Retries = field(default_factory=Retries)
    serving: Serving = field(default_factory=Serving)
    search: Search = field(default_factory=Search)
    keep: Keep = field(default_factory=Keep)
    gaps: str = "fail"
    calibrate: bool = False
    estimator_packages: tuple[str, ...] = ()
    trusted_types: tuple[str, ...] = ()
    seed: int = 7
    declared_at: Place = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        main = self.source.main
        self._set_default("declared_at", declared_at(__file__))
        self._set_default("entity_key", main.key)
        self._set_default("event_timestamp", main.event_timestamp)
        self._set_default("created_timestamp", main.created_timestamp)
        self._set_default("request", self._default_request())
        self._set_default("owner", f"team:{self.name}")
        self._set_default("description", f"Predicts {self.label.name} of {main.name}.")
        self._set_default("metric", DEFAULT_METRICS[self.task])
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise DeclarationError(
                f"product name {self.name!r} becomes part of keys, routes and folders: "
                "use lower-case letters, digits and underscores, beginning with a letter."
            )
        if not re.fullmatch(r"team:[\w-]+|[^@\s]+@[^@\s]+", self.owner):
            raise DeclarationError(f"owner {self.owner!r} must be 'team:name' or an e-mail address.")
        self._validate_columns()
        self._validate_features()
        self._validate_windows()
        self._validate_candidates()
        self._validate_gates()

    def _set_default(self, name: str, default: object) -> None:
        if not getattr(self, name, None):
            object.__setattr__(self, name, default)  # the dataclass is frozen

    def notes(self, now: datetime) -> list[str]:
        """Remarks on the declaration that are not errors."""
        partitions = self.period.partitions_by(now)
        slow = (
            f"{self.name} has {partitions:,} partitions ({self.period.in_words}), and above about {MANY_PARTITIONS:,} "
            f"Dagster's pages become slow. Longer periods, or a later start, would keep them fast."
        )
        main, categorical = self.source.main, [item for item in self.inputs if item.kind is FeatureKind.CATEGORICAL]
        choices = {item.name: len(main.column(item.name).choices) for item in categorical if main.has(item.name)}
        return [
            *([slow] if partitions > MANY_PARTITIONS else ()),
            *(
                f"{self.name}: the feature {name} is declared with {count:,} categories. A model keeps every one of them, and drift reads "
                "rare ones as one. Group them, or leave the column out where it names a row."
                for name, count in choices.items()
                if count > MANY_CATEGORIES
            ),
        ]

    @cached_property
    def inputs(self) -> tuple[Feature, ...]:
        """Model inputs in the order of the model's columns."""
        return tuple(feature for view in self.features for feature in view.features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.inputs)

    @property
    def declared_estimators(self) -> tuple[str, ...]:
        """What a recipe may name: the declared packages, and the paths (package.module:name) of the candidates."""
        return (*self.estimator_packages, *(each.estimator for each in self.candidates if ":" in each.estimator))

    def as_declared(self, candidate: Candidate) -> Candidate:
        """The candidate with the converter that the product declares for its estimator: a recipe is data and names no code."""
        converters = (each.to_onnx for each in self.candidates if each.estimator == candidate.estimator)
        return replace(candidate, to_onnx=next(converters, ""))

    @property
    def report_gates(self) -> tuple[Gate, ...]:
        """The gates that the test report decides.

        ONNX parity and the leakage probe are always included: converters are sometimes wrong without an error, and a model that
        learned from the outcome itself looks like the best one."""
        declared = tuple(gate for gate in self.gates if not isinstance(gate, LatencyP99))
        always = (OnnxParity(DEFAULT_PARITY), LeakageProbe(DEFAULT_LEAKAGE))
        return (*declared, *(gate for gate in always if not any(isinstance(other, type(gate)) for other in declared)))

    @property
    def staging_gates(self) -> tuple[LatencyP99, ...]:
        """The gates that the staging report decides."""
        return tuple(gate for gate in self.gates if isinstance(gate, LatencyP99))

    @property
    def lookups(self) -> tuple[FeatureView, ...]:
        return tuple(view for view in self.features if view.is_batch)

    @property
    def primary_metric(self) -> Metric:
        return METRICS[self.metric]

    @property
    def training_periods(self) -> int:
        """How many periods the training window holds."""
        return self.period.in_window(self.training_window)

    @property
    def lookback(self) -> timedelta:
        return max((view.lookback for view in self.features), default=timedelta(0))

    def request_columns(self) -> tuple[Column, ...]:
        return tuple(self.source.main.column(name) for name in self.request)

    def _default_request(self) -> tuple[str, ...]:
        columns = [
            name for view in self.features if not view.is_batch for name in view.names if self.source.main.has(name)
        ]
        return tuple(dict.fromkeys((*self.entity_key, self.event_timestamp, *columns)))

    def _validate_columns(self) -> None:
        main = self.source.main
        names = [column.name for column in main.columns]
        for role, columns in (
            ("entity_key", self.entity_key),
            ("event_timestamp", (self.event_timestamp,)),
            ("created_timestamp", (self.created_timestamp,)),
            ("request", self.request),
        ):
            for name in columns:
                if not main.has(name):
                    raise DeclarationError(f"{self.name}: {role} names {name!r}. {choices(name, names)}")
        tables = tables_by_name(self.source)
        for table in tables.values():
            for foreign_key in table.foreign_keys:
                target = tables.get(foreign_key.table)
                if target is None or not all(target.has(name) for name in foreign_key.target_columns):
                    raise DeclarationError(
                        f"{self.name}: {table.name} refers to {', '.join(foreign_key.target_columns)} of {foreign_key.table!r}, "
                        f"which the source does not have. {choices(foreign_key.table, tables)}"
                    )
        if self.lookups and self.event_timestamp in (self.created_timestamp, main.created_timestamp):
            raise DeclarationError(
                f"{self.name}: rows of {main.name} count as learned when they happen (created_timestamp is the event_timestamp, "
                f"{self.event_timestamp!r}), so a lookup of past outcomes would give a row its own outcome. Name the column that says "
                "when the outcome was learned. If there is none, declare for example Table(known_after=hours(1)): the platform then "
                "adds and fills the column `learned_at`."
            )
        unusable = [name for name in self.request if not name.isidentifier() or keyword.iskeyword(name)]
        if unusable:
            raise DeclarationError(
                f"{self.name}: a request cannot carry a field named {unusable[0]!r}. Give the column a name of letters, digits and "
                f"underscores that is not a Python keyword, and source_name={unusable[0]!r}."
            )
        if main.min_rows == 0:
            raise DeclarationError(
                f"{self.name}: {main.name} has min_rows=0, but a model cannot be trained or watched on periods without rows. Set "
                "min_rows to at least 1, and declare gaps='allow' where periods may be empty. A side table may have min_rows=0."
            )
        if self.gaps not in ("fail", "allow"):
            raise DeclarationError(
                f"{self.name}: gaps={self.gaps!r} does not exist. {choices(self.gaps, ('fail', 'allow'))}"
            )
        missing = [name for name in (*self.entity_key, self.event_timestamp) if name not in self.request]
        if missing:
            raise DeclarationError(f"{self.name}: request must carry {', '.join(missing)}, or a prediction has no key.")

    def _validate_features(self) -> None:
        names = self.feature_names
        if not names:
            raise DeclarationError(f"{self.name}: features is empty. Give at least one view.")
        if duplicates := _duplicates(names):
            raise DeclarationError(f"{self.name}: two features are named {', '.join(duplicates)}. Rename one.")
        if self.label.name in names:
            raise DeclarationError(
                f"{self.name}: the label {self.label.name!r} is also a feature: the model would copy it."
            )
        if self.event_timestamp in names:
            raise DeclarationError(
                f"{self.name}: the event timestamp {self.event_timestamp!r} is also a feature. Rename the feature: rows are placed by "
                "their time."
            )
        if duplicates := _duplicates([view.name for view in self.features]):
            raise DeclarationError(f"{self.name}: two feature views are named {', '.join(duplicates)}. Rename one.")
        self._validate_steps()
        carried = {*self.request, *(f.name for view in self.features if not view.is_batch for f in view.features)}
        for view in self.lookups:
            shadowed = [name for name in view.names if name in self.request]
            if shadowed:
                raise DeclarationError(
                    f"{self.name}: view {view.name!r} looks up {', '.join(shadowed)}, which the request already carries. "
                    "Rename the feature, or leave the column out of request."
                )
            if missing := sorted({*view.key} - carried):
                raise DeclarationError(
                    f"{self.name}: view {view.name!r} looks up by {missing[0]!r}, which no request carries. "
                    f"{choices(missing[0], carried)}"
                )
        if self.label.delay < timedelta(0):
            raise DeclarationError(f"{self.name}: label delay is negative. Labels cannot be known before the event.")

    def _validate_steps(self) -> None:
        steps: dict[str, nw.Expr] = {}
        views = [view for view in self.features if not view.is_batch]
        for view, name, expression in [(owner, *step) for owner in views for step in owner.intermediate]:
            others = {
                "a column of the request": self.request,
                "a feature": self.feature_names,
                "another step": [other for other, its in steps.items() if repr(its) != repr(expression)],
            }
            for other, names in others.items():
                if name in names:
                    raise DeclarationError(
                        f"{self.name}: view {view.name!r} has an intermediate step named {name!r}, and {other} has the same name. "
                        "Rename the step."
                    )
            steps[name] = expression

    def _validate_windows(self) -> None:
        for role, window in (("training_window", self.training_window), ("test_window", self.test_window)):
            length = self.period.length
            if window <= timedelta(0) or (window % length if length else not self.period.in_window(window)):
                raise DeclarationError(
                    f"{self.name}: {role} of {spelled(window)} is not a whole number of periods ({self.period.in_words})."
                )
        if self.period.in_window(self.test_window) >= self.training_periods:
            raise DeclarationError(
                f"{self.name}: test_window must be shorter than training_window, of which it is the end."
            )
        if self.label.delay >= self.test_window:
            raise DeclarationError(
                f"{self.name}: no label of the test_window ({spelled(self.test_window)}) would be known after a delay of "
                f"{spelled(self.label.delay)}. Make test_window longer."
            )

    def _validate_candidates(self) -> None:
        names = [candidate.name for candidate in self.candidates]
        if not names:
            raise DeclarationError(f"{self.name}: candidates is empty. Give at least one.")
        if duplicates := _duplicates(names):
            raise DeclarationError(f"{self.name}: two candidates are named {', '.join(duplicates)}. Rename one.")

        for role, declared in (("estimator_packages", self.estimator_packages), ("trusted_types", self.trusted_types)):
            if isinstance(declared, str) or not all(re.fullmatch(r"\w+(\.\w+)*", name) for name in declared):
                raise DeclarationError(
                    f"{self.name}: {role} must be a tuple of dotted names, as in ('acme.models',), and is {declared!r}."
                )

        if self.calibrate and self.task is not Task.BINARY:
            raise DeclarationError(
                f"{self.name}: calibrate needs a binary task, and the task is {self.task}. Leave calibrate out."
            )

    def _validate_gates(self) -> None:
        metrics = metrics_of(self.task)
        declared_metrics = [("metric", self.metric)]
        declared_metrics += [("gate", gate.metric) for gate in self.gates if isinstance(gate, ScoreGate)]
        for role, metric in declared_metrics:
            if metric not in metrics:
                raise DeclarationError(
                    f"{self.name}: {role} {metric!r} does not exist for {self.task}. {choices(metric, metrics)}"
                )
        for gate in self.gates:
            if isinstance(gate, SliceGap) and gate.feature not in self.feature_names:
                raise DeclarationError(
                    f"{self.name}: slice_gap by {gate.feature!r}, which is not a feature. {choices(gate.feature, self.feature_names)}"
                )
        if duplicates := _duplicates([gate.name for gate in self.gates]):
            raise DeclarationError(f"{self.name}: gate {', '.join(duplicates)} is declared twice. Leave one out.")
