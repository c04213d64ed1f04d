"""What a web page of somebody else can send without asking is refused; programs, probes and pages of one's own are not."""

import msgspec
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.state.workspace import Workspace
from serving.access import keys_from
from serving.errors import CrossSite, UnknownHost
from serving.origins import Origins, own_hosts
from serving.settings import from_environment
from tests.serving.conftest import a_row
from tests.serving.running_api import a_client
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
BODIES = {
    PREDICT: {"rows": [a_row()]},
    "/v1/models/flight_delay/labels": {"labels": [{"prediction_id": "1", "label": True}]},
    "/v1/models/flight_delay/versions/2/approvals": {"verdict": "approved", "by": "mallory", "note": "-"},
    "/invocations": {"dataframe_records": [a_row()]},
}
SIMPLE = [
    "",
    "text/plain",
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
]
MINE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    workspace = Workspace(tmp_path_factory.mktemp("cross") / "state")
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace, [flight_delay]) as opened:
        yield opened


def sent(client, path: str, content_type: str = "", **headers: str):
    kind = {"Content-Type": content_type} if content_type else {}
    return client.post(
        path, content=msgspec.json.encode(BODIES[path]), headers={"Host": "127.0.0.1:8000", **kind, **headers}
    )


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content_type", SIMPLE)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8000.evil.example"]
)
def test_a_page_of_another_site_gets_nothing_in_without_asking(client, path, content_type, origin):
    answer = sent(client, path, content_type, Origin=origin)

    assert answer.status_code == 403
    assert "sent this request, and that is another site" in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", MINE])
def test_no_page_is_told_that_it_may_ask(client, origin):
    asking = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

    answer = client.options(PREDICT, headers=asking)

    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        ("", {}),  # curl -d @-, -H "Content-Type:"
        ("application/json", {}),
        ("application/json", {"Origin": MINE}),
        ("", {"Origin": MINE}),
        ("application/json", {"Origin": "https://evil.example"}),  # a browser asks first, and is not told that it may
    ],
)
def test_programs_and_pages_of_ones_own_are_answered(client, content_type, headers):
    assert sent(client, PREDICT, content_type, **headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "a b", ""]
)
def test_a_name_of_others_that_points_here_is_refused(client, host):
    answer = client.get("/v1/models", headers={"Host": host})

    assert answer.status_code == 421
    assert "MLOPS_HOSTS names others" in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "10.1.2.3:8080", "[fd00::7]"]
)
def test_loopback_and_addresses_are_answered(client, host):
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_are_answered_by_any_name(client, path):
    assert client.get(path, headers={"Host": "pod-7.svc.cluster.local"}).status_code == 200


def test_a_server_with_keys_answers_to_any_name_unless_names_are_declared(workspace):
    deploy_tiny(workspace.of(flight_delay))
    keys, asking = keys_from({"MLOPS_PREDICT_KEYS": "k" * 16}), {"X-API-Key": "k" * 16, "Host": "ml.example"}
    with a_client(workspace, [flight_delay], keys=keys) as client:
        assert client.get("/v1/models", headers=asking).status_code == 200

    with a_client(workspace, [flight_delay], keys=keys, hosts=("ml.example",)) as client:
        assert client.get("/v1/models", headers=asking).status_code == 200
        assert client.get("/v1/models", headers={**asking, "Host": "other.example"}).status_code == 421


def test_an_origin_that_is_declared_is_ones_own_behind_a_proxy_that_rewrites_the_host():
    origins = Origins(own_hosts(["ml.example"], "0.0.0.0", needs_no_key=False))

    origins.check_origin("https://ml.example", "10.0.0.7:8000", "text/plain")
    with pytest.raises(CrossSite):
        origins.check_origin("https://ml.example.evil", "10.0.0.7:8000", "text/plain")
    with pytest.raises(UnknownHost):
        origins.check_host("other.example")


def test_ports_and_schemes_of_an_origin_count_as_browsers_write_them():
    origins = Origins(None)

    origins.check_origin("https://ml.example", "ml.example:443", "")
    origins.check_origin("http://ml.example", "ml.example", "")
    for other in (
        "http://ml.example:8080",
        "https://ml.example:8443",
        "file://",
        "http://[::1",
        "//",
        "https://ml.example:99999",
    ):
        with pytest.raises(CrossSite):
            origins.check_origin(other, "ml.example", "")


@pytest.mark.parametrize("hosts", ["http://ml.example", "ml.example:8000", "*"])
def test_a_host_that_is_no_name_is_refused_at_the_start(hosts):
    with pytest.raises(DeclarationError, match="Give names without port or scheme"):
        from_environment({"MLOPS_HOSTS": hosts})


def test_hosts_are_read_by_comma():
    assert from_environment({"MLOPS_HOSTS": "ml.example, ml.internal"}).hosts == ("ml.example", "ml.internal")
