"""What /metrics counts, over every worker, and that what ships with it names metrics that exist."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.metrics import BUCKETS, Metrics
from serving.shared_metrics import FOLDER, forget_gauges, shared_folder
from tests.serving.running_api import Json, RunningServer, a_client, a_server, eventually
from tests.tiny_bundle import deploy_tiny

SHIPPED = Path(__file__).parents[2] / "docs" / "monitoring"


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    return sum(
        found for (of, pairs), found in read(text).items() if of == name and labels.items() <= dict(pairs).items()
    )


def test_requests_rows_stages_and_doubtful_features_are_counted(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), 3)
    with a_client(workspace) as client:
        client.post("/v1/models/flight_delay/predict", json={"rows": [row, {**row, "dest": "XXX"}]})
        client.post("/v1/models/flight_delay/predict", json={"rows": []})
        client.get("/nothing/of/this/name")
        text = client.get("/metrics").text

    predict = "/v1/models/flight_delay/predict"
    assert value(text, "mlops_requests_total", route=predict, status="200") == 1
    assert value(text, "mlops_requests_total", route=predict, status="422") == 1
    assert value(text, "mlops_requests_total", route="unmatched", status="404") == 1
    assert value(text, "mlops_request_seconds_count", route=predict) == 2
    assert value(text, "mlops_predictions_total", product="flight_delay", version="3", role="champion") == 2
    assert value(text, "mlops_unknown_categories_total", feature="dest") == 1
    assert value(text, "mlops_online_features_total", feature="temperature", state="missing") == 2
    assert value(text, "mlops_serving", product="flight_delay", version="3") == 1
    assert value(text, "mlops_worker_memory_bytes") > 10e6
    for stage in ("features", "model", "log"):
        assert value(text, "mlops_stage_seconds_count", stage=stage) >= 1


def test_what_is_refused_at_the_edge_is_counted_by_reason(workspace: Workspace) -> None:
    with a_client(workspace) as client:
        client.post("/v1/models/flight_delay/predict", content=b"", headers={"content-length": str(10**12)})
        text = client.get("/metrics").text

    assert value(text, "mlops_refusals_total", reason="BodyTooLarge") == 1


COUNTING = """
import os, signal, sys
from serving import shared_metrics

shared_metrics.reserve_room()
from serving.metrics import Metrics

metrics, amount = Metrics(), float(sys.argv[1])
for _ in range(2):
    metrics.labels.labels("flight_delay").inc(amount)
    metrics.request_seconds.labels("predict").observe(0.003)
    metrics.in_flight.labels(os.getpid()).set(amount)
print(os.getpid(), metrics.exposition().decode())
sys.stdout.flush()
if sys.argv[2:]:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def counting(folder: Path, *arguments: str) -> tuple[int, str]:
    """Id and metrics of a process that counted and has ended."""
    environment = {**os.environ, FOLDER: str(folder)}
    command = [sys.executable, "-c", COUNTING, *arguments]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=not arguments[1:]).stdout
    process, _, text = said.partition(" ")
    return int(process), text


def test_several_processes_sum_and_one_that_was_killed_still_counts(tmp_path: Path) -> None:
    for amount in ("1", "2"):
        process, _ = counting(tmp_path, amount, "killed")
        forget_gauges(tmp_path, process)

    _, text = counting(tmp_path, "5")

    assert value(text, "mlops_labels_total", product="flight_delay") == 2 * (1 + 2 + 5)
    assert value(text, "mlops_request_seconds_bucket", le="0.005") == 6
    assert value(text, "mlops_request_seconds_bucket", le="0.002") == 0
    assert value(text, "mlops_request_seconds_sum") == pytest.approx(6 * 0.003)
    assert value(text, "mlops_in_flight") == 5  # of the process that lives; the others hold nothing any more


