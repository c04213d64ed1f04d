"""Builders: a small product of its own, taxi rides, with a source in memory and estimators of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.products.candidates import linear
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.gates import at_least, latency_p99, not_worse_than_champion, onnx_parity, slice_gap
from mlops_assets.products.periods import Period, daily, days
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.products.task import Task
from mlops_assets.training.split import FIT, PERIOD, SPLIT, TEST

RIDES = Table(
    "rides",
    columns=(
        Column("ride", Kind.INTEGER),
        Column("origin", Kind.STRING),
        Column("asked_at", Kind.TIMESTAMP),
        Column("distance", Kind.FLOAT, unit="mi", nullable=True),
        Column("waited", Kind.FLOAT, unit="min", nullable=True),
        Column("told_at", Kind.TIMESTAMP),
    ),
    key=("ride",),
    event_timestamp="asked_at",
    created_timestamp="told_at",
)
SCHEMA = {
    **{"ride": pl.Int64, "origin": pl.String, "asked_at": pl.Datetime("us", "UTC"), "distance": pl.Float64},
    **{"waited": pl.Float64, "told_at": pl.Datetime("us", "UTC")},
}
ORIGINS = ("EWR", "JFK", "LGA")
BASKET = FeatureView(
    "trip", (Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL), Feature("distance", nw.col("distance")))
)


def january(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment of January 2020, which begins on a Wednesday."""
    return datetime(2020, 1, day, hour, minute, second, tzinfo=UTC)


def a_ride(ride: int, asked_at: datetime, **changes: Any) -> dict[str, Any]:
    """A ride from EWR of 2 mi that was waited for 9 min (late), told an hour after it was asked for."""
    usual = {"origin": "EWR", "distance": 2.0, "waited": 9.0, "told_at": asked_at + timedelta(hours=1)}
    return {"ride": ride, "asked_at": asked_at, **usual, **changes}


