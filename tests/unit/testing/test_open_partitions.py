"""Which acceptances the approvals sensor looks at: those that a person may still change."""

from datetime import UTC, datetime, timedelta

from examples.flights.flight_delay import flight_delay
from mlops_assets.records.acceptance import AcceptanceState, Verdict
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.run import open_partitions
from tests.some_records import an_acceptance

NOW = datetime(2013, 7, 1, tzinfo=UTC)
STATES = {
    "2013-05-06": AcceptanceState.WAITING,
    "2013-06-03": AcceptanceState.ACCEPTED,
    "2013-06-10": AcceptanceState.REFUSED,
    "2013-06-17": AcceptanceState.REJECTED,
    "2013-06-24": AcceptanceState.WAITING,
}


def a_state(workspace: Workspace) -> ProductState:
    state = workspace.of(flight_delay)
    for version, (key, accepted) in enumerate(STATES.items(), 1):
        state.records.save(key, an_acceptance(flight_delay.name, version, accepted))
    return state


def test_before_anything_serves_all_that_wait_or_were_rejected_are_open(workspace: Workspace) -> None:
    state = a_state(workspace)

    waiting, rejected = AcceptanceState.WAITING, AcceptanceState.REJECTED
    assert open_partitions(state) == {"2013-05-06": waiting, "2013-06-17": rejected, "2013-06-24": waiting}


def test_what_is_older_than_the_champion_is_not_even_read_unless_it_was_answered(workspace: Workspace) -> None:
    state = a_state(workspace)
    state.ledger.deploy(2, "2013-06-03", NOW, reason="a test", by="test", after=0)
    unreadable = f"records/{flight_delay.name}/acceptance/2013-04-01.json"
    workspace.objects.put(unreadable, b"unreadable")

    assert list(open_partitions(state)) == ["2013-06-17", "2013-06-24"]

    workspace.objects.delete(unreadable)  # who answers reads every acceptance
    state.approvals.answer(
        version=1,
        partition="2013-05-06",
        verdict=Verdict.APPROVED,
        by="ana",
        through="",
        note="late",
        at=NOW,
        valid_for=timedelta(days=7),
        evidence={},
    )
    assert list(open_partitions(state)) == ["2013-05-06", "2013-06-17", "2013-06-24"]
