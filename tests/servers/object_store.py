"""S3 on loopback: moto's server, reached by the real clients through the AWS_ variables."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://…` of a new, empty bucket."""
    speak_to(s3_endpoint, monkeypatch)
    name = f"bucket-{uuid4().hex[:12]}"
    httpx.put(f"{s3_endpoint}/{name}").raise_for_status()
    return f"s3://{name}"


def speak_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        **{"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
