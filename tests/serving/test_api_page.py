"""What the API says of itself: models, versions, health, OpenAPI document and page."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from examples.flights.flight_features import weather_at_departure
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME
from mlops_assets.state.workspace import Workspace
from serving.settings import PinnedBundle
from tests.serving.running_api import Json, a_client
from tests.tiny_bundle import deploy_tiny, write_tiny_folder

OTHER_PIPELINES = [f"mlops_assets.{folder}" for folder in ("data", "training", "testing", "inference", "monitoring")]
FORBIDDEN = ["dagster", "mlflow", "sklearn", "evidently", "pandas", "resources", "sensors", *OTHER_PIPELINES]


def test_importing_the_api_brings_none_of_the_other_pipelines_in() -> None:
    code = f"import sys, serving.__main__; print([name for name in {FORBIDDEN!r} if name in sys.modules])"

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


def test_the_document_shows_real_fields_with_unit_range_choices_and_example(workspace: Workspace) -> None:
    with a_client(workspace) as client:
        document = client.get("/schema/openapi.json").json()

    assert {"/v1/models/flight_delay/predict", "/v1/models/air_time/predict", "/v1/models"} <= set(document["paths"])
    schemas = document["components"]["schemas"]
    properties = schemas["FlightDelayRow"]["properties"]
    assert properties["distance"]["description"] == "between the airports [mi]"
    assert (properties["distance"]["minimum"], properties["distance"]["maximum"]) == (1, 6_000)
    assert properties["distance"]["examples"] == [1400]
    assert properties["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    assert (properties["seats"]["minimum"], properties["seats"]["maximum"]) == (1, 900)
    assert sorted(schemas["FlightDelayRow"]["required"]) == sorted(flight_delay.request)
    assert "value" in schemas["RegressionPrediction"]["required"]


def test_the_page_needs_nothing_from_elsewhere(workspace: Workspace) -> None:
    with a_client(workspace) as client:
        page = client.get("/schema").text

    assert "between the airports [mi]" in page
    assert "src=" not in page
    assert "<link" not in page


def test_the_example_of_the_document_is_a_valid_request(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace) as client:
        row = client.get("/schema/openapi.json").json()["components"]["schemas"]["FlightDelayRow"]
        example = {name: row["properties"][name]["examples"][0] for name in row["required"]}

        answer = client.post("/v1/models/flight_delay/predict", json={"rows": [example]})

    assert answer.status_code == 200


def test_the_models_are_listed_with_their_versions(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), version=4)
    with a_client(workspace) as client:
        models = client.get("/v1/models").json()["models"]

    assert [(model["product"], model["state"], model["version"]) for model in models] == [
        ("flight_delay", "serving", 4),
        ("air_time", "no champion", None),
    ]


def test_a_model_tells_version_metrics_inputs_and_how_fresh_its_online_features_are(workspace: Workspace) -> None:
    deployment = deploy_tiny(workspace.of(flight_delay), version=4)
    observed = datetime(2013, 7, 4, 9, tzinfo=UTC)
    values = dict.fromkeys(weather_at_departure.names, 1.0)
    newest = {"origin": "EWR", EVENT_TIME: observed, CREATED_TIME: observed + timedelta(hours=1), **values}
    workspace.online.write("flight_delay", weather_at_departure, pl.DataFrame([newest]))

    with a_client(workspace) as client:
        model = client.get("/v1/models/flight_delay").json()

    assert model["state"] == "serving"
    assert (model["version"]["version"], model["version"]["metrics"]) == (4, {"roc_auc": 0.7})
    assert datetime.fromisoformat(model["version"]["deployed_at"]) == deployment.deployed_at
    assert [item["name"] for item in model["inputs"]] == list(flight_delay.feature_names)
    freshness = {view["name"]: view["newest_event"] for view in model["online_features"]}
    assert freshness["weather_at_departure"] == "2013-07-04T09:00:00Z"
    assert freshness["congestion"] is None
    assert model["prediction_log"]["is_writing"] is True


def test_the_process_is_alive_and_ready_without_any_champion(workspace: Workspace) -> None:
    with a_client(workspace) as client:
        ready = client.get("/health/ready")
        assert client.get("/health/live").json() == {"status": "alive"}

    assert ready.json()["products"] == {"flight_delay": "no champion", "air_time": "no champion"}


def test_the_root_lists_addresses_that_exist(workspace: Workspace) -> None:
    with a_client(workspace) as client:
        addresses = client.get("/").json()
        statuses = {name: client.get(address).status_code for name, address in addresses.items() if name != "reports"}

    assert set(statuses.values()) == {200}


def test_reports_are_served_as_files(workspace: Workspace) -> None:
    workspace.of(flight_delay).reports.save("data_drift", "2013-05-06", "<p>drift</p>")
    (workspace.home / "secret.html").write_text("not a report")

    with a_client(workspace) as client:
        answer = client.get("/reports/flight_delay/data_drift/2013-05-06.html")
        outside = client.get("/reports/..%2fsecret.html")

    assert (answer.status_code, answer.text) == (200, "<p>drift</p>")
    assert answer.headers["content-type"].startswith("text/html")
    assert outside.status_code == 404


def test_a_pinned_bundle_is_served_alone_whatever_the_ledger_says(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), version=1)
    deploy_tiny(workspace.of(air_time), version=1)
    folder = workspace.home / "challenger"
    write_tiny_folder(folder, air_time, version=9, bias=120)

    with a_client(workspace, pinned=PinnedBundle("air_time", folder)) as client:
        answer = client.post("/v1/models/air_time/predict", json={"rows": [row]}).json()
        other = client.post("/v1/models/flight_delay/predict", json={"rows": [row]})

    assert answer["version"] == 9
    assert answer["predictions"][0]["value"] == 120
    assert other.status_code == 404
    assert workspace.predictions().read("air_time").is_empty()
    assert workspace.predictions("pinned").read("air_time")["version"].to_list() == [9]


def test_an_answer_carries_the_request_id_it_was_given(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace) as client:
        answer = client.post(
            "/v1/models/flight_delay/predict", content=json.dumps({"rows": [row]}), headers={"x-request-id": "abc"}
        )

    assert (answer.json()["request_id"], answer.headers["x-request-id"]) == ("abc", "abc")
