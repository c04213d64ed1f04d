"""Notifications reach a webhook, and one that is dead fails nothing and gives its address away to nobody."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from resources.notifier import Notifier

TOKEN = "s3cr3t-token"


class Webhook(HTTPServer):
    """A webhook on loopback that keeps what it was sent and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.received: list[tuple[str, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/{TOKEN}"


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def notify(url: str) -> str:
    return Notifier(webhook_url=url, timeout_seconds=2).notify(
        title="taxi goes back", text="12 % of rows moved", product="taxi"
    )


def test_a_notification_is_posted_as_json(webhook, log):
    became = notify(webhook.url)

    assert became == "logged; posted to the webhook"
    assert webhook.received == [
        (
            f"/hooks/{TOKEN}",
            {"title": "taxi goes back", "text": "12 % of rows moved", "product": "taxi", "level": "warning"},
        )
    ]
    assert TOKEN not in log.text


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_reported_with_its_status_and_not_with_its_address(webhook, log, status):
    webhook.status = status

    assert notify(webhook.url) == f"logged; the webhook failed (status {status})"
    assert f"the webhook did not accept the notification (status {status})" in log.text
    assert TOKEN not in log.text


def test_a_webhook_that_is_dead_is_reported_and_fails_nothing(log):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers
        became = notify(f"http://127.0.0.1:{free.getsockname()[1]}/hooks/{TOKEN}")

    assert became == "logged; the webhook failed (ConnectError)"
    # by this mark `mlops up` finds it in a log
    assert log.records[0].getMessage() == "notification: taxi goes back: 12 % of rows moved"
    assert TOKEN not in became + log.text


@pytest.mark.parametrize("url", [f"nonsense/{TOKEN}", f"http://[::1/{TOKEN}", f"ftp://127.0.0.1/{TOKEN}"])
def test_an_address_that_is_none_is_reported_and_fails_nothing(log, url):
    became = notify(url)

    assert became.startswith("logged; the webhook failed (")
    assert TOKEN not in became + log.text


def test_without_a_webhook_the_log_has_it(log):
    became = Notifier().notify(title="taxi goes back", text="12 % of rows moved", product="taxi")

    assert became == "logged; sent to nobody (set MLOPS_WEBHOOK_URL or MLOPS_NOTIFY_URLS)"
    assert [record.levelname for record in log.records] == ["WARNING"]
    assert "taxi goes back: 12 % of rows moved" in log.text


def test_apprise_reaches_whoever_is_configured(webhook, log, monkeypatch):
    monkeypatch.setenv("MLOPS_NOTIFY_URLS", f"json://127.0.0.1:{webhook.server_port}/hooks/{TOKEN}")

    became = Notifier().notify(title="taxi goes back", text="12 % of rows moved", product="taxi")

    assert became == "logged; sent by json"
    ((path, posted),) = webhook.received
    assert (path, posted["title"], posted["message"]) == (f"/hooks/{TOKEN}", "taxi goes back", "12 % of rows moved")
    assert TOKEN not in became + log.text


def test_a_receiver_that_fails_or_does_not_exist_is_named_by_its_kind_alone(webhook, log, monkeypatch):
    webhook.status = 500
    monkeypatch.setenv("MLOPS_NOTIFY_URLS", f"json://127.0.0.1:{webhook.server_port}/{TOKEN} pigeon://{TOKEN}")

    became = Notifier().notify(title="taxi goes back", text="12 % of rows moved", product="taxi")

    assert became == "logged; sent to nobody; json, pigeon failed"
    assert "not notified: json, pigeon" in log.text
    assert TOKEN not in became + log.text
