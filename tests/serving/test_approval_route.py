"""The approvals route: who holds the key answers a version that waits, and nobody else."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from examples.flights.catalog import CATALOG
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.records.acceptance import AcceptanceState
from mlops_assets.state.workspace import Workspace
from serving.access import keys_from
from tests.serving.running_api import a_client, everywhere
from tests.some_records import an_acceptance
from tests.tiny_bundle import deploy_tiny

NOW = datetime(2013, 5, 1, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
ROUTE = "/v1/models/flight_delay/versions/2/approvals"
ANSWER = {"verdict": "approved", "by": "ana", "note": "slices look right"}
EVIDENCE = {"test_report": "a" * 64, "staging_report": "b" * 64, "bundle": "c" * 64}


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    """Champions serve; version 2 of flight_delay waits."""
    workspace = replace(workspace, approval_key=KEY)
    for product in CATALOG:
        deploy_tiny(workspace.of(product))
    workspace.replay_clock.set(NOW)
    waiting = an_acceptance("flight_delay", 2, AcceptanceState.WAITING, EVIDENCE)
    workspace.of(flight_delay).records.save("2013-04-29", waiting)
    return workspace


def posted(workspace: Workspace, body: object = ANSWER, route: str = ROUTE, **headers: str):
    with a_client(workspace, approval_key=KEY) as client:
        return client.post(route, json=body, headers=headers)


@everywhere
def test_who_holds_the_key_approves_on_the_evidence_that_waits(workspace):
    answer = posted(workspace, **{"X-Approval-Key": KEY})

    assert answer.status_code == 201
    kept = workspace.of(flight_delay).approvals.newest(2, EVIDENCE, NOW)
    assert kept is not None
    assert (kept.by, kept.note, kept.partition, kept.verdict) == ("ana", "slices look right", "2013-04-29", "approved")
    assert answer.json()["signature"] == kept.signature


@pytest.mark.parametrize("headers", [{}, {"X-Approval-Key": "0" * 32}, {"X-Approval-Key": ""}])
def test_nobody_else_answers(workspace, headers):
    answer = posted(workspace, **headers)

    assert answer.status_code == 401
    assert KEY not in answer.text
    assert workspace.of(flight_delay).approvals.answers(2) == []


@everywhere
def test_without_any_key_nobody_can_answer(workspace):
    with a_client(workspace) as client:
        assert client.post(ROUTE, json=ANSWER, headers={"X-Approval-Key": ""}).status_code == 401


@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        (ROUTE.replace("/2/", "/3/"), 409, "no version 3 of flight_delay waits for an answer"),
        (ROUTE.replace("flight_delay", "fligth_delay"), 404, "Did you mean 'flight_delay'?"),
    ],
)
def test_what_does_not_wait_cannot_be_answered(workspace, route, status, said):
    answer = posted(workspace, route=route, **{"X-Approval-Key": KEY})

    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {**ANSWER, "verdict": "perhaps"},
        {**ANSWER, "note": ""},
        {"verdict": "approved"},
        {**ANSWER, "version": 3},
        {**ANSWER, "by": ""},
    ],
)
def test_an_answer_without_who_why_or_a_verdict_is_refused(workspace, body):
    answer = posted(workspace, body, **{"X-Approval-Key": KEY})

    assert answer.status_code in (400, 409, 422)
    assert workspace.of(flight_delay).approvals.answers(2) == []


KEYS = keys_from(
    {
        "MLOPS_APPROVE_KEYS": "ana:key-of-ana-0123456789, ben:key-of-ben-0123456789",
        "MLOPS_ADMIN_KEYS": "key-of-nobody-0123456789",
    }
)


def answered_with(workspace: Workspace, key: str, **body: str):
    with a_client(workspace, approval_key=KEY, keys=KEYS) as client:
        return client.post(
            ROUTE,
            json={"verdict": "approved", "note": "looked at", **body},
            headers={"X-API-Key": f"key-of-{key}-0123456789"},
        )


@pytest.mark.parametrize("body", [{}, {"by": "ben"}])
def test_an_answer_is_signed_with_the_name_of_its_key(workspace, body):
    answer = answered_with(workspace, "ben", **body)

    assert answer.status_code == 201
    kept = workspace.of(flight_delay).approvals.newest(2, EVIDENCE, NOW)
    assert kept is not None
    assert (kept.by, kept.through) == ("ben", "by a key of their own")


def test_nobody_answers_in_another_persons_name(workspace):
    answer = answered_with(workspace, "ben", by="ana")

    assert answer.status_code == 403
    assert "this is the key of ben, but the body says 'ana'. Leave 'by' out." in answer.text
    assert workspace.of(flight_delay).approvals.answers(2) == []


def test_a_key_without_a_name_answers_nothing(workspace):
    answer = answered_with(workspace, "nobody", by="ana")

    assert answer.status_code == 403
    assert "Give it in MLOPS_APPROVE_KEYS as name:key" in answer.text
    assert workspace.of(flight_delay).approvals.answers(2) == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("key-of-ana-0123456789", "MLOPS_APPROVE_KEYS holds a key without a name. Write each as name:key"),
        (":key-of-ana-0123456789", "holds a key without a name"),
        ("ana:", "holds a key without a name"),
        ("ana:short", "MLOPS_APPROVE_KEYS holds a key of 5 characters"),
        ("ana:key-of-both-0123456789,ben:key-of-both-0123456789", "gives ana and ben the same key"),
    ],
)
def test_keys_that_approve_are_somebodys(keys, said):
    with pytest.raises(DeclarationError, match=said):
        keys_from({"MLOPS_APPROVE_KEYS": keys})