def test_without_room_for_metrics_the_workers_answer_and_each_shows_its_own(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))"
    command = ("-c", f"{limited}; runpy.run_module('serving', run_name='__main__')")
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output, command, MLOPS_WORKERS="2") as server,
    ):
        predict = f"{server.address}/v1/models/flight_delay/predict"
        eventually(lambda: {httpx.post(predict, json={"rows": [row]}).status_code for _ in range(20)} == {200})
        text = httpx.get(f"{server.address}/metrics").text

    assert len({dict(pairs)["worker"] for name, pairs in read(text) if name == "mlops_ready"}) == 1


def test_where_no_folder_can_be_made_the_workers_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))

    with shared_folder(workers=2) as folder:
        assert folder is None
        assert FOLDER not in os.environ


@settings(max_examples=50, deadline=None)
@given(seconds=st.lists(st.floats(0, 20), max_size=30))
def test_a_histogram_counts_what_lies_at_or_below_each_bound(seconds: list[float]) -> None:
    metrics = Metrics()
    for each in seconds:
        metrics.request_seconds.labels("a").observe(each)

    text = metrics.exposition().decode()

    for bound in BUCKETS:
        assert value(text, "mlops_request_seconds_bucket", le=str(bound)) == sum(each <= bound for each in seconds)
    assert value(text, "mlops_request_seconds_count") == len(seconds)


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.labels.labels('a"b\\c\nd').inc()

    assert value(metrics.exposition().decode(), "mlops_labels_total", product='a"b\\c\nd') == 1


def test_workers_of_one_server_are_read_from_any_of_them(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_WORKERS="2") as server:
        predict = f"{server.address}/v1/models/flight_delay/predict"
        told: list[int] = []

        def ask_twenty() -> set[int]:
            """A connection of its own for each, so that both workers get some."""
            told.extend(httpx.post(predict, json={"rows": [row]}).status_code for _ in range(20))
            return set(told[-20:])

        eventually(lambda: ask_twenty() == {200})

        assert {answered(server) for _ in range(10)} == {told.count(200)}
        eventually(lambda: len(workers_of(server)) == 2)
        before = workers_of(server)
        os.kill(int(min(before)), signal.SIGKILL)

        # another takes its place: what it counted stays, what it held goes
        eventually(lambda: len(workers_of(server) - before) == 1 and len(workers_of(server)) == 2)
        assert answered(server) == told.count(200)


def test_a_server_that_was_killed_leaves_no_metrics_behind(workspace: Workspace, tmp_path: Path) -> None:
    variables = {"MLOPS_WORKERS": "2", "TMPDIR": str(tmp_path)}
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, **variables) as server:
        assert len(list(tmp_path.glob("serving-metrics-*/counter_*.db"))) >= 1

        server.process.kill()

        eventually(lambda: list(tmp_path.glob("serving-metrics-*")) == [])


def workers_of(server: RunningServer) -> set[str]:
    """By their own gauges. One that was killed resets connections that it had accepted."""
    try:
        text = httpx.get(f"{server.address}/metrics").text
    except httpx.TransportError:
        return set()
    return {dict(pairs)["worker"] for name, pairs in read(text) if name == "mlops_worker_memory_bytes"}


def answered(server: RunningServer) -> float:
    return value(httpx.get(f"{server.address}/metrics").text, "mlops_predictions_total", role="champion")


def known_names() -> set[str]:
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {f"{family.name}{suffix}" for family in Metrics().registry.collect() for suffix in suffixes[family.type]}


def named(expressions: list[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\bmlops_\w+", expression)}


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    dashboard = json.loads((SHIPPED / "grafana_dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]

    assert len(expressions) >= 10
    assert named(expressions) <= known_names()


def test_the_alerts_ask_only_for_metrics_that_exist() -> None:
    rules = yaml.safe_load((SHIPPED / "prometheus_alerts.yaml").read_text())["groups"][0]["rules"]

    assert named([rule["expr"] for rule in rules]) <= known_names()
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
