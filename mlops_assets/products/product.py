"""`ModelProduct`: one typed, validated declaration from which all five pipelines are made."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
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


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


@dataclass(frozen=True)
class Label:
    """The observed outcome: an expression over the main table, known `delay` after the event; `unit` where it has one."""

    name: str
    expression: nw.Expr
    delay: timedelta = timedelta(0)
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelProduct:
    """The declared unit: source, features, label, candidates, gates, drift policy.

    entity_key, event_timestamp, created_timestamp: those of the source's main table, where they are left out.
    owner, description: left out, the team of the product's name, and what it predicts.
    metric: by which candidates are compared; left out, ROC AUC for classes and the mean absolute error for numbers.
    training_window: how far back a retraining looks; its last `test_window` is kept unseen for the test report.
    request: columns of the main table that a prediction request carries (the features need no others); left out, the key, the
        event timestamp and every column that a feature of a request view has the name of.
    gaps: a period of which the source has no rows, or no file while it has one of a later period: "fail" until it has, or a
        person skips it; "allow" stores it without rows, as one that is skipped, so that what follows goes on.
    calibrate: the probabilities are used as such: a binary estimator is calibrated on the last periods it would be fitted on.
    estimator_packages: packages whose estimators a recipe may name, besides scikit-learn, LightGBM and the candidates.
    trusted_types: types that a stored estimator may hold, besides those of scikit-learn, LightGBM and NumPy.

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
        object.__setattr__(self, "declared_at", declared_at(__file__))
        main = self.source.main
        object.__setattr__(self, "entity_key", self.entity_key or main.key)
        object.__setattr__(self, "event_timestamp", self.event_timestamp or main.event_timestamp)
        object.__setattr__(self, "created_timestamp", self.created_timestamp or main.created_timestamp)
        object.__setattr__(self, "request", self.request or self._usual_request())
        object.__setattr__(self, "owner", self.owner or f"team:{self.name}")
        object.__setattr__(self, "description", self.description or f"Predicts {self.label.name} of {main.name}.")
        object.__setattr__(self, "metric", self.metric or DEFAULT_METRICS[self.task])
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

    def notes(self, now: datetime) -> list[str]:
        """What is worth knowing about the declaration, and no fault."""
        partitions = self.period.partitions_by(now)
        slow = (
            f"{self.name} has {partitions:,} partitions ({self.period.in_words}), and Dagster's pages become slow from about "
            f"{MANY_PARTITIONS:,} on. Longer periods, or a later start, would keep them fast."
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
        """What a recipe may name as package.module:name: packages, and the candidates' own paths."""
        return (*self.estimator_packages, *(each.estimator for each in self.candidates if ":" in each.estimator))

    def as_declared(self, candidate: Candidate) -> Candidate:
        """With the converter that the product declares for its estimator: a recipe is data, and names no code of its own."""
        makers = (each.to_onnx for each in self.candidates if each.estimator == candidate.estimator)
        return replace(candidate, to_onnx=next(makers, ""))

    @property
    def report_gates(self) -> tuple[Gate, ...]:
        """The gates that the test report decides.

        ONNX parity and the leakage probe are always among them, declared or not: converters are silently wrong at times, and
        a model that was told the outcome looks like the best one."""
        declared = tuple(gate for gate in self.gates if not isinstance(gate, LatencyP99))
        always = (OnnxParity(DEFAULT_PARITY), LeakageProbe(DEFAULT_LEAKAGE))
        return (*declared, *(gate for gate in always if not any(isinstance(other, type(gate)) for other in declared)))

    @property
    def staging_gates(self) -> tuple[LatencyP99, ...]:
        """The gates that the staging report decides."""
        return tuple(gate for gate in self.gates if isinstance(gate, LatencyP99))

    @property
    def lookups(self) -> tuple[FeatureView, ...]:
        return tuple(view for view in self.features if view.is_lookup)

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

    def _usual_request(self) -> tuple[str, ...]:
        named = [
            name for view in self.features if not view.is_lookup for name in view.names if self.source.main.has(name)
        ]
        return tuple(dict.fromkeys((*self.entity_key, self.event_timestamp, *named)))

    def _validate_columns(self) -> None:
        main = self.source.main
        names = [column.name for column in main.columns]
        for role, wanted in (
            ("entity_key", self.entity_key),
            ("event_timestamp", (self.event_timestamp,)),
            ("created_timestamp", (self.created_timestamp,)),
            ("request", self.request),
        ):
            for name in wanted:
                if not main.has(name):
                    raise DeclarationError(f"{self.name}: {role} names {name!r}. {choices(name, names)}")
        tables = tables_by_name(self.source)
        for table in tables.values():
            for reference in table.references:
                there = tables.get(reference.table)
                if there is None or not all(there.has(name) for name in reference.there):
                    raise DeclarationError(
                        f"{self.name}: {table.name} refers to {', '.join(reference.there)} of {reference.table!r}, which "
                        f"the source does not have. {choices(reference.table, tables)}"
                    )
        if self.lookups and self.event_timestamp in (self.created_timestamp, main.created_timestamp):
            raise DeclarationError(
                f"{self.name}: rows of {main.name} count as learned when they happen (created_timestamp is the event_timestamp, "
                f"{self.event_timestamp!r}), so a lookup of past outcomes would give a row its own outcome. Name the column that says "
                "when the outcome was learned. If there is none, declare Table(known_after=hours(1)) or the like: the platform "
                "adds the column `learned_at` and fills it."
            )
        unusable = [name for name in self.request if not name.isidentifier() or keyword.iskeyword(name)]
        if unusable:
            raise DeclarationError(
                f"{self.name}: a request cannot carry a field named {unusable[0]!r}. Give the column a name of letters, digits and "
                f"underscores that is no word of Python, and source_name={unusable[0]!r}."
            )
        if main.min_rows == 0:
            raise DeclarationError(
                f"{self.name}: {main.name} has min_rows=0, and a period without rows trains and says nothing. Give min_rows of at "
                "least 1; a period in which nothing happened is declared with gaps='allow'. A side table may have min_rows=0."
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
        twice = _twice(names)
        if not names or twice:
            raise DeclarationError(
                f"{self.name}: two features are named {', '.join(twice)}. Rename one."
                if twice
                else f"{self.name}: features is empty. Give at least one view."
            )
        if self.label.name in names:
            raise DeclarationError(
                f"{self.name}: the label {self.label.name!r} is also a feature: the model would copy it."
            )
        if alike := _twice([view.name for view in self.features]):
            raise DeclarationError(f"{self.name}: two feature views are named {', '.join(alike)}. Rename one.")
        self._validate_steps()
        carried = {*self.request, *(f.name for view in self.features if not view.is_lookup for f in view.features)}
        for view in self.lookups:
            shadowed = [name for name in view.names if name in self.request]
            if shadowed:
                raise DeclarationError(
                    f"{self.name}: view {view.name!r} looks up {', '.join(shadowed)}, which the request already carries. "
                    "Rename the feature, or leave the column out of request."
                )
            self._require_carried(f"view {view.name!r} looks up by", view.key, carried)
        if self.label.delay < timedelta(0):
            raise DeclarationError(f"{self.name}: label delay is negative. Labels cannot be known before the event.")

    def _validate_steps(self) -> None:
        steps: dict[str, nw.Expr] = {}
        views = [view for view in self.features if not view.is_lookup]
        for view, name, expression in [(owner, *step) for owner in views for step in owner.intermediate]:
            roles = {
                "a column of the request": self.request,
                "a feature": self.feature_names,
                "another step": [other for other, its in steps.items() if repr(its) != repr(expression)],
            }
            for role, names in roles.items():
                if name in names:
                    raise DeclarationError(
                        f"{self.name}: view {view.name!r} has a step named {name!r}, as {role} is. Rename the step."
                    )
            steps[name] = expression

    def _require_carried(self, what: str, names: Iterable[str], carried: Iterable[str]) -> None:
        if missing := sorted({*names} - {*carried}):
            raise DeclarationError(
                f"{self.name}: {what} {missing[0]!r}, which no request carries. {choices(missing[0], carried)}"
            )

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
        if not names or len(set(names)) != len(names):
            raise DeclarationError(f"{self.name}: candidates need distinct names and at least one: {names}.")

        for role, declared in (("estimator_packages", self.estimator_packages), ("trusted_types", self.trusted_types)):
            if isinstance(declared, str) or not all(re.fullmatch(r"\w+(\.\w+)*", name) for name in declared):
                raise DeclarationError(
                    f"{self.name}: {role} is a tuple of dotted names, as in ('acme.models',): {declared!r}."
                )

        if self.calibrate and self.task is not Task.BINARY:
            raise DeclarationError(
                f"{self.name}: calibrate is for probabilities of two classes, and the task is {self.task}. Leave it out."
            )

    def _validate_gates(self) -> None:
        known = metrics_of(self.task)
        wanted = [("metric", self.metric)]
        wanted += [("gate", gate.metric) for gate in self.gates if isinstance(gate, ScoreGate)]
        for role, metric in wanted:
            if metric not in known:
                raise DeclarationError(
                    f"{self.name}: {role} {metric!r} does not exist for {self.task}. {choices(metric, known)}"
                )
        for gate in self.gates:
            if isinstance(gate, SliceGap) and gate.feature not in self.feature_names:
                raise DeclarationError(
                    f"{self.name}: slice_gap by {gate.feature!r}, which is no feature. {choices(gate.feature, self.feature_names)}"
                )
        gate_names = [gate.name for gate in self.gates]
        if len(set(gate_names)) != len(gate_names):
            raise DeclarationError(f"{self.name}: a gate is declared twice: {gate_names}.")
