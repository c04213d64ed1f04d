"""Sensors ask once for what is due, whatever becomes of their cursors."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.products.catalog import product_named
from mlops_assets.products.periods import weekly
from mlops_assets.products.policy import Action, Retries
from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.runs import Replay
from mlops_assets.state.workspace import Workspace
from resources.platform import Platform
from tests.dagster.builders import (
    Webhook,
    a_decision,
    a_drift_record,
    a_location,
    a_small_product,
    an_environment,
    decide,
    evaluate,
    file_of,
    launch,
    materialize,
    serve_from,
    store,
)

NEW_DATA, LABELS, DRIFT = (f"flight_delay_{name}" for name in ("new_data", "labels", "drift"))
DATA = {"raw", "weather", "features", "online_features"}
RETRAINING = {"training_set", "model", "test_report", "staging_report", "acceptance", "deployment"}
RUNNING_OR_DONE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
]
FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Replay]:
    """The product's sensors over an empty home and an instance in memory."""
    yield from watching(tmp_path)


def watching(root: Path, webhook_url: str = "", product: ModelProduct | None = None) -> Iterator[Replay]:
    product, environment = product or a_small_product(), an_environment(Workspace(root), webhook_url)
    state = environment.workspace.of(product)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Replay(state, instance, a_location(product, environment), Platform.of(environment))


