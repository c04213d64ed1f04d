"""Features of single rows: translated from the product's definition, and never different from it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import narwhals as nw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.flights.air_time import air_time
from examples.flights.catalog import CATALOG
from examples.flights.flight_delay import flight_delay
from mlops_assets.features.compiled_rows import compile_row_features
from mlops_assets.features.online_path import OnlineFeatures, as_request
from mlops_assets.features.row_values import Untranslatable
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from serving.schemas import body_schema

ROW = body_schema(flight_delay).row
moments = st.datetimes(datetime(2, 1, 1), datetime(9_998, 12, 31)).flatmap(
    lambda moment: st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes)) if minutes else UTC)
    )
)
rows = st.builds(
    ROW,
    carrier=st.sampled_from(["UA", "AA"]),
    flight=st.integers(1, 9_999),
    origin=st.sampled_from(["EWR", "JFK"]),
    dest=st.text(max_size=5),
    scheduled_departure=moments,
    distance=st.integers(1, 6_000),
    aircraft_year=st.none() | st.integers(1_900, 2_100),
    seats=st.none() | st.integers(1, 900),
    temperature=st.none() | st.floats(-60, 130),
)


def with_feature(expression: Any, kind: FeatureKind = FeatureKind.NUMERIC) -> ModelProduct:
    return replace(air_time, features=(FeatureView("one", (Feature("made", expression, kind),)),))


def answers(expression: Any, kind: FeatureKind = FeatureKind.NUMERIC, **fields: Any) -> Any:
    product = with_feature(expression, kind)
    given = {"carrier": "UA", "flight": 7, "origin": "EWR", "dest": "IAH", "distance": 100, "seats": None}
    moment = {"aircraft_year": 1999, "scheduled_departure": datetime(2013, 7, 4, 11, 15, tzinfo=UTC)}
    ((value,),) = compile_row_features(product)([body_schema(product).row(**{**given, **moment, **fields})], [])
    return value


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
def test_every_product_of_the_catalog_is_translated(workspace: Workspace, product: ModelProduct) -> None:
    assert OnlineFeatures(product, workspace.online).is_translated


@settings(max_examples=60, deadline=None)
@given(many=st.lists(rows, min_size=1, max_size=20))
def test_translated_features_equal_the_definition_row_by_row(many: list[Any]) -> None:
    path = OnlineFeatures(flight_delay, None)  # type: ignore[arg-type] # nothing is looked up

    absent: list[int] = []
    translated = compile_row_features(flight_delay)(many, absent)

    planned_absent: list[int] = []
    assert translated == path.by_plan(many, planned_absent)
    assert absent == planned_absent == list(range(len(many)))  # each leaves looked-up features out


@pytest.mark.parametrize(
    ("expression", "fields", "wanted"),
    [
        (nw.col("distance") + 1, {}, 101.0),
        (nw.col("distance") / 8, {}, 12.5),
        (2 - nw.col("distance"), {}, -98.0),
        (nw.col("seats") * 2, {"seats": 3}, 6.0),
        (nw.col("seats") * 2, {"seats": None}, None),
        (nw.col("seats").fill_null(5), {"seats": None}, 5.0),
        (nw.col("seats").is_null().cast(nw.Float64), {"seats": None}, 1.0),
        (nw.when(nw.col("seats") > 2).then(nw.col("distance")).otherwise(nw.col("flight")), {"seats": None}, 7.0),
        (nw.when(nw.col("seats") > 2).then(nw.col("distance")), {"seats": 2}, None),
        (((nw.col("seats") > 2) & (nw.col("distance") > 500)).cast(nw.Float64), {"seats": None}, 0.0),
        (((nw.col("seats") > 2) | (nw.col("distance") < 500)).cast(nw.Float64), {"seats": None}, 1.0),
        (((nw.col("seats") > 2) & (nw.col("distance") < 500)).cast(nw.Float64), {"seats": None}, None),
        (nw.col("scheduled_departure").dt.ordinal_day(), {}, 185.0),
        (nw.col("carrier").is_in(["UA", "AA"]).cast(nw.Float64), {}, 1.0),
    ],
    ids=str,
)
def test_an_expression_means_what_it_means_in_polars_nulls_included(
    workspace: Workspace, expression: Any, fields: dict[str, Any], wanted: float | None
) -> None:
    assert answers(expression, **fields) == wanted
    # the scorer tries the translation against the plan on the edges of every column
    assert OnlineFeatures(with_feature(expression), workspace.online).is_translated


@pytest.mark.parametrize(
    "expression",
    [
        nw.col("scheduled_departure").dt.hour() * 24,  # 8 bits in Polars
        nw.col("distance") % nw.col("flight"),  # by 0
        nw.col("distance") / nw.col("flight"),
        nw.col("distance").log(),
        nw.col("distance").map_batches(lambda values: values),
        nw.col("scheduled_departure").dt.offset_by("1mo").dt.day(),
        (nw.col("scheduled_departure") > datetime(2013, 1, 1, tzinfo=UTC)).cast(nw.Float64),
    ],
    ids=["8 bits", "remainder", "division", "log", "function", "month", "moment"],
)
def test_what_cannot_be_said_exactly_is_left_to_the_plan(workspace: Workspace, expression: Any) -> None:
    product = with_feature(expression)

    with pytest.raises(Untranslatable):
        compile_row_features(product)
    assert not OnlineFeatures(product, workspace.online).is_translated


class OtherExpression(nw.Expr):
    """Of a Narwhals release that keeps elsewhere what an expression is made of."""

    def __init__(self, public: nw.Expr) -> None:
        self.public = public

    def alias(self, name: str) -> nw.Expr:
        return self.public.alias(name)


class OtherNodes(OtherExpression):
    """Of one that keeps it in another way."""

    @property
    def _nodes(self) -> list[object]:
        return [SimpleNamespace(name="col", arguments=["distance"])]


@pytest.mark.parametrize("other", [OtherExpression, OtherNodes], ids=["elsewhere", "in another way"])
def test_where_narwhals_keeps_its_expressions_otherwise_the_plan_answers_and_the_log_says_so_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, other: type[OtherExpression]
) -> None:
    product = replace(with_feature(other(nw.col("distance") * 2)), name=f"with_{other.__name__.lower()}")
    row = as_request(product, {"distance": 100, "scheduled_departure": datetime(2013, 7, 4, 11, 15, tzinfo=UTC)})
    for column in product.request_columns():
        row.__dict__.setdefault(column.name, None)

    paths = [OnlineFeatures(product, workspace.online) for _ in range(2)]

    assert [path.of([row]).inputs for path in paths] == [[(200.0,)], [(200.0,)]]
    assert [path.is_translated for path in paths] == [False, False]
    (said,) = [record.getMessage() for record in caplog.records if product.name in record.getMessage()]
    assert "are computed by a Polars plan, which is slower: Narwhals 2" in said


def test_a_translation_that_fails_is_not_used(workspace: Workspace) -> None:
    path = OnlineFeatures(flight_delay, workspace.online)

    with pytest.raises(Untranslatable, match="fails with ZeroDivisionError"):
        path._verified(lambda rows, absent: [(1 / 0,)])


def test_a_translation_that_answers_differently_is_not_used(workspace: Workspace) -> None:
    path = OnlineFeatures(flight_delay, workspace.online)
    right = compile_row_features(flight_delay)
    wrong: Callable[..., Any] = lambda rows, absent: [(*row[:-1], 0.0) for row in right(rows, absent)]  # noqa: E731

    with pytest.raises(Untranslatable, match="the plan"):
        path._verified(wrong)
