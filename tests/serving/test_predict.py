"""What the predict routes answer to valid requests."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from examples.flights.flight_features import origin_lately, weather_at_departure
from examples.flights.nyc_flights import CARRIERS, ORIGINS
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME
from mlops_assets.state.workspace import Workspace
from tests.serving.running_api import Json, a_client
from tests.tiny_bundle import deploy_tiny

DEPARTURE = datetime(2013, 7, 4, 11, 15, tzinfo=UTC)
PREDICT = "/v1/models/flight_delay/predict"


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient[Litestar]]:
    deploy_tiny(workspace.of(flight_delay), weight=1e-4)
    deploy_tiny(workspace.of(air_time), weight=1e-2, bias=30)
    with a_client(workspace) as client:
        yield client


def predict(client: TestClient[Litestar], *rows: Json, query: str = "", product: str = "flight_delay") -> Any:
    answer = client.post(f"/v1/models/{product}/predict{query}", json={"rows": list(rows)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def observe(workspace: Workspace, at: datetime, temperature: float = 70.0, origin: str = "EWR") -> None:
    values: dict[str, Any] = dict.fromkeys(weather_at_departure.names, 1.0) | {"temperature": temperature}
    row = {"origin": origin, EVENT_TIME: at, CREATED_TIME: at + timedelta(hours=1), **values}
    workspace.online.write("flight_delay", weather_at_departure, pl.DataFrame([row]))


def test_a_binary_answer_has_probability_label_version_and_an_id_per_row(
    client: TestClient[Litestar], row: Json
) -> None:
    answer = predict(client, row, {**row, "prediction_id": "mine"})

    assert (answer["product"], answer["version"]) == ("flight_delay", 1)
    first, second = answer["predictions"]
    assert 0 < first["probability"] < 1
    assert first["label"] is (first["probability"] >= 0.5)
    assert second["prediction_id"] == "mine" != first["prediction_id"]
    assert "features" not in first


def test_a_regression_answer_has_a_value_with_its_unit(client: TestClient[Litestar], row: Json) -> None:
    (prediction,) = predict(client, row, product="air_time")["predictions"]

    # inputs by hand: codes UA 2, EWR 0, IAH 0; 07:15 in New York on a Thursday: 7, 4, 4*24+7; distance, age, seats
    by_hand = 30 + 0.01 * (2 + 0 + 0 + 7 + 4 + 103 + 1400 + 14 + 149)
    assert prediction["value"] == pytest.approx(by_hand, rel=1e-6)
    assert prediction["unit"] == "min"


def test_features_are_answered_as_the_model_saw_them_when_asked(client: TestClient[Litestar], row: Json) -> None:
    (prediction,) = predict(client, row, query="?features=true")["predictions"]

    features = prediction["features"]
    assert list(features) == list(flight_delay.feature_names)
    assert (features["hour"], features["aircraft_age"], features["carrier"]) == (7, 14, "UA")
    assert features["temperature"] is None


def test_null_is_taken_where_the_column_may_be_null(client: TestClient[Litestar], row: Json) -> None:
    (prediction,) = predict(client, {**row, "seats": None}, query="?features=true")["predictions"]

    assert prediction["features"]["seats"] is None


def test_a_timestamp_in_another_zone_is_the_same_moment(client: TestClient[Litestar], row: Json) -> None:
    answer = predict(client, row, {**row, "scheduled_departure": "2013-07-04T07:15:00-04:00"})

    first, second = answer["predictions"]
    assert first["probability"] == second["probability"]


def test_a_category_the_model_never_saw_is_answered_with_a_warning(client: TestClient[Litestar], row: Json) -> None:
    (prediction,) = predict(client, {**row, "dest": "XXX"})["predictions"]

    (warning,) = [w for w in prediction["warnings"] if w["reason"] == "unknown category"]
    assert warning["features"] == ["dest"]
    assert "'XXX'" in warning["message"]


def test_a_looked_up_value_that_holds_at_the_event_is_used(
    client: TestClient[Litestar], workspace: Workspace, row: Json
) -> None:
    observe(workspace, DEPARTURE - timedelta(hours=2), temperature=81.5)

    (prediction,) = predict(client, row, query="?features=true")["predictions"]

    assert prediction["features"]["temperature"] == 81.5
    assert not [w for w in prediction["warnings"] if "temperature" in w["features"]]


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (DEPARTURE - timedelta(hours=7), "stale"),  # lives 6 hours
        (DEPARTURE - timedelta(minutes=30), "stale"),  # reported an hour later: not known at departure
        (None, "missing"),
    ],
)
def test_a_looked_up_value_that_does_not_hold_is_null_with_a_warning(
    client: TestClient[Litestar], workspace: Workspace, row: Json, observed: datetime | None, reason: str
) -> None:
    if observed is not None:
        observe(workspace, observed)

    (prediction,) = predict(client, row, query="?features=true")["predictions"]

    (warning,) = [w for w in prediction["warnings"] if "temperature" in w["features"]]
    assert warning["reason"] == reason
    assert "origin=EWR" in warning["message"]
    assert prediction["features"]["temperature"] is None


def test_a_looked_up_value_in_the_request_is_used_as_it_is(
    client: TestClient[Litestar], workspace: Workspace, row: Json
) -> None:
    observe(workspace, DEPARTURE - timedelta(hours=2), temperature=81.5)

    given, null = predict(client, {**row, "temperature": 20}, {**row, "temperature": None}, query="?features=true")[
        "predictions"
    ]

    assert given["features"]["temperature"] == 20
    assert given["features"]["humidity"] == 1
    assert null["features"]["temperature"] is None


def test_a_view_keyed_by_a_request_feature_is_found(
    client: TestClient[Litestar], workspace: Workspace, row: Json
) -> None:
    congestion = next(view for view in flight_delay.lookups if view.name == "congestion")
    week_before = DEPARTURE.replace(minute=0) - timedelta(days=7)
    newest = {
        "origin": "EWR",
        "hour_of_week": 103,
        EVENT_TIME: week_before,
        CREATED_TIME: week_before + timedelta(hours=1),
        "departures_week_before": 21,
    }
    workspace.online.write("flight_delay", congestion, pl.DataFrame([newest]))

    (prediction,) = predict(client, row, query="?features=true")["predictions"]

    assert prediction["features"]["departures_week_before"] == 21


def test_an_online_store_that_cannot_be_read_costs_features_not_answers(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    (workspace.home / "online.sqlite").write_bytes(b"this is no database, and long enough to be told apart" * 100)

    with a_client(workspace) as client:
        (prediction,) = predict(client, row)["predictions"]

    assert prediction["probability"] == 0.5
    assert {w["reason"] for w in prediction["warnings"]} == {"unavailable"}


rows = st.fixed_dictionaries(
    {
        "carrier": st.sampled_from(CARRIERS),
        "flight": st.integers(1, 9_999),
        "origin": st.sampled_from(ORIGINS),
        "dest": st.sampled_from(["IAH", "LAX", "MIA", "ÅÄÖ", ""]),
        "scheduled_departure": st.datetimes(datetime(1970, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)).map(
            datetime.isoformat
        ),
        "distance": st.integers(1, 6_000),
        "aircraft_year": st.none() | st.integers(1_950, 2_014),
        "seats": st.none() | st.integers(1, 900),
    },
    optional={"temperature": st.none() | st.floats(-60, 130), "origin_late_rate": st.floats(0, 1)},
)


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Litestar]]:
    workspace = Workspace(tmp_path_factory.mktemp("shared"))
    deploy_tiny(workspace.of(flight_delay), weight=1e-4)
    observe(workspace, datetime(2013, 7, 4, tzinfo=UTC))
    workspace.online.write(
        "flight_delay",
        origin_lately,
        pl.DataFrame(
            [
                {
                    "origin": "JFK",
                    EVENT_TIME: datetime(2013, 7, 4, tzinfo=UTC),
                    CREATED_TIME: datetime(2013, 7, 4, tzinfo=UTC),
                    "origin_late_rate": 0.5,
                    "origin_departure_delay": 3.25,
                }
            ]
        ),
    )
    with a_client(workspace) as client:
        yield client


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=st.lists(rows, min_size=1, max_size=5))
def test_a_batch_answers_what_its_rows_answer_one_by_one(shared_client: TestClient[Litestar], many: list[Json]) -> None:
    together = predict(shared_client, *many, query="?features=true")["predictions"]
    one_by_one = [predict(shared_client, row, query="?features=true")["predictions"][0] for row in many]

    for prediction in (*together, *one_by_one):
        prediction.pop("prediction_id")
    assert together == one_by_one


def test_a_batch_beyond_the_inline_size_answers_the_same(shared_client: TestClient[Litestar], row: Json) -> None:
    many = [{**row, "flight": number, "seats": number % 300 + 1} for number in range(1, 501)]

    together = [p["probability"] for p in predict(shared_client, *many)["predictions"]]

    some = [predict(shared_client, row)["predictions"][0]["probability"] for row in many[:5]]
    assert together[:5] == some
    assert len(together) == 500
    assert np.isfinite(together).all()


def test_a_constant_model_answers_its_sigmoid(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), bias=2.0)

    with a_client(workspace) as client:
        (prediction,) = predict(client, row)["predictions"]

    assert prediction["probability"] == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)