def moment(day: str, time: str = "00:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)


def asked(tick) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    """Partition and what for, of every run that a tick asks for."""
    return [(request.partition_key, request.tags["mlops/what"]) for request in tick.run_requests or []]


def carried_out(watched: Replay, sensor: str, cursor: str | None) -> Any:
    """A tick of the sensor, and the runs that it asks for, each of which succeeds."""
    tick = evaluate(watched, sensor, cursor)
    for request in tick.run_requests or []:
        launch(watched.instance, request, dg.DagsterRunStatus.SUCCESS)
    return tick


def assets(request: dg.RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or []}


# --- new data: weeks begin on Mondays, the first is 2012-12-31


def test_a_period_is_asked_for_when_it_is_over_and_not_a_minute_before(watched: Replay):
    watched.at(moment("2013-01-06", "23:59"))
    before = evaluate(watched, NEW_DATA, None)
    watched.at(moment("2013-01-07"))
    after = evaluate(watched, NEW_DATA, before.cursor)

    assert asked(before) == []
    assert before.skip_message == "no new period at 2013-01-06 23:59; 0 are stored"
    assert asked(after) == [("2012-12-31", "arrival")]
    (request,) = after.run_requests
    assert request.run_key == "flight_delay:2012-12-31:arrival:1"
    assert request.tags["mlops/cause"] == "flight_delay:2012-12-31:arrival"
    assert request.tags["product"] == "flight_delay"


def test_before_any_champion_only_data_assets_are_asked_for(watched: Replay):
    watched.at(moment("2013-01-07"))

    (request,) = evaluate(watched, NEW_DATA, None).run_requests

    assert assets(request) == DATA


def test_what_a_champion_served_is_predicted_and_read_for_drift(watched: Replay):
    serve_from(watched.state, moment("2013-01-16"))
    watched.at(moment("2013-01-21"))

    first, second, third = (carried_out(watched, NEW_DATA, None) for _ in range(3))

    # deployed within the third week: nobody served the first two
    assert assets(first.run_requests[0]) == assets(second.run_requests[0]) == DATA
    assert assets(third.run_requests[0]) == {*DATA, "predictions", "data_drift"}


def test_a_champion_that_was_deployed_when_a_period_ended_served_nothing_of_it(watched: Replay):
    serve_from(watched.state, moment("2013-01-14"))
    watched.at(moment("2013-01-21"))

    _, second, third = (carried_out(watched, NEW_DATA, None) for _ in range(3))

    assert assets(second.run_requests[0]) == DATA
    assert assets(third.run_requests[0]) == {*DATA, "predictions", "data_drift"}


def test_periods_that_are_stored_are_not_asked_for(watched: Replay):
    store(watched.state, "features", "2012-12-31", "2013-01-14")
    watched.at(moment("2013-01-21"))

    assert asked(evaluate(watched, NEW_DATA, None)) == [("2013-01-07", "arrival")]


def test_a_long_history_is_asked_for_one_period_after_the_other_oldest_first(watched: Replay):
    # two weeks are over
    watched.at(moment("2013-01-14"))

    first = evaluate(watched, NEW_DATA, None)
    (request,) = first.run_requests
    run = launch(watched.instance, request, dg.DagsterRunStatus.STARTED)
    meanwhile = evaluate(watched, NEW_DATA, first.cursor)
    watched.instance.delete_run(run.run_id)
    launch(watched.instance, request, dg.DagsterRunStatus.SUCCESS)
    second = carried_out(watched, NEW_DATA, first.cursor)
    third = evaluate(watched, NEW_DATA, second.cursor)

    assert [key for key, _ in asked(first)] == ["2012-12-31"]
    assert asked(meanwhile) == []
    assert [key for key, _ in asked(second)] == ["2013-01-07"]
    assert asked(third) == []


def test_a_period_that_arrives_after_a_later_one_is_still_asked_for(watched: Replay):
    store(watched.state, "features", "2012-12-31")
    watched.at(moment("2013-01-14"))
    later = carried_out(watched, NEW_DATA, None)
    file_of(watched.state, "features", "2012-12-31").unlink()

    late = evaluate(watched, NEW_DATA, later.cursor)

    assert asked(later) == [("2013-01-07", "arrival")]
    assert asked(late) == [("2012-12-31", "arrival")]


@pytest.mark.parametrize("status", RUNNING_OR_DONE, ids=lambda status: status.value)
def test_a_lost_cursor_asks_for_no_period_that_ran_or_is_running(watched: Replay, status: dg.DagsterRunStatus):
    watched.at(moment("2013-01-07"))
    (request,) = evaluate(watched, NEW_DATA, None).run_requests
    launch(watched.instance, request, status)

    assert asked(evaluate(watched, NEW_DATA, None)) == []


@pytest.mark.parametrize("status", FAILED, ids=lambda status: status.value)
def test_a_period_that_failed_is_waited_for_and_the_next_one_with_it(watched: Replay, status: dg.DagsterRunStatus):
    watched.at(moment("2013-01-14"))
    (request,) = evaluate(watched, NEW_DATA, None).run_requests
    launch(watched.instance, request, status)

    tick = evaluate(watched, NEW_DATA, None)

    assert asked(tick) == []
    assert re.fullmatch(
        r"arrival of 2012-12-31 failed 1 times and is requested again at \d\d:\d\d:\d\d UTC", tick.skip_message
    )


def test_a_period_that_failed_is_asked_for_again_after_its_wait(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=3)):
        watched.at(moment("2013-01-14"))
        keys = []
        for _ in range(3):
            (request,) = evaluate(watched, NEW_DATA, None).run_requests
            keys.append(request.run_key)
            launch(watched.instance, request, dg.DagsterRunStatus.FAILURE)

        given_up = evaluate(watched, NEW_DATA, None)

        assert keys == [f"flight_delay:2012-12-31:arrival:{number}" for number in (1, 2, 3)]
        assert asked(given_up) == []
        assert given_up.skip_message == (
            "arrival of 2012-12-31 failed 3 times and is not requested again. Fix the error of the run, then "
            "`mlops retry flight_delay 2012-12-31`; or continue without the period: `mlops skip flight_delay 2012-12-31 "
            '--reason "…"`.'
        )


def test_a_period_that_was_given_up_is_asked_for_anew_when_a_person_says_so(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=1)):
        watched.at(moment("2013-01-07"))
        (request,) = evaluate(watched, NEW_DATA, None).run_requests
        launch(watched.instance, request, dg.DagsterRunStatus.FAILURE)
        given_up = evaluate(watched, NEW_DATA, None)

        watched.state.skipped.ask_again("2012-12-31", "ann")

        assert asked(given_up) == []
        assert asked(evaluate(watched, NEW_DATA, None)) == [("2012-12-31", "arrival")]


