"""What the Dockerfile puts into the image is what the API needs. There is no Docker here, so it is put into a folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.catalog import VARIABLES
from mlops_assets.state.workspace import Workspace
from tests.serving.conftest import a_row
from tests.tiny_bundle import deploy_tiny, write_tiny_folder

ROOT = Path(__file__).parents[2]
# answers one row in a process that finds only the packages of the image, as if no others were installed
ANSWERING = """
import asyncio, importlib.abc, json, sys

class NotInTheImage(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

tree, body, absent = sys.argv[1:]
ABSENT = set(json.loads(absent))
sys.path[:] = [path for path in sys.path if path != tree]
sys.meta_path.insert(0, NotInTheImage())

import httptools, uvloop
import serving.__main__
from serving.app import create_app
from serving.settings import from_environment

app = create_app(from_environment())
scope = {
    "type": "http", "method": "POST", "path": "/v1/models/flight_delay/predict", "raw_path": b"", "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    "scheme": "http", "http_version": "1.1", "root_path": "",
}

async def ask():
    statuses = []
    async def receive():
        return {"type": "http.request", "body": body.encode(), "more_body": False}
    async def send(message):
        statuses.extend([message["status"]] if message["type"] == "http.response.start" else [])
    async with app.lifespan():
        while 200 not in statuses and len(statuses) < 500:
            await app(dict(scope), receive, send)
            await asyncio.sleep(0.02)
    return statuses[-1]

print(asyncio.run(ask()), serving.__file__)
"""


def copied() -> list[str]:
    """Sources of the COPY lines that come from this tree."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1] if not source.startswith("$")]


@pytest.mark.parametrize("where", ["pinned", "bucket"])
def test_the_files_of_the_image_and_its_packages_are_enough_to_answer(tmp_path: Path, bucket: str, where: str) -> None:
    for source in copied():
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target)
        else:
            shutil.copy(ROOT / source, target)
    variables = {"MLOPS_PRODUCT": "flight_delay", "MLOPS_HOME": str(tmp_path / "home")}
    if where == "pinned":
        write_tiny_folder(tmp_path / "bundle", flight_delay)
        variables["MLOPS_BUNDLE"] = str(tmp_path / "bundle")
    else:
        deploy_tiny(Workspace(bucket, tmp_path / "elsewhere").of(flight_delay))
        variables["MLOPS_STATE"] = bucket

    body = json.dumps({"rows": [a_row()]})

    ended = subprocess.run(
        [sys.executable, "-c", ANSWERING, str(ROOT), body, json.dumps(absent())],
        cwd=tmp_path,
        env={**{name: value for name, value in os.environ.items() if name not in VARIABLES}, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["200", str(tmp_path / "serving" / "__init__.py")]


def absent() -> list[str]:
    """Modules that are installed here and not in the image."""
    lock = (ROOT / "requirements" / "serving.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    return [
        module
        for module, names in packages_distributions().items()
        if not {name.lower().replace("_", "-") for name in names} & {*locked, "mlops-assets", "pip", "setuptools"}
    ]


def test_the_image_starts_the_same_entry_point_as_everybody() -> None:
    assert 'ENTRYPOINT ["python", "-m", "serving"]' in (ROOT / "Dockerfile").read_text()
