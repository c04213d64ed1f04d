"""Every Python block of docs/serving.md, run in order against a server as a reader would have it."""

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from examples.flights.air_time import air_time
from mlops_assets.state.workspace import Workspace
from serving.metrics import Metrics
from tests.serving.running_api import a_server, eventually
from tests.tiny_bundle import deploy_tiny

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_s_code_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    deploy_tiny(workspace.of(air_time), 7, weight=1e-2, bias=30, baseline_row=(0.0,) * len(air_time.inputs))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_PRODUCT="air_time") as server:
        names: dict[str, Any] = {"ADDRESS": server.address, "HOME": tmp_path}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's client warns when it is imported
            for block in BLOCKS:
                exec(block, names)

        # answers reach the log within a tenth of a second
        reading = next(block for block in BLOCKS if "labelled" in block)

        def is_labelled() -> bool:
            exec(reading, names)
            return bool(names["labelled"].height == 1)

        eventually(is_labelled)

    assert len(BLOCKS) == 6
    # 30 + 0.01 x (2 + 7 + 4 + 103 + 1400 + 14 + 149), by every client
    assert capsys.readouterr().out.count("46.79") >= 5


def test_the_page_names_every_metric_and_no_other() -> None:
    named = set(re.findall(r"`(mlops_\w+?)(?:_total)?`", PAGE))

    assert named == {family.name for family in Metrics().registry.collect()}