def test_a_period_that_cannot_be_had_is_skipped_where_the_product_declares_it(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=1, missing="skip")):
        watched.at(moment("2013-01-07"))
        (request,) = evaluate(watched, NEW_DATA, None).run_requests
        launch(watched.instance, request, dg.DagsterRunStatus.FAILURE)

        # it is asked for once more, and stored without rows
        skipping = evaluate(watched, NEW_DATA, None)

        assert asked(skipping) == [("2012-12-31", "arrival")]
        skipped = watched.state.skipped.load("2012-12-31")
        assert (skipped.by, skipped.reason) == (
            "new_data sensor",
            "its arrival failed 1 times, and flight_delay declares missing='skip'",
        )


def test_a_run_that_dagster_is_about_to_retry_is_not_asked_for_again(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=3)):
        watched.at(moment("2013-01-07"))
        (request,) = evaluate(watched, NEW_DATA, None).run_requests
        run = launch(watched.instance, request, dg.DagsterRunStatus.FAILURE)
        watched.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})

        announced = evaluate(watched, NEW_DATA, None)
        watched.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
        launched = evaluate(watched, NEW_DATA, None)

        assert announced.skip_message == "arrival of 2012-12-31 is under way"
        assert asked(launched) == [("2012-12-31", "arrival")]


def impatient(**changes: Any) -> ModelProduct:
    """The small product, whose failed runs are asked for again at once."""
    moment = timedelta(microseconds=1)
    return a_small_product(retries=Retries(first_wait=moment, longest_wait=moment, **changes))


# --- labels: due two days after the period


def test_labels_are_asked_for_when_they_are_due_and_not_a_minute_before(watched: Replay):
    store(watched.state, "features", "2012-12-31")
    watched.at(moment("2013-01-08", "23:59"))
    before = evaluate(watched, LABELS, None)
    watched.at(moment("2013-01-09"))
    after = carried_out(watched, LABELS, before.cursor)

    assert asked(before) == []
    assert asked(after) == [("2012-12-31", "only_labels")]
    assert asked(evaluate(watched, LABELS, after.cursor)) == []


def test_labels_of_a_period_that_was_mended_late_are_asked_for_though_later_ones_were(watched: Replay):
    # the first week came in by hand, after the second one
    store(watched.state, "features", "2013-01-07")
    launch(watched.instance, arrival_of("2012-12-31"), dg.DagsterRunStatus.SUCCESS)
    watched.at(moment("2013-01-16"))
    later = carried_out(watched, LABELS, None)
    store(watched.state, "features", "2012-12-31")

    mended = evaluate(watched, LABELS, later.cursor)

    assert asked(later) == [("2013-01-07", "only_labels")]
    assert asked(mended) == [("2012-12-31", "only_labels")]


def test_labels_of_a_period_that_nobody_predicted_are_stored_and_measure_nothing(watched: Replay):
    store(watched.state, "features", "2012-12-31")
    watched.at(moment("2013-01-09"))

    (request,) = evaluate(watched, LABELS, None).run_requests

    assert assets(request) == {"labels"}


def test_labels_of_a_predicted_period_are_measured_and_decided_on(watched: Replay):
    store(watched.state, "features", "2012-12-31")
    watched.state.records.save("2012-12-31", a_drift_record())
    watched.at(moment("2013-01-09"))

    (request,) = evaluate(watched, LABELS, None).run_requests

    assert assets(request) == {"labels", "performance", "staleness", "probation", "drift_decision"}


