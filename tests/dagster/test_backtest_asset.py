"""A backtest on a really trained home: it says what was decided, and changes nothing."""

import hashlib
from pathlib import Path

import pytest

from mlops_assets.monitoring.backtest import run_backtest
from mlops_assets.monitoring.plans import Plan
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.state.copying import copy_state
from mlops_assets.state.objects import objects_at
from mlops_assets.state.workspace import Workspace
from tests.dagster.builders import NEXT_WEEK, SERVED_WEEK, materialize, newest_metadata


@pytest.fixture
def lived(replay: Replay) -> Replay:
    """Two weeks that were served and decided."""
    product = replay.product
    week = product.period.at(NEXT_WEEK)
    for moment, sensors in ((week.end, ["new_data"]), (week.end + product.label.delay, ["labels", "drift"])):
        replay.at(moment)
        for sensor in sensors:
            for result in replay.tick(sensor):
                expect_success(result)
    return replay


def content(root: Path) -> dict[str, str]:
    """Hash of every file that the platform keeps."""
    kept = [path for path in root.rglob("*") if path.is_file() and "dagster" not in path.relative_to(root).parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def test_replaying_the_shipped_policy_gives_exactly_the_recorded_decisions(lived):
    found = run_backtest(lived.state, Plan("shipped", lived.product.drift))

    recorded = [lived.state.records.load(DriftDecision, key) for key in (SERVED_WEEK, NEXT_WEEK)]
    assert [(item.period, item.action, item.reading, item.reason) for item in found.periods] == [
        (item.period, item.action, item.reading, item.reason) for item in recorded
    ]


def test_a_backtest_touches_no_store(lived):
    before = content(lived.state.workspace.home)

    run_backtest(lived.state, Plan("every period", lived.product.drift, every=1))

    assert content(lived.state.workspace.home) == before


def test_the_two_ends_train_never_and_every_period(lived):
    never = run_backtest(lived.state, Plan("never", lived.product.drift, every=0))
    always = run_backtest(lived.state, Plan("every period", lived.product.drift, every=1))

    assert (never.trained, always.trained) == (1, 3)  # the first champion, and one after each of two weeks


def test_the_asset_shows_the_plans_as_a_table_and_a_picture(lived):
    result = materialize(lived, "backtest", key=None, backtest={"policies": ["agreeing_periods=1"]})

    assert result.success
    shown = newest_metadata(lived, "backtest")
    for plan in ("shipped", "agreeing_periods=1", "never", "every period"):
        assert f"| {plan} |" in shown["plans"]
    assert shown["plot"].startswith("![plot](data:image/png;base64,")
    assert shown["periods"] == 2


def test_a_backtest_on_a_bucket_gives_what_it_gives_on_the_folder(lived: Replay, bucket: str, tmp_path: Path) -> None:
    workspace = lived.state.workspace
    copy_state(workspace.objects, objects_at(bucket))
    plan = Plan("every period", lived.product.drift, every=1)

    on_the_folder = run_backtest(lived.state, plan)
    on_the_bucket = run_backtest(Workspace(bucket, tmp_path / "local").of(lived.product), plan)

    assert on_the_bucket.periods == on_the_folder.periods
    assert (on_the_bucket.trained, on_the_bucket.deployed) == (on_the_folder.trained, on_the_folder.deployed) == (3, 2)
