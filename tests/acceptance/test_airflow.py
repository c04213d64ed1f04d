"""The DAG of `examples/airflow`, run by a real Airflow in an environment of its own, on the product that `mlops new` drafts.

The platform is reached by its command alone, as from any other scheduler.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peer_environments import python_with
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState, Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "get_started.md").read_text(encoding="utf-8")
COMMAND = f"env PYTHONPATH={ROOT} {sys.executable} -m mlops_assets.cli.command"
# A retraining by age needs no drift; how fast a busy machine answers is not what this test is about
CHANGED = {"DriftPolicy(": "DriftPolicy(max_age=ml.weeks(2), ", "latency_p99(250)": "latency_p99(5_000)"}


@pytest.fixture(scope="module")
def airflow() -> Path:
    return python_with("airflow").with_name("airflow")


@pytest.fixture
def churn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductState:
    """The product of the page of the first five minutes with a first champion, in a folder of the user's own."""
    monkeypatch.chdir(tmp_path)
    script = re.search(r"^```python\n# make_customers\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    new = re.search(r"^    mlops (new .*)$", PAGE, re.MULTILINE)
    assert script is not None
    assert new is not None
    exec(compile(script[1], "make_customers.py", "exec"), {})
    succeed(f"{COMMAND} {new[1]}".split())
    drafted = Path("products/churn.py")
    text = drafted.read_text()
    for written, changed in CHANGED.items():
        assert written in text
        text = text.replace(written, changed)
    drafted.write_text(text)
    succeed(f"{COMMAND} replay churn --until-champion".split())
    # run, not imported: the module would stay in this process, where other tests look for a product of that name
    product = runpy.run_path(str(drafted))["churn"]
    assert isinstance(product, ModelProduct)
    return Workspace(tmp_path / "var" / "home").of(product)


def an_environment() -> dict[str, str]:
    """Of Airflow and of the command: nothing of the tests' own, and every file within the folder."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "PYTHON"))}
    return {
        **own,
        "AIRFLOW_HOME": str(Path("airflow-home").absolute()),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples" / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PRODUCT_FOLDER": str(Path.cwd()),
        "MLOPS_COMMAND": COMMAND,
    }


def run(command: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        env=an_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=900,
    )


def succeed(command: list[str | Path] | list[str]) -> str:
    done = run([*command])
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_dag_stores_decides_retrains_and_stops_at_a_broken_contract(airflow: Path, churn: ProductState):
    customers = Path("data/customers.parquet")
    succeed([airflow, "db", "migrate"])

    # Tuesdays, as in the README: a run of a Monday would take the place of the back-fill's run for the week that begins then
    quiet = succeed([airflow, "dags", "test", "churn", "2024-05-28"])
    aged = succeed([airflow, "dags", "test", "churn", "2024-06-04"])
    break_contract(customers, "2024-06-03", "2024-06-10")
    broken = run([airflow, "dags", "test", "churn", "2024-06-11"])

    weeks = ["2024-05-20", "2024-05-27"]
    assert churn.tables.keys("predictions") == weeks
    assert [churn.records.load(DriftDecision, week).action.value for week in weeks] == ["none", "retrain"]
    assert [(item.version, item.partition) for item in churn.ledger.history()] == [(1, "2024-05-20"), (2, "2024-06-03")]
    assert "Following branch set()" in quiet
    assert "Following branch {'retrain'}" in aged
    assert broken.returncode == 1
    assert (
        "raw.contract: customers: 336 of 336 rows (100.00%, limit 5.00%) would be quarantined, so nothing is stored: "
        "plan: 336 rows break 'is one of basic, plus, pro'"
    ) in broken.stdout
    assert "starting task_id=labels_are_due" not in broken.stdout
    assert churn.tables.keys("raw")[-1] == "2024-05-27"


def break_contract(file: Path, first: str, end: str) -> None:
    """In this week, somebody sells a plan that the product does not know."""
    import polars as pl

    rows = pl.read_parquet(file)
    is_within = pl.col("signed_up_at").is_between(
        pl.lit(first).str.to_datetime(), pl.lit(end).str.to_datetime(), "left"
    )
    rows.with_columns(plan=pl.when(is_within).then(pl.lit("gold")).otherwise("plan")).write_parquet(file)


RENDER = """
import datetime, sys, types
sys.path.insert(0, sys.argv[1])
import churn
template = churn.arrival.dag.get_template_env().from_string(f"{churn.ARRIVED} {churn.LABELLED}")
end, run = datetime.datetime(2024, 5, 27, tzinfo=datetime.UTC), types.SimpleNamespace(run_type=sys.argv[2])
print("rendered:", template.render(data_interval_end=end, macros=datetime, dag_run=run))
"""


@pytest.mark.parametrize(
    ("run_type", "moments"),
    [
        ("backfill", "2024-05-27T00:00:00+00:00 2024-05-28T00:00:00+00:00"),
        ("manual", "2024-05-27T00:00:00+00:00 2024-05-28T00:00:00+00:00"),
        # unpausing starts the newest week beside a back-fill: its moments would let every week of the past arrive at once
        ("scheduled", ""),
    ],
)
def test_a_run_of_the_schedule_moves_no_clock(
    airflow: Path, run_type: str, moments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    printed = succeed([airflow.with_name("python"), "-c", RENDER, ROOT / "examples" / "airflow", run_type])

    assert printed.splitlines()[-1].removeprefix("rendered:").strip() == moments
