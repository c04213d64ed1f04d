"""The approvals route: who holds the key answers a version that waits, and nobody else."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.products.catalog import CATALOG
from mlops_assets.stores.approvals import WaitingAcceptance
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.home import Home
from tests.serving.running_api import a_client
from tests.tiny_bundle import deploy_tiny

NOW = datetime(2013, 5, 1, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
ROUTE = "/v1/models/flight_delay/versions/2/approvals"
ANSWER = {"verdict": "approved", "by": "ana", "note": "slices look right"}
EVIDENCE = {"test_report": "a" * 64, "staging_report": "b" * 64, "bundle": "c" * 64}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Champions serve; version 2 of flight_delay waits."""
    home = Home(tmp_path / "home")
    for product in CATALOG:
        deploy_tiny(home, product)
    ReplayClock(home.clock_file).set(NOW)
    home.documents.save("flight_delay", "acceptance", "2013-04-29", WaitingAcceptance(2, "waiting", EVIDENCE))
    return home


def posted(home: Home, body: object = ANSWER, route: str = ROUTE, **headers: str):
    with a_client(home, approval_key=KEY) as client:
        return client.post(route, json=body, headers=headers)


def test_who_holds_the_key_approves_on_the_evidence_that_waits(home):
    answer = posted(home, **{"X-Approval-Key": KEY})

    assert answer.status_code == 201
    kept = home.approvals(KEY).newest("flight_delay", 2, EVIDENCE, NOW)
    assert kept is not None
    assert (kept.by, kept.note, kept.partition, kept.verdict) == ("ana", "slices look right", "2013-04-29", "approved")
    assert answer.json()["signature"] == kept.signature


@pytest.mark.parametrize("headers", [{}, {"X-Approval-Key": "0" * 32}, {"X-Approval-Key": ""}])
def test_nobody_else_answers(home, headers):
    answer = posted(home, **headers)

    assert answer.status_code == 401
    assert KEY not in answer.text
    assert home.approvals(KEY).answers("flight_delay", 2) == []


def test_without_any_key_nobody_can_answer(home):
    with a_client(home) as client:
        assert client.post(ROUTE, json=ANSWER, headers={"X-Approval-Key": ""}).status_code == 401


@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        (ROUTE.replace("/2/", "/3/"), 409, "no version 3 of flight_delay waits for an answer"),
        (ROUTE.replace("flight_delay", "fligth_delay"), 404, "Did you mean 'flight_delay'?"),
    ],
)
def test_what_does_not_wait_cannot_be_answered(home, route, status, said):
    answer = posted(home, route=route, **{"X-Approval-Key": KEY})

    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize(
    "body",
    [{**ANSWER, "verdict": "perhaps"}, {**ANSWER, "note": ""}, {"verdict": "approved"}, {**ANSWER, "version": 3}],
)
def test_an_answer_without_who_why_or_a_verdict_is_refused(home, body):
    answer = posted(home, body, **{"X-Approval-Key": KEY})

    assert answer.status_code in (400, 422)
    assert home.approvals(KEY).answers("flight_delay", 2) == []