def test_labels_of_a_period_that_is_just_being_predicted_wait_for_its_predictions(watched: Replay):
    serve_from(watched.state, moment("2012-12-31"))
    watched.at(moment("2013-01-09"))
    (arrival,) = evaluate(watched, NEW_DATA, None).run_requests
    run = launch(watched.instance, arrival, dg.DagsterRunStatus.STARTED)
    store(watched.state, "features", "2012-12-31")

    early = evaluate(watched, LABELS, None)
    watched.state.records.save("2012-12-31", a_drift_record())
    watched.instance.delete_run(run.run_id)
    launch(watched.instance, arrival, dg.DagsterRunStatus.SUCCESS)
    later = evaluate(watched, LABELS, early.cursor)

    assert (asked(early), early.skip_message) == ([], "no labels are due at 2013-01-09 00:00")
    assert [assets(request) for request in later.run_requests] == [
        {"labels", "performance", "staleness", "probation", "drift_decision"}
    ]


def test_labels_of_a_period_whose_prediction_failed_wait_for_its_predictions(watched: Replay):
    serve_from(watched.state, moment("2012-12-31"))
    watched.at(moment("2013-01-09"))
    (arrival,) = evaluate(watched, NEW_DATA, None).run_requests
    launch(watched.instance, arrival, dg.DagsterRunStatus.FAILURE)
    store(watched.state, "features", "2012-12-31")

    assert asked(evaluate(watched, LABELS, None)) == []


def arrival_of(period: str) -> dg.RunRequest:
    cause = f"flight_delay:{period}:arrival"
    return dg.RunRequest(tags={"mlops/cause": cause, "product": "flight_delay", "mlops/what": "arrival"})


def test_a_decision_whose_run_failed_is_made_again(tmp_path: Path):
    # killed after it was stored and before Dagster knew: the drift sensor would never hear of it
    for watched in watching(tmp_path, product=impatient(attempts=2)):
        store(watched.state, "features", "2012-12-31")
        watched.state.records.save("2012-12-31", a_drift_record())
        watched.at(moment("2013-01-09"))
        (request,) = evaluate(watched, LABELS, None).run_requests
        launch(watched.instance, request, dg.DagsterRunStatus.FAILURE)
        watched.state.records.save("2012-12-31", a_decision("2012-12-31", Action.NONE))

        again = carried_out(watched, LABELS, None)

        assert asked(again) == [("2012-12-31", "labels")]
        assert asked(evaluate(watched, LABELS, None)) == []


def test_labels_of_a_decided_period_are_not_asked_for(watched: Replay):
    store(watched.state, "features", "2012-12-31")
    for record in (a_drift_record(), a_decision("2012-12-31", Action.NONE)):
        watched.state.records.save("2012-12-31", record)
    watched.at(moment("2013-01-09"))

    assert asked(evaluate(watched, LABELS, None)) == []


@pytest.mark.parametrize("status", RUNNING_OR_DONE, ids=lambda status: status.value)
def test_a_lost_cursor_asks_for_no_labels_that_ran_or_are_running(watched: Replay, status: dg.DagsterRunStatus):
    store(watched.state, "features", "2012-12-31")
    watched.at(moment("2013-01-09"))
    (request,) = evaluate(watched, LABELS, None).run_requests
    launch(watched.instance, request, status)

    assert asked(evaluate(watched, LABELS, None)) == []


# --- drift


@pytest.mark.parametrize("action", [Action.NONE, Action.WATCH, Action.INCONCLUSIVE])
def test_what_is_only_recorded_asks_for_nothing_and_is_read_once(watched: Replay, action: Action):
    decide(watched.state, watched.instance, a_decision("2013-03-04", action))

    first = evaluate(watched, DRIFT, None)
    second = evaluate(watched, DRIFT, first.cursor)

    assert asked(first) == asked(second) == []
    assert (first.skip_message, second.skip_message) == (f"2013-03-04: {action}", "no new decision")


def test_retrain_asks_for_the_next_partition_from_training_set_to_deployment(watched: Replay):
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))

    (request,) = evaluate(watched, DRIFT, None).run_requests

    assert (request.partition_key, request.run_key) == ("2013-03-11", "flight_delay:2013-03-04:retrain:1")
    assert assets(request) == RETRAINING


