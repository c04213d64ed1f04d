"""Requests of one turn of the loop are answered together, and each as if it had been alone."""

import asyncio
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.policy import Serving
from mlops_assets.state.workspace import Workspace
from serving.batching import BATCH_ROWS, INLINE_ROWS, Batcher
from serving.errors import Overloaded, UnusableScore
from serving.metrics import Metrics
from serving.model_store import ModelStore
from serving.prediction_service import PredictionRequest, PredictionService
from serving.schemas import body_schema
from serving.scoring import Scorer
from tests.serving.test_compiled_rows import rows
from tests.tiny_bundle import deploy_tiny

ROW = body_schema(flight_delay).row


def a_service(workspace: Workspace, *, weight: float = 1e-4, bias: float = 0, **changes: Any) -> PredictionService:
    """On version 1, with version 2 deployed once before."""
    product = dataclasses.replace(flight_delay, serving=Serving(log_predictions=False))
    for version in (2, 1):
        deploy_tiny(workspace.of(flight_delay), version, weight=weight, bias=bias + version)
    models = ModelStore([workspace.of(product)], lambda *_: None)
    models.poll()
    scorer, log = Scorer(product, workspace.online), workspace.predictions()
    return PredictionService(product, scorer, models, log, lambda: time.time_ns() // 1_000, Metrics(), **changes)


def a_row(**changes: Any) -> Any:
    moment = datetime(2013, 7, 4, 11, 15, tzinfo=UTC)
    given = {"carrier": "UA", "flight": 7, "origin": "EWR", "dest": "IAH", "distance": 100, "seats": 3}
    return ROW(**{**given, "aircraft_year": 1999, "scheduled_departure": moment, **changes})


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work()

    return asyncio.run(main())


def without_ids(answer: Any) -> Any:
    return (
        answer.version,
        answer.request_id,
        [(p.probability, p.label, p.warnings, p.features) for p in answer.predictions],
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(st.lists(rows, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1, 2])),
        min_size=1,
        max_size=8,
    )
)
def test_each_request_of_a_batch_is_answered_as_it_is_alone(
    shared: PredictionService, requests: list[tuple[list[Any], bool, int | None]]
) -> None:
    def ask(number: int) -> Awaitable[Any]:
        many, with_features, version = requests[number]
        return shared.submit(PredictionRequest(many, f"r{number}", with_features=with_features, version=version))

    async def together() -> Any:
        return await asyncio.gather(*(ask(number) for number in range(len(requests))))

    async def alone() -> Any:
        return [await ask(number) for number in range(len(requests))]

    batched, single = run(together), run(alone)

    assert [without_ids(answer) for answer in batched] == [without_ids(answer) for answer in single]
    ids = [prediction.prediction_id for answer in (*batched, *single) for prediction in answer.predictions]
    assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> PredictionService:
    return a_service(Workspace(tmp_path_factory.mktemp("shared")))


def test_a_row_without_a_score_fails_its_request_and_no_other(workspace: Workspace) -> None:
    # the sum of the inputs times 1e36, minus infinity: no number where that overflows float32, else a score of 0
    service = a_service(workspace, weight=1e36, bias=-math.inf)

    async def three() -> Any:
        asked = (
            service.submit(PredictionRequest([a_row(temperature=warm)], str(warm))) for warm in (-300, 9_000, -200)
        )
        return await asyncio.gather(*asked, return_exceptions=True)

    first, bad, last = run(three)

    assert (first.predictions[0].probability, last.predictions[0].probability) == (0, 0)
    assert isinstance(bad, UnusableScore)


def test_a_full_queue_refuses_and_an_empty_one_takes_a_request_of_any_size(workspace: Workspace) -> None:
    service = a_service(workspace, most_waiting_rows=3)

    async def three() -> Any:
        asked = (service.submit(PredictionRequest([a_row()] * count, str(count))) for count in (2, 1, 1))
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = run(three)
    big = run(lambda: service.submit(PredictionRequest([a_row()] * 10, "big")))

    assert (len(first.predictions), len(second.predictions)) == (2, 1)
    assert isinstance(third, Overloaded)
    assert "this worker holds 3" in str(third)
    assert len(big.predictions) == 10


class Seen:
    """A call that only counts."""

    def __init__(self, rows: int) -> None:
        self.rows: Sequence[object] = [None] * rows
        self.loop = asyncio.get_running_loop()


def test_calls_of_one_turn_come_together_up_to_what_the_loop_may_be_held_up_for() -> None:
    batches: list[list[int]] = []
    batcher: Batcher[Seen] = Batcher(lambda calls: batches.append([len(call.rows) for call in calls]))

    async def put() -> None:
        for _ in range(BATCH_ROWS // INLINE_ROWS + 1):
            batcher.put(Seen(INLINE_ROWS))
        for _ in range(4):
            await asyncio.sleep(0)

    asyncio.run(put())

    assert batches == [[INLINE_ROWS] * (BATCH_ROWS // INLINE_ROWS), [INLINE_ROWS]]
    assert batcher.waiting_rows == 0
