"""Shadow and canary: who is seen by the challenger, who is answered by it, and what is logged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.products.policy import Serving
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceState
from mlops_assets.state.workspace import Workspace
from serving.challengers import Challengers
from serving.rollout import place
from serving.schemas import body_schema
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, a_client, eventually, everywhere
from tests.some_records import an_acceptance
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT = "/v1/models/flight_delay/predict"
ROWS = [{**a_row(), "flight": number} for number in range(1, 201)]


def a_product(**serving: float) -> ModelProduct:
    return replace(flight_delay, serving=Serving(**serving))  # type: ignore[arg-type]


def register(workspace: Workspace, version: int, *, accepted: bool | None = None, bias: float = 1.0) -> None:
    """A version whose bundle is in the state; accepted: None where nobody has judged it yet."""
    write_tiny_bundle(workspace.of(flight_delay), version, bias=bias)
    if accepted is not None:
        answer = AcceptanceState.ACCEPTED if accepted else AcceptanceState.WAITING
        workspace.of(flight_delay).records.save("2013-04-22", an_acceptance("flight_delay", version, answer))


def challenger_of(product: ModelProduct, workspace: Workspace) -> int | None:
    challengers = Challengers([workspace.of(product)], lambda *_: None, poll_seconds=1)
    challengers.poll()
    model = challengers.of("flight_delay")
    return None if model is None else model.bundle.manifest.version


def typed(**changes: Any) -> Any:
    schema = body_schema(flight_delay)
    return msgspec.convert({"rows": [{**a_row(), **changes}]}, schema.request).rows[0]


def answer(client: TestClient[Litestar], *rows: Json) -> Json:
    found: Json = client.post(PREDICT, json={"rows": list(rows)}).raise_for_status().json()
    return found


def logged(workspace: Workspace, kind: str) -> list[Json]:
    return workspace.predictions(kind).read("flight_delay").to_dicts()


def test_the_challenger_of_a_shadow_is_the_newest_version_that_was_never_deployed(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 2)
    assert challenger_of(a_product(shadow=1), workspace) is None

    for version in (1, 3, 4):
        register(workspace, version)

    assert challenger_of(a_product(shadow=1), workspace) == 4


@everywhere
def test_the_challenger_of_a_canary_was_accepted_as_well(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2, accepted=True)
    register(workspace, 3)  # registered later, not judged

    assert challenger_of(a_product(canary=0.1), workspace) == 2

    register(workspace, 4, accepted=False)
    assert challenger_of(a_product(canary=0.1), workspace) is None  # the record of that partition speaks of version 4


def test_a_deployed_challenger_is_none_any_more(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2)
    deploy_tiny(workspace.of(flight_delay), 2)

    assert challenger_of(a_product(shadow=1), workspace) is None


def test_without_a_champion_or_a_share_there_is_no_challenger(workspace: Workspace) -> None:
    register(workspace, 1)
    assert challenger_of(a_product(shadow=1), workspace) is None

    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2)
    assert challenger_of(a_product(), workspace) is None


@everywhere
def test_a_shadow_scores_what_it_is_shown_under_the_same_ids_and_nobody_sees_it(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=-1)
    register(workspace, 2, bias=1)
    product = a_product(shadow=1)
    with a_client(workspace, [product]) as client:
        eventually(lambda: seen_by_challenger(client, a_row()))
        found = answer(client, *ROWS[:3])
        text = client.get("/metrics").text

    answered, shadowed = logged(workspace, "predictions"), logged(workspace, "shadow")
    assert found["version"] == 1
    assert {row["version"] for row in answered} == {1}
    assert {row["version"] for row in shadowed} == {2}
    ids = [item["prediction_id"] for item in found["predictions"]]
    assert [row["prediction_id"] for row in shadowed][-3:] == ids
    assert [row["prediction_id"] for row in answered][-3:] == ids
    assert shadowed[-1]["prediction"] == pytest.approx(0.7310586, abs=1e-6)  # sigmoid(1), the champion says sigmoid(-1)
    assert 'role="champion"' in text


def seen_by_challenger(client: TestClient[Litestar], row: Json) -> bool:
    """The challenger is opened in the background: ask until it was."""
    answer(client, row)
    return 'role="shadow"' in client.get("/metrics").text


def test_a_shadow_sees_its_share_of_the_entities(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2)
    inside = [row["flight"] for row in ROWS if place(flight_delay, typed(flight=row["flight"])) < 0.3]
    with a_client(workspace, [a_product(shadow=0.3)]) as client:
        eventually(lambda: seen_by_challenger(client, {**a_row(), "flight": inside[0]}))
        answer(client, *ROWS)

    shown = [row["flight"] for row in logged(workspace, "shadow")]
    assert shown[-len(inside) :] == inside
    assert set(shown) == set(inside)
    assert 30 < len(inside) < 90  # of 200


def test_a_canary_answers_its_share_and_an_entity_stays_where_it_is(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2, accepted=True)
    with a_client(workspace, [a_product(canary=0.5)]) as client:
        first_of_canary = next(row for row in ROWS if place(flight_delay, typed(flight=row["flight"])) < 0.5)
        eventually(lambda: answer(client, first_of_canary)["version"] == 2)

        versions = [[answer(client, row)["version"] for row in ROWS[:40]] for _ in range(2)]

    expected = [2 if place(flight_delay, typed(flight=row["flight"])) < 0.5 else 1 for row in ROWS[:40]]
    assert versions == [expected, expected]
    by_version = {row["flight"]: row["version"] for row in logged(workspace, "predictions")}
    assert [by_version[row["flight"]] for row in ROWS[:40]] == expected


def test_a_request_is_answered_whole_by_where_its_first_row_belongs(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=-1)
    register(workspace, 2, accepted=True, bias=1)
    with a_client(workspace, [a_product(canary=0.5)]) as client:
        ordered = sorted(ROWS, key=lambda row: place(flight_delay, typed(flight=row["flight"])))
        eventually(lambda: answer(client, ordered[0])["version"] == 2)

        by_canary, by_champion = answer(client, ordered[0], ordered[-1]), answer(client, ordered[-1], ordered[0])

    assert (by_canary["version"], by_champion["version"]) == (2, 1)
    assert {item["label"] for item in by_canary["predictions"]} == {True}
    assert {item["label"] for item in by_champion["predictions"]} == {False}


def test_where_a_canary_answers_no_number_the_champion_answers(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(air_time), 1, bias=120)
    # the sum of the inputs is 1,679 for a distance of 1,400: 1e35 times that is a float32, 6,279 times it is not
    write_tiny_bundle(workspace.of(air_time), 2, weight=1e35)
    workspace.of(air_time).records.save("2013-04-22", an_acceptance("air_time", 2, AcceptanceState.ACCEPTED))
    with a_client(workspace, [replace(air_time, serving=Serving(canary=1))]) as client:

        def ask(**changes: Any) -> Json:
            body = {"rows": [{**a_row(), **changes}]}
            found: Json = client.post("/v1/models/air_time/predict", json=body).raise_for_status().json()
            return found

        eventually(lambda: ask()["version"] == 2)
        far = ask(distance=6_000)

    assert (far["version"], far["predictions"][0]["value"]) == (1, 120)


def test_a_challenger_that_cannot_be_opened_harms_nobody(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    register(workspace, 2)
    workspace.objects.put("bundles/flight_delay/2/model.onnx", b"no model")

    with a_client(workspace, [a_product(shadow=1)]) as client:
        assert answer(client, a_row())["version"] == 1


@settings(max_examples=50, deadline=None)
@given(number=st.integers(1, 9_999), hours=st.integers(-12, 14))
def test_an_entity_has_one_place_however_its_time_is_written(number: int, hours: int) -> None:
    moment = datetime(2013, 7, 4, 11, 15, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))

    places = {place(flight_delay, typed(flight=number, scheduled_departure=each)) for each in (moment, elsewhere)}

    assert len(places) == 1
    assert 0 <= places.pop() < 1


@pytest.mark.parametrize(
    "shares", [{"shadow": -0.1}, {"canary": 1.1}, {"shadow": 0.6, "canary": 0.6}, {"shadow": float("nan")}]
)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(DeclarationError, match="shares of the entities"):
        Serving(**shares)  # type: ignore[arg-type]