def test_rework_asks_for_the_brief_of_the_period_that_was_read(watched: Replay):
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.REWORK))

    (request,) = evaluate(watched, DRIFT, None).run_requests

    assert (request.partition_key, request.run_key) == ("2013-03-04", "flight_delay:2013-03-04:rework:1")
    assert assets(request) == {"rework_brief"}


def test_every_decision_between_two_ticks_is_carried_out(watched: Replay):
    for week, action in (
        ("2013-03-04", Action.RETRAIN),
        ("2013-03-11", Action.REWORK),
        ("2013-03-18", Action.WATCH),
        ("2013-03-25", Action.RETRAIN),
    ):
        decide(watched.state, watched.instance, a_decision(week, action))

    tick = carried_out(watched, DRIFT, None)

    assert asked(tick) == [("2013-03-11", "retrain"), ("2013-03-11", "rework"), ("2013-04-01", "retrain")]
    assert asked(evaluate(watched, DRIFT, tick.cursor)) == []


def test_decisions_of_another_product_are_not_this_sensors(watched: Replay):
    of_another = watched.state.workspace.of(product_named("air_time"))
    decide(of_another, watched.instance, a_decision("2013-03-04", Action.RETRAIN))

    assert evaluate(watched, DRIFT, None).skip_message == "no new decision"


@pytest.mark.parametrize(
    "status",
    [*RUNNING_OR_DONE, *FAILED],
    ids=lambda status: status.value,
)
def test_a_lost_cursor_carries_no_decision_out_twice(watched: Replay, status: dg.DagsterRunStatus):
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
    (request,) = evaluate(watched, DRIFT, None).run_requests
    launch(watched.instance, request, status)

    assert asked(evaluate(watched, DRIFT, None)) == []


def test_a_decision_that_is_materialised_again_is_not_carried_out_twice(watched: Replay):
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
    first = evaluate(watched, DRIFT, None)
    launch(watched.instance, first.run_requests[0], dg.DagsterRunStatus.SUCCESS)

    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))

    assert asked(evaluate(watched, DRIFT, first.cursor)) == []


def test_a_failed_retraining_is_tried_again_when_its_decision_is_materialised_again(watched: Replay):
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
    first = evaluate(watched, DRIFT, None)
    launch(watched.instance, first.run_requests[0], dg.DagsterRunStatus.FAILURE)

    meanwhile = evaluate(watched, DRIFT, first.cursor)
    decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
    second = evaluate(watched, DRIFT, meanwhile.cursor)

    assert asked(meanwhile) == []
    assert [request.run_key for request in second.run_requests] == ["flight_delay:2013-03-04:retrain:2"]


def test_a_decision_stays_open_until_a_run_has_answered_it(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=2)):
        decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
        first = evaluate(watched, DRIFT, None)
        # its process was killed: no step failed
        launch(watched.instance, first.run_requests[0], dg.DagsterRunStatus.FAILURE)

        second = carried_out(watched, DRIFT, first.cursor)
        answered = evaluate(watched, DRIFT, second.cursor)

        assert asked(second) == [("2013-03-11", "retrain")]
        assert (asked(answered), answered.skip_message) == ([], "retrain of 2013-03-04 is done")
        assert evaluate(watched, DRIFT, answered.cursor).skip_message == "no new decision"


def test_a_challenger_that_is_refused_is_an_answer(tmp_path: Path):
    for watched in watching(tmp_path, product=impatient(attempts=3)):
        decide(watched.state, watched.instance, a_decision("2013-03-04", Action.RETRAIN))
        first = evaluate(watched, DRIFT, None)
        # nothing is stored that it could learn from, which another attempt does not change
        for request in first.run_requests:
            assert not watched.run(request).success

        after = evaluate(watched, DRIFT, first.cursor)

        assert (asked(after), after.skip_message) == ([], "retrain of 2013-03-04 is refused")
        assert evaluate(watched, DRIFT, after.cursor).skip_message == "no new decision"


