"""Who may ask what, and how much is let in."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.state.workspace import Workspace
from serving.access import NOBODY, Access, Keys, Role, keys_from
from serving.errors import TooManyRequests, Unauthenticated
from serving.limits import Limits, Rate, limits_from
from serving.settings import from_environment
from tests.serving.running_api import Json, a_client
from tests.tiny_bundle import deploy_tiny

PREDICT, LABEL, ADMIN = "predict-" + "p" * 16, "label-" + "l" * 16, "admin-" + "a" * 16
KEYS = keys_from({"MLOPS_PREDICT_KEYS": PREDICT, "MLOPS_LABEL_KEYS": f"{LABEL}, ", "MLOPS_ADMIN_KEYS": ADMIN})


@pytest.mark.parametrize("key", ["", "wrong", PREDICT[:-1], PREDICT + "p"])
def test_without_a_known_key_nobody_is_let_in(key: str) -> None:
    access = Access(KEYS, is_open=False)

    with pytest.raises(Unauthenticated):
        access.caller(b"", key.encode())

    assert access.caller(b"", key.encode(), needs_key=False) == NOBODY


def test_a_key_in_two_lists_has_both_roles() -> None:
    keys = keys_from({"MLOPS_PREDICT_KEYS": PREDICT, "MLOPS_APPROVE_KEYS": f"ana:{PREDICT}"})

    assert keys.roles_of(PREDICT.encode()) == {Role.PREDICT, Role.APPROVE}


def test_keys_are_not_kept() -> None:
    assert PREDICT not in repr(KEYS)


def test_a_key_that_could_be_guessed_is_refused_without_being_shown() -> None:
    with pytest.raises(DeclarationError, match="MLOPS_LABEL_KEYS holds a key of 6 characters") as refused:
        keys_from({"MLOPS_LABEL_KEYS": "secret"})

    assert "secret" not in str(refused.value)


@hypothesis_settings(max_examples=50, deadline=None)
@given(key=st.binary(max_size=40).filter(lambda key: key not in {k.encode() for k in (PREDICT, LABEL, ADMIN)}))
def test_no_other_bytes_are_a_key(key: bytes) -> None:
    assert KEYS.roles_of(key) == frozenset()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_a_server_that_others_can_reach_does_not_start_without_keys(host: str) -> None:
    with pytest.raises(DeclarationError, match="others can reach"):
        from_environment({"MLOPS_HOST": host})

    assert from_environment({"MLOPS_HOST": host, "MLOPS_PREDICT_KEYS": PREDICT}).keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_no_key_is_needed(host: str) -> None:
    assert from_environment({"MLOPS_HOST": host}).needs_no_key


def test_the_api_takes_a_key_as_bearer_or_by_its_own_header(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    path, body = "/v1/models/flight_delay/predict", {"rows": [row]}

    with a_client(workspace, keys=KEYS) as client:
        answers = [
            client.post(path, json=body, headers=headers)
            for headers in (
                {"authorization": f"Bearer {PREDICT}"},
                {"x-api-key": PREDICT},
                {},
                {"authorization": f"Basic {PREDICT}"},
                {"x-api-key": LABEL},
            )
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 403]
    assert answers[2].headers["www-authenticate"] == "Bearer"
    assert answers[2].headers["content-type"] == "application/problem+json"
    assert "MLOPS_PREDICT_KEYS" in answers[4].json()["detail"]


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v2/models/flight_delay/infer", "error"),
        ("/invocations", "error_code"),
        ("/endpoints/flight_delay/invocations", "Message"),
        ("/score", "error"),
    ],
)
def test_refusals_have_the_shape_of_the_protocol(workspace: Workspace, path: str, member: str) -> None:
    with a_client(workspace, keys=KEYS) as client:
        answer = client.post(path, json={})

    assert answer.status_code in (401, 403)
    assert member in answer.json()


class Now:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_rate_lets_two_seconds_worth_through_at_once_then_its_pace() -> None:
    now = Now()
    rate = Rate(3, now)
    for _ in range(6):
        rate.take("a")
    with pytest.raises(TooManyRequests) as refused:
        rate.take("a")

    now.seconds = 0.34  # a third of a second makes one token of three a second
    rate.take("a")
    rate.take("b")

    assert refused.value.retry_after_seconds == 1
    with pytest.raises(TooManyRequests):
        rate.take("a")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    rate = Rate(0.1, Now())
    rate.take("a")

    with pytest.raises(TooManyRequests) as refused:
        rate.take("a")

    assert refused.value.retry_after_seconds == 10


def test_without_a_rate_there_is_no_limit() -> None:
    rate = Rate(0, Now())

    for _ in range(1_000):
        rate.take("a")


def test_above_the_rate_the_api_answers_429_with_retry_after(workspace: Workspace) -> None:
    with a_client(workspace, limits=Limits(rate=1)) as client:
        answers = [client.get("/v1/models") for _ in range(4)]
        probe = client.get("/health/live")

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert probe.status_code == 200


def test_a_key_has_one_rate_however_it_is_sent(workspace: Workspace) -> None:
    spellings = [
        {"authorization": f"Bearer {PREDICT}"},
        {"authorization": f"bearer   {PREDICT}"},
        {"x-api-key": PREDICT},
        {"x-api-key": f" {PREDICT} "},
        {"x-api-key": PREDICT, "authorization": "Bearer of anything"},
        {"x-api-key": PREDICT, "authorization": "Basic something"},
    ]
    with a_client(workspace, keys=KEYS, limits=Limits(rate=0.01)) as client:
        statuses = [client.get("/v1/models", headers=headers).status_code for headers in spellings]
        other = client.get("/v1/models", headers={"x-api-key": ADMIN}).status_code

    assert statuses == [200, 429, 429, 429, 429, 429]
    assert other == 200


def test_where_no_keys_are_needed_an_address_has_one_rate_whatever_it_sends_as_a_key(workspace: Workspace) -> None:
    with a_client(workspace, limits=Limits(rate=0.01)) as client:
        statuses = [client.get("/v1/models", headers={"x-api-key": f"made up {n}"}).status_code for n in range(3)]

    assert statuses == [200, 429, 429]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MLOPS_MAX_BODY_MB": "0"}, "above 0"),
        ({"MLOPS_RATE_PER_SECOND": "-1"}, "must not be negative"),
        ({"MLOPS_MAX_CONCURRENCY": "many"}, "MLOPS_MAX_CONCURRENCY is 'many'"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_named(variables: dict[str, str], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        limits_from(variables)


def test_more_requests_than_may_be_in_flight_are_refused_at_once(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    many: Json = {"rows": [row] * 2_000}

    async def ask(post: Callable[[Json], Any]) -> list[httpx.Response]:
        return list(await asyncio.gather(*(post(many) for _ in range(12))))

    with a_client(workspace, limits=Limits(concurrency=2)) as client:
        transport = httpx.ASGITransport(client.app)  # type: ignore[arg-type]

        async def ask_all() -> list[httpx.Response]:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
                return await ask(lambda body: asking.post("/v1/models/flight_delay/predict", json=body))

        answers = asyncio.run(ask_all())
        after = client.post("/v1/models/flight_delay/predict", json={"rows": [row]})

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)
    assert after.status_code == 200


def test_no_keys_at_all_is_false() -> None:
    assert not Keys()
