"""S3 on loopback: moto's server as a process of its own, reached by the real clients through the AWS_ variables."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest

from tests.servers.processes import a_server, answers, free_port

S3_VARIABLES = {
    **{"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"},
    **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
}


@contextmanager
def a_moto_server(log: Path) -> Iterator[str]:
    """Its endpoint."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("moto_server.py")), str(port)]
    with a_server(command, log, lambda: answers(port)):
        yield f"http://127.0.0.1:{port}"


def make_bucket(endpoint: str) -> str:
    """`s3://…` of a new, empty bucket."""
    name = f"bucket-{uuid4().hex[:12]}"
    connection = HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_moto_server(tmp_path_factory.mktemp("moto") / "log") as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://…` of a new, empty bucket."""
    speak_to(s3_endpoint, monkeypatch)
    return make_bucket(s3_endpoint)


def speak_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that have the value already are left alone: the clients' threads may read them at any time."""
    for name, value in {**S3_VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