def test_retrain_may_ask_for_the_period_that_is_running_now(tmp_path: Path):
    product = a_small_product(period=weekly(start="2012-12-31"))
    for watched in watching(tmp_path, product=product):
        # a decision falls days after its period, so the next one has begun and is not over
        running = product.period.containing(datetime.now(UTC))
        newest = product.period.shift(running, -1)
        decide(watched.state, watched.instance, a_decision(newest.key, Action.RETRAIN))

        assert asked(evaluate(watched, DRIFT, None)) == [(running.key, "retrain")]


def test_a_retraining_after_the_last_period_is_said_and_not_asked_for(watched: Replay):
    # the periods end on 2013-12-30
    decide(watched.state, watched.instance, a_decision("2013-12-23", Action.RETRAIN))

    tick = evaluate(watched, DRIFT, None)

    assert asked(tick) == []
    assert tick.skip_message == "2013-12-23: retrain, but flight_delay has no period 2013-12-30"
    assert evaluate(watched, DRIFT, tick.cursor).skip_message == "no new decision"


# --- failures


def test_a_run_that_only_a_person_can_fix_is_notified_once_with_the_commands_that_go_on(
    tmp_path: Path, webhook: Webhook
):
    for watched in watching(tmp_path, webhook.url):
        watched.at(moment("2013-01-09"))
        started = evaluate(watched, "failures", None)
        failed = watched.materialize(
            [dg.AssetKey(["flight_delay", "labels"])],
            "2012-12-31",
            {"mlops/cause": "flight_delay:2012-12-31:labels", "product": "flight_delay"},
        )

        first = evaluate(watched, "failures", started.cursor)
        evaluate(watched, "failures", first.cursor)

        assert webhook.posted == [
            {
                "title": "run of flight_delay:2012-12-31:labels failed",
                "text": "flight_delay__labels: PartitionMissing: flight_delay/raw has no stored partition for 2012-12-31. "
                "Materialise it for those partitions first. It is requested again by itself, less and less often. Fix the error of "
                "the run, then `mlops retry flight_delay 2012-12-31`; or continue without the period: "
                f'`mlops skip flight_delay 2012-12-31 --reason "…"`. (run {failed.run_id})',
                "product": "flight_delay",
                "level": "error",
            }
        ]


def test_people_are_told_once_when_a_period_is_given_up_with_the_command_that_goes_on(tmp_path: Path, webhook: Webhook):
    for watched in watching(tmp_path, webhook.url, impatient(attempts=3)):
        watched.at(moment("2013-01-09"))
        cursor = evaluate(watched, "failures", None).cursor
        tags = {"mlops/cause": "flight_delay:2012-12-31:arrival", "product": "flight_delay", "mlops/what": "arrival"}
        tables = watched.state.workspace.home / "tables"
        tables.mkdir()
        (tables / "flight_delay").write_text("no folder: nothing can be stored")

        told = []
        for _ in range(4):
            watched.materialize([dg.AssetKey(["flight_delay", "raw"])], "2012-12-31", tags)
            cursor = evaluate(watched, "failures", cursor).cursor
            told.append(len(webhook.posted))

        assert told[:3] == [0, 0, 1]
        (posted, *_) = webhook.posted
        assert (
            "It failed 3 times. Fix the error of the run, then `mlops retry flight_delay 2012-12-31`" in posted["text"]
        )


def test_a_run_that_succeeds_is_not_notified(tmp_path: Path, webhook: Webhook):
    for watched in watching(tmp_path, webhook.url):
        watched.at(moment("2013-01-09"))
        started = evaluate(watched, "failures", None)
        result = materialize(watched, "raw", key="2012-12-31")

        evaluate(watched, "failures", started.cursor)

        assert result.success
        assert webhook.posted == []
