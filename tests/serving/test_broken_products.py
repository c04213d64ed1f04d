"""A product whose file cannot be used, or that nothing is deployed of, is named and holds no other one up."""

from pathlib import Path
from tempfile import TemporaryFile

import httpx

from examples.flights.air_time import air_time
from mlops_assets.state.workspace import Workspace
from tests.serving.conftest import a_row
from tests.serving.running_api import a_server
from tests.tiny_bundle import deploy_tiny


def test_a_broken_product_and_one_without_a_champion_are_named_while_the_others_are_ready(
    workspace: Workspace, tmp_path: Path
):
    (tmp_path / "flights.py").write_text("from examples.flights.catalog import CATALOG\n")
    (tmp_path / "churn.py").write_text("from mlops_assets import ModelProduct\n\nchurn = ModelProduct(nam='churn')\n")
    deploy_tiny(workspace.of(air_time), 1)

    with TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_PRODUCTS_DIR=str(tmp_path)) as server:
        ready = httpx.get(f"{server.address}/health/ready")
        answer = httpx.post(f"{server.address}/v1/models/air_time/predict", json={"rows": [a_row()]})

    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert ready.json()["products"] == {"flight_delay": "no champion", "air_time": "serving"}
    assert list(ready.json()["broken"]) == ["churn"]
    assert ready.json()["broken"]["churn"].startswith(
        "TypeError: ModelProduct.__init__() got an unexpected keyword argument 'nam' (line 3 of "
    )
    assert answer.json()["version"] == 1
