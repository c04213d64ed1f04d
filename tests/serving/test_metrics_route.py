"""What /metrics counts, over every worker, and that what ships with it names metrics that exist."""

import json
import re
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
from serving.exposition import exposition
from serving.metrics import BUCKETS, FAMILIES, Metrics
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
import sys
from pathlib import Path
from serving.metrics import Metrics

metrics, amount = Metrics(Path(sys.argv[1])), float(sys.argv[2])
for _ in range(2):
    metrics.add(("mlops_labels", "flight_delay"), amount)
    metrics.histogram(("mlops_request_seconds", "predict")).append(0.003)
    metrics.set(("mlops_in_flight",), amount)
metrics.settle()
"""


def test_several_processes_sum_and_one_that_ended_still_counts(tmp_path: Path) -> None:
    for amount in ("1", "2"):
        subprocess.run([sys.executable, "-c", COUNTING, str(tmp_path), amount], check=True)
    metrics = Metrics(tmp_path)
    metrics.add(("mlops_labels", "flight_delay"), 10)
    metrics.histogram(("mlops_request_seconds", "predict")).append(0.003)
    metrics.set(("mlops_in_flight",), 10)

    text = metrics.exposition().decode()

    assert value(text, "mlops_labels_total", product="flight_delay") == 2 * (1 + 2) + 10
    assert value(text, "mlops_request_seconds_bucket", le="0.005") == 5
    assert value(text, "mlops_request_seconds_bucket", le="0.002") == 0
    assert value(text, "mlops_request_seconds_sum") == pytest.approx(5 * 0.003)
    assert value(text, "mlops_in_flight") == 10  # of the process that lives; the others hold nothing any more


@settings(max_examples=50, deadline=None)
@given(seconds=st.lists(st.floats(0, 20), max_size=30))
def test_a_histogram_counts_what_lies_at_or_below_each_bound(seconds: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        metrics = Metrics(Path(folder))
        for each in seconds:
            metrics.histogram(("mlops_request_seconds", "a")).append(each)

        text = metrics.exposition().decode()
        metrics.close()

    for bound in BUCKETS:
        assert value(text, "mlops_request_seconds_bucket", le=str(bound)) == sum(each <= bound for each in seconds)
    assert value(text, "mlops_request_seconds_count") == len(seconds)


def test_what_requests_are_counted_by_is_counted_while_nobody_asks(
    workspace: Workspace, row: Json, tmp_path: Path
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace, metrics=tmp_path) as client:
        client.post("/v1/models/flight_delay/predict", json={"rows": [row]}).raise_for_status()

        # of the files, which other workers read; this one's route would count first
        eventually(lambda: value(exposition(tmp_path).decode(), "mlops_predictions_total", role="champion") == 1)


def test_labels_are_escaped(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.add(("mlops_labels", 'a"b\\c\nd'))

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

        # each tells of the other what that counted up to a tenth of a second ago
        eventually(lambda: {answered(server) for _ in range(10)} == {told.count(200)})
        text = httpx.get(f"{server.address}/metrics").text

    workers = {dict(pairs)["worker"] for name, pairs in read(text) if name == "mlops_worker_memory_bytes"}
    assert len(workers) == 2


def answered(server: RunningServer) -> float:
    return value(httpx.get(f"{server.address}/metrics").text, "mlops_predictions_total", role="champion")


def known_names() -> set[str]:
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {f"{family.name}{suffix}" for family in FAMILIES.values() for suffix in suffixes[family.kind]}


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
