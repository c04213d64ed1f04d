"""A wrong product fails when it is declared, with a sentence that says what to change."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.flight_features import congestion, origin_lately, schedule
from mlops_assets.errors import DeclarationError
from mlops_assets.products.candidates import Candidate, gradient_boosting, lightgbm, linear
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Tables
from mlops_assets.products.gates import (
    at_least,
    at_most,
    latency_p99,
    leakage_probe,
    not_worse_than_champion,
    onnx_parity,
    slice_gap,
)
from mlops_assets.products.periods import days, hourly, hours, weeks
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.source import Column, Kind
from mlops_assets.products.task import METRICS, Task, metrics_of
from tests.unit.training.builders import RIDES, InMemory, a_product, rides

LATE = flight_delay.label.expression
DISTANCE = nw.col("distance")


def declared_with(**changes: Any) -> ModelProduct:
    """The flight product with these fields declared otherwise."""
    return dataclasses.replace(flight_delay, **changes)


def a_view(name: str, expression: nw.Expr = DISTANCE) -> FeatureView:
    return FeatureView("extra", (Feature(name, expression),))


def a_step(view: str, step: str, expression: nw.Expr = DISTANCE) -> FeatureView:
    return FeatureView(view, (Feature(f"{view}_feature", DISTANCE),), intermediate=((step, expression),))


def by_hour(tables: Tables) -> Any:
    return tables["weather"].with_columns(
        nw.col("observed_at").alias(EVENT_TIME), nw.col("reported_at").alias(CREATED_TIME)
    )


def a_lookup(*names: str, key: tuple[str, ...] = ("origin",)) -> FeatureView:
    features = tuple(Feature(name) for name in names)
    return FeatureView("looked_up", features, key=key, lookup=by_hour, time_to_live=hours(6))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"name": "Flight-Delay"},
            "product name 'Flight-Delay' becomes part of keys, routes and folders: use lower-case",
        ),
        ({"name": "2fast"}, "beginning with a letter"),
        ({"name": ""}, "product name ''"),
        ({"owner": "flights"}, "owner 'flights' must be 'team:name' or an e-mail address"),
        ({"owner": "someone@"}, "must be 'team:name' or an e-mail address"),
        ({"entity_key": ("carrier", "flihgt")}, "entity_key names 'flihgt'.*Did you mean 'flight'"),
        ({"event_timestamp": "departure"}, "event_timestamp names 'departure'.*Did you mean 'scheduled_departure'"),
        ({"created_timestamp": "known_at"}, "created_timestamp names 'known_at'"),
        ({"request": ("carrier", "seat")}, "request names 'seat'.*Did you mean 'seats'"),
        (
            {"request": ("carrier", "origin", "scheduled_departure")},
            "request must carry flight, or a prediction has no key",
        ),
        ({"features": ()}, "features is empty. Give at least one view"),
        ({"features": (schedule, a_view("origin"))}, "two features are named origin. Rename one"),
        (
            {"features": (schedule, a_view("scheduled_departure"))},
            "the event timestamp 'scheduled_departure' is also a feature",
        ),
        ({"features": (schedule, a_view("late"))}, "the label 'late' is also a feature: the model would copy it"),
        ({"features": (a_view("one"), a_view("other"))}, "two feature views are named extra. Rename one"),
        (
            {"features": (a_step("v", "seats"),)},
            "view 'v' has an intermediate step named 'seats', and a column of the request has the same name. Rename",
        ),
        (
            {"features": (a_step("v", "v_feature"),)},
            "has an intermediate step named 'v_feature', and a feature has the same name. Rename the step",
        ),
        (
            {"features": (a_step("v", "x"), a_step("w", "x", DISTANCE + 1))},
            "view 'w' has an intermediate step named 'x', and another step has the same name. Rename the step",
        ),
        (
            {"features": (a_view("miles"), congestion)},
            "'congestion' looks up by 'hour_of_week', which no request carries",
        ),
        (
            {"features": (schedule, a_lookup("visibility", key=("tower",)))},
            "looks up by 'tower', which no request carries",
        ),
        ({"features": (a_lookup("seats"),)}, "'looked_up' looks up seats, which the request already carries. Rename"),
        (
            {"label": Label("late", LATE, delay=days(-1))},
            "label delay is negative. Labels cannot be known before the event",
        ),
        (
            {"label": Label("late", LATE, delay=weeks(2))},
            "would be known after a delay of 14 days. Make test_window longer",
        ),
        ({"gaps": "ignore"}, "gaps='ignore' does not exist. Known: allow, fail."),
        ({"training_window": days(100)}, "training_window of 100 days is not a whole number of periods .weeks"),
        ({"training_window": timedelta(0)}, "training_window of 0 days is not a whole number"),
        ({"test_window": days(-7)}, "test_window of -7 days is not a whole number"),
        ({"test_window": weeks(16)}, "test_window must be shorter than training_window, of which it is the end"),
        ({"candidates": ()}, "candidates is empty. Give at least one"),
        ({"candidates": (linear(), linear(C=0.1))}, "two candidates are named linear. Rename one"),
        ({"metric": "roc_auk"}, "metric 'roc_auk' does not exist for binary. Known: .*Did you mean 'roc_auc'"),
        ({"metric": "mae"}, "metric 'mae' does not exist for binary"),
        ({"task": Task.REGRESSION}, "metric 'roc_auc' does not exist for regression. Known: mae, r2, rmse"),
        ({"gates": (at_least("acuracy", 0.6),)}, "gate 'acuracy' does not exist for binary.*Did you mean 'accuracy'"),
        ({"gates": (at_most("rmse", 3),)}, "gate 'rmse' does not exist for binary"),
        ({"gates": (not_worse_than_champion("r2", margin=0.1),)}, "gate 'r2' does not exist for binary"),
        (
            {"gates": (slice_gap("orign", "roc_auc", 0.1),)},
            "slice_gap by 'orign', which is not a feature.*mean 'origin'",
        ),
        ({"gates": (slice_gap("origin", "mae", 0.1),)}, "gate 'mae' does not exist for binary"),
        ({"gates": (latency_p99(50), latency_p99(20))}, "gate latency_p99 is declared twice"),
    ],
)
def test_a_contradiction_fails_when_it_is_declared_and_says_what_to_change(changes, sentence):
    with pytest.raises(DeclarationError, match=sentence):
        declared_with(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"confidence": 0.5}, "confidence 0.5 must lie between 0.5 and 1"),
        ({"confidence": 1.0}, "confidence 1.0 must lie between"),
        ({"margin": -0.1}, "margin -0.1 must not be negative"),
    ],
)
def test_a_comparison_with_the_champion_needs_a_confidence_and_a_margin_that_mean_something(changes, sentence):
    with pytest.raises(DeclarationError, match=sentence):
        not_worse_than_champion("roc_auc", **{"margin": 0.01, **changes})


def test_views_may_share_a_step():
    product = declared_with(features=(a_step("v", "x"), a_step("w", "x")), gates=())

    assert product.feature_names == ("v_feature", "w_feature")


@pytest.mark.parametrize("owner", ["team:flights", "team:flights-2", "ann@example.org"])
def test_an_owner_is_a_team_or_an_address(owner):
    assert declared_with(owner=owner).owner == owner


def test_a_label_delay_one_second_shorter_than_the_test_window_is_allowed():
    delay = weeks(2) - timedelta(seconds=1)

    assert declared_with(label=Label("late", LATE, delay=delay)).label.delay == delay


def test_a_lookup_may_use_a_feature_of_a_request_view_as_its_key():
    product = declared_with(features=(schedule, congestion), gates=())

    assert product.lookups == (congestion,)


def test_inputs_keep_the_order_in_which_they_are_declared():
    product = declared_with(features=(schedule, origin_lately), gates=())

    assert product.feature_names == (
        *("carrier", "origin", "dest", "hour", "weekday", "hour_of_week", "distance"),
        *("origin_late_rate", "origin_departure_delay"),
    )


def test_every_gate_is_decided_by_exactly_one_report():
    gates = (at_least("roc_auc", 0.6), latency_p99(50), onnx_parity(1e-5))

    product = declared_with(gates=gates)

    assert product.report_gates == (gates[0], gates[2], leakage_probe(0.9))
    assert product.staging_gates == (gates[1],)


def test_parity_and_the_leakage_probe_are_gates_whether_they_are_declared_or_not():
    assert declared_with(gates=()).report_gates == (onnx_parity(1e-5), leakage_probe(0.9))
    own = (leakage_probe(0.99), onnx_parity(1e-4))
    assert declared_with(gates=own).report_gates == own


def test_a_lookup_on_rows_that_are_known_when_they_happen_is_refused_with_what_to_declare():
    told_at_once = {"created_timestamp": "scheduled_departure"}

    with pytest.raises(DeclarationError) as refused:
        declared_with(features=(schedule, origin_lately), gates=(), **told_at_once)

    assert "would give a row its own outcome" in str(refused.value)
    assert "known_after=hours(1)" in str(refused.value)
    assert declared_with(features=(schedule,), gates=(), **told_at_once).lookups == ()


def test_gate_names_can_be_part_of_a_key():
    gates = (
        at_least("r2", -0.5),
        at_most("mae", 12.5),
        at_most("rmse", 4.4e7),
        slice_gap("origin", "mae", 1),
        latency_p99(5),
        onnx_parity(1),
    )

    assert [gate.name for gate in gates] == [
        "r2_at_least_minus_0_5",
        "mae_at_most_12_5",
        "rmse_at_most_4_4e07",
        "mae_gap_by_origin",
        "latency_p99",
        "onnx_parity",
    ]


def test_the_lookback_is_that_of_the_view_that_looks_back_furthest():
    assert declared_with(features=(schedule, congestion, origin_lately)).lookback == days(9)  # 9 and 2 days
    assert declared_with(features=(schedule,)).lookback == timedelta(0)


def test_request_columns_come_in_the_order_of_the_request():
    assert [column.name for column in flight_delay.request_columns()] == list(flight_delay.request)


def test_the_hyperparameters_of_a_candidate_cannot_be_changed_afterwards():
    given = {"C": 1.0}
    candidate = Candidate("mine", "linear", given)

    given["C"] = 2.0

    assert candidate.hyperparameters["C"] == 1.0
    with pytest.raises(TypeError):
        candidate.hyperparameters["C"] = 3.0


def test_a_candidate_is_called_like_its_family_unless_it_is_named():
    made = [linear(C=0.1), gradient_boosting(max_iter=5), lightgbm("small", n_estimators=5)]

    assert [(item.name, item.estimator, dict(item.hyperparameters)) for item in made] == [
        ("linear", "linear", {"C": 0.1}),
        ("gradient_boosting", "gradient_boosting", {"max_iter": 5}),
        ("small", "lightgbm", {"n_estimators": 5}),
    ]


def test_a_gain_is_positive_when_the_new_score_is_better():
    assert METRICS["roc_auc"].gain(new=0.75, old=0.5) == 0.25
    assert METRICS["mae"].gain(new=9.0, old=8.0) == -1.0


def test_every_task_has_metrics_and_every_metric_a_task():
    assert metrics_of(Task.BINARY) == ("roc_auc", "average_precision", "accuracy", "log_loss", "brier")
    assert metrics_of(Task.MULTICLASS) == ("roc_auc", "accuracy", "log_loss")
    assert metrics_of(Task.REGRESSION) == ("mae", "rmse", "r2")


def test_key_and_clocks_are_those_of_the_main_table_where_they_are_left_out():
    product = declared_with(entity_key=(), event_timestamp="", created_timestamp="")

    assert product.entity_key == product.source.main.key
    assert (product.event_timestamp, product.created_timestamp) == ("scheduled_departure", "reported_at")


@pytest.mark.parametrize("name", ["size in cm", "class", "2nd"])
def test_a_request_field_is_a_name_that_every_client_can_write(name: str):
    flights = dataclasses.replace(
        flight_delay.source.main, columns=(*flight_delay.source.main.columns, Column(name, Kind.FLOAT))
    )
    source = dataclasses.replace(flight_delay.source, main=flights)

    with pytest.raises(DeclarationError, match=f"cannot carry a field named {name!r}.*source_name={name!r}"):
        declared_with(source=source, request=(*flight_delay.request, name))


def test_more_than_25_000_partitions_are_said_with_their_number():
    now = datetime(2020, 1, 1, tzinfo=UTC)
    hours_of = {"training_window": days(8), "test_window": days(2)}

    # 2017-02-23 13:00 is 1,041 days and 11 hours before: 24,995 hours, and the running one
    few = a_product(period=hourly("2017-02-23T13:00"), **hours_of)
    many = a_product(period=hourly("2017-02-23T00:00"), **hours_of)

    assert few.notes(now) == []
    assert many.notes(now)[0].startswith(
        "taxi has 25,009 partitions (hours), and above about 25,000 Dagster's pages become slow."
    )


def test_a_categorical_feature_of_more_than_a_thousand_declared_choices_is_said_with_their_number():
    def a_product_of(count: int) -> ModelProduct:
        stops = tuple(f"stop {number}" for number in range(count))
        columns = tuple(
            dataclasses.replace(column, choices=stops) if column.name == "origin" else column
            for column in RIDES.columns
        )
        return a_product(source=InMemory(rides(), dataclasses.replace(RIDES, columns=columns)))

    now = datetime(2020, 2, 1, tzinfo=UTC)

    assert a_product_of(1_000).notes(now) == []
    (note,) = a_product_of(1_001).notes(now)
    assert note.startswith("taxi: the feature origin is declared with 1,001 categories. ")