def rides(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


@dataclass(frozen=True)
class InMemory:
    """A source that holds its rows."""

    frame: pl.DataFrame
    main: Table = RIDES
    side_tables: tuple[Table, ...] = ()

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        assert table == self.main.name
        return self.frame.lazy().filter(pl.col("asked_at") >= period.start, pl.col("asked_at") < period.end)

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


def a_product(**changes: Any) -> ModelProduct:
    """Will a taxi let one wait for more than five minutes? Daily, trained on eight days, tested on the last two."""
    usual: dict[str, Any] = {
        "name": "taxi",
        "owner": "team:rides",
        "description": "Will a taxi let one wait for more than five minutes?",
        "source": InMemory(rides()),
        "entity_key": ("ride",),
        "event_timestamp": "asked_at",
        "created_timestamp": "told_at",
        "period": daily(start="2020-01-01"),
        "training_window": days(8),
        "test_window": days(2),
        "label": Label("late", nw.col("waited") > 5, delay=days(1)),
        "task": Task.BINARY,
        "features": (BASKET,),
        "request": ("ride", "origin", "asked_at", "distance"),
        "candidates": (linear(),),
        "metric": "roc_auc",
        "gates": (
            at_least("roc_auc", 0.6),
            not_worse_than_champion("roc_auc", margin=0.01, confidence=0.95),
            slice_gap("origin", "roc_auc", at_most=0.1),
            onnx_parity(1e-5),
            latency_p99(milliseconds=50),
        ),
        "drift": DriftPolicy(cooldown=days(3)),
    }
    return ModelProduct(**{**usual, **changes})


def a_regression(**changes: Any) -> ModelProduct:
    label = Label("minutes", nw.col("waited"), delay=days(1), unit="min")
    return a_product(**{"task": Task.REGRESSION, "label": label, "metric": "mae", "gates": (), **changes})


def a_multiclass(**changes: Any) -> ModelProduct:
    label = Label("word", nw.lit("short"), delay=days(1))
    return a_product(**{"task": Task.MULTICLASS, "label": label, "metric": "roc_auc", "gates": (), **changes})


def a_training_set(product: ModelProduct, *, fit_days: int = 6, test_days: int = 2, rows: int = 60) -> pl.DataFrame:
    """`rows` rides a day, of which far ones from JFK tend to be late; a class or a number as the product asks."""
    draw = np.random.default_rng(5)
    count = (fit_days + test_days) * rows
    day = np.repeat(np.arange(fit_days + test_days), rows)
    origin = draw.choice(ORIGINS, count)
    distance = draw.gamma(2, 3, count)
    pull = distance - 6 + 4 * (origin == "JFK") + draw.normal(0, 2, count)
    label: Any = {
        Task.BINARY: (pull > 0).astype(float),
        Task.REGRESSION: 10 + pull,
        Task.MULTICLASS: np.select([pull < -2, pull < 2], ["short", "usual"], "long"),
    }[product.task]
    moments = [january(1) + timedelta(days=int(number), minutes=7) for number in day]
    return pl.DataFrame(
        {
            "ride": range(count),
            "asked_at": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "origin": [None if number % 50 == 3 else str(name) for number, name in enumerate(origin)],
            "distance": [None if number % 40 == 2 else float(miles) for number, miles in enumerate(distance)],
            LABEL: label,
            SPLIT: np.where(day < fit_days, FIT, TEST),
            PERIOD: [f"{moment:%Y-%m-%d}" for moment in moments],
        }
    )


class AlwaysTheSame:
    """An estimator that learns nothing and has no ONNX form: probability one half, prediction 0."""

    def fit(self, X: Any, y: Any) -> "AlwaysTheSame":  # noqa: N803 (sklearn's)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 (sklearn's)
        return np.zeros(len(X))

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 (sklearn's)
        return np.full((len(X), 2), 0.5)


def always_the_same(task: Task) -> AlwaysTheSame:
    return AlwaysTheSame()


class FarFromTheAirport:
    """Rules, which no converter knows: far rides from JFK are late, other far ones perhaps, where nothing is known less likely."""

    def __init__(self, far: float = 6.0) -> None:
        self.far = far

    def fit(self, X: Any, y: Any) -> "FarFromTheAirport":  # noqa: N803 (sklearn's)
        self.classes_ = np.array([0.0, 1.0])
        self.usual_ = float(np.mean(y))
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 (sklearn's)
        return (self.predict_proba(X)[:, 1] > 0.5).astype(float)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 (sklearn's)
        is_far, is_jfk = X[:, 1] > self.far, X[:, 0] == JFK
        late = np.where(is_far, np.where(is_jfk, 0.9, 0.6), np.float32(self.usual_) / 2)
        return np.column_stack([1 - late, late])


JFK = 1.0  # its code: categories are numbered in the order of their names


def rules_as_onnx(estimator: FarFromTheAirport, task: Task, width: int) -> Any:
    """The same rules as a graph; comparisons with NaN are false, as NumPy's are."""
    from onnx import TensorProto, helper

    def constant(name: str, value: Any) -> Any:
        kind = TensorProto.INT64 if isinstance(value, int) else TensorProto.FLOAT
        return helper.make_tensor(name, kind, [1], [value])

    nodes = [
        helper.make_node("Gather", ["rows", "first"], ["origin"], axis=1),
        helper.make_node("Gather", ["rows", "second"], ["distance"], axis=1),
        helper.make_node("Greater", ["distance", "far"], ["is_far"]),
        helper.make_node("Equal", ["origin", "jfk"], ["is_jfk"]),
        helper.make_node("Where", ["is_jfk", "surely", "perhaps"], ["when_far"]),
        helper.make_node("Where", ["is_far", "when_far", "usual"], ["late"]),
        helper.make_node("Sub", ["one", "late"], ["in_time"]),
        helper.make_node("Concat", ["in_time", "late"], ["both"], axis=1),
    ]
    values = {
        "far": estimator.far,
        "jfk": JFK,
        "surely": 0.9,
        "perhaps": 0.6,
        "usual": estimator.usual_ / 2,
        "one": 1.0,
    }
    graph = helper.make_graph(
        nodes,
        "rules",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("both", TensorProto.FLOAT, [None, 2])],
        [constant("first", 0), constant("second", 1), *(constant(name, value) for name, value in values.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def rules_gone_wrong(estimator: FarFromTheAirport, task: Task, width: int) -> Any:
    """Another threshold than the estimator has: valid ONNX that says something else."""
    other = FarFromTheAirport(far=estimator.far + 1)
    other.usual_ = estimator.usual_
    return rules_as_onnx(other, task, width)


def two_columns(estimator: Any, task: Task, width: int) -> Any:
    """For a regression this is one too many."""
    estimator.far, estimator.usual_ = 6.0, 0.5
    return rules_as_onnx(estimator, task, width)


def shallow_tree(task: Task, depth: int = 3) -> Any:
    """A user's own scikit-learn estimator. It fills nulls itself: skl2onnx 1.20 sends them down the wrong branch."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    tree = DecisionTreeRegressor if task is Task.REGRESSION else DecisionTreeClassifier
    return make_pipeline(SimpleImputer(strategy="median"), tree(max_depth=depth, random_state=0))


def small_forest(task: Task, trees: int = 10) -> Any:
    """A forest of one's own, which fills nulls itself like `shallow_tree`."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    forest = RandomForestRegressor if task is Task.REGRESSION else RandomForestClassifier
    return make_pipeline(SimpleImputer(strategy="median"), forest(n_estimators=trees, max_depth=6, random_state=0))
