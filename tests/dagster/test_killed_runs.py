"""A retraining that is killed inside its steps leaves the old champion or the new one, whole, and a rerun goes on.

`benchmarks/kill_at_every_step.py` kills in every step, at more points."""

import shutil
import signal

import pytest

from mlops_assets.replay.runs import Replay
from mlops_assets.state.copying import FOLDERS, copy_state
from mlops_assets.state.workspace import ProductState, Workspace
from tests.dagster.builders import NEXT_WEEK
from tests.dagster.killing import (
    PRODUCT,
    Point,
    a_fork_server,
    alias_of_champion,
    half_written,
    left_running,
    what_serves,
)

BEFORE_ITS_MANIFEST = rf"create bundles/{PRODUCT.name}/\d+/manifest\.json"
BEFORE_THE_COPY_OF_ITS_ENTRY = rf"put ledger/{PRODUCT.name}\.json"


@pytest.fixture(params=["folder", "s3"])
def state(request: pytest.FixtureRequest, replay: Replay) -> ProductState:
    """The trained home with its state in the same folder, and with its state moved to a bucket."""
    if request.param == "folder":
        return replay.state
    workspace = Workspace(f"{request.getfixturevalue('bucket')}/state", replay.state.workspace.home)
    copy_state(replay.state.workspace.objects, workspace.objects)
    for folder in FOLDERS:
        shutil.rmtree(workspace.home / folder, ignore_errors=True)
    return workspace.of(replay.product)


@pytest.mark.timeout(900)  # four runs of the job in children, on a machine that may be busy
def test_killed_in_model_in_staging_and_in_deployment_one_champion_serves_whole_and_a_rerun_deploys(
    state: ProductState,
):
    old = what_serves(state)

    with a_fork_server() as server:
        # the other files of the bundle are there
        in_model = server.run(Point.of(state, NEXT_WEEK, "model", call=BEFORE_ITS_MANIFEST))
        assert (in_model.signal, in_model.in_step) == (signal.SIGKILL, "model"), in_model.said
        assert (what_serves(state), half_written(state)) == (old, [])

        # its servers answer
        in_staging = server.run(Point.of(state, NEXT_WEEK, "staging_report", call="measure_latency"))
        assert (in_staging.signal, in_staging.in_step) == (signal.SIGKILL, "staging_report"), in_staging.said
        assert left_running(in_staging) == []  # the API that it had started ended with it
        assert (what_serves(state), half_written(state)) == (old, [])

        # the entry of the ledger is written, and nobody else knows
        in_deployment = server.run(Point.of(state, NEXT_WEEK, "deployment", call=BEFORE_THE_COPY_OF_ITS_ENTRY))
        assert (in_deployment.signal, in_deployment.in_step) == (signal.SIGKILL, "deployment"), in_deployment.said
        between = what_serves(state)
        assert (between.partition, half_written(state)) == (NEXT_WEEK, [])
        assert alias_of_champion(state) == old.version

        rerun = server.run(Point.of(state, NEXT_WEEK))

    assert (rerun.signal, rerun.code) == (0, 0), rerun.said
    new = what_serves(state)
    assert (new.partition, new.model == old.model) == (NEXT_WEEK, False)
    assert alias_of_champion(state) == new.version
