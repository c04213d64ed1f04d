"""A retraining that is killed inside its steps leaves the old champion or the new one, whole, and a rerun goes on.

`benchmarks/kill_at_every_step.py` kills in every step, at more points."""

import signal

import pytest

from mlops_assets.replay.runs import Replay
from tests.dagster.builders import NEXT_WEEK
from tests.dagster.killing import Point, a_fork_server, alias_of_champion, half_written, left_running, what_serves


@pytest.mark.timeout(900)  # four runs of the job in children, on a machine that may be busy
def test_killed_in_model_in_staging_and_in_deployment_one_champion_serves_whole_and_a_rerun_deploys(replay: Replay):
    state, root = replay.state, str(replay.state.workspace.home)
    old = what_serves(state)

    with a_fork_server() as server:
        # some files of the bundle are there, its manifest is not
        in_model = server.run(Point(root, NEXT_WEEK, "model", line=900))
        assert (in_model.signal, in_model.in_step) == (signal.SIGKILL, "model")
        assert (what_serves(state), half_written(state)) == (old, [])

        # its servers answer
        in_staging = server.run(Point(root, NEXT_WEEK, "staging_report", line=29_500))
        assert (in_staging.signal, in_staging.in_step) == (signal.SIGKILL, "staging_report")
        assert left_running(in_staging) == []  # the API that it had started ended with it
        assert (what_serves(state), half_written(state)) == (old, [])

        # the entry of the ledger is written, and nobody else knows
        in_deployment = server.run(Point(root, NEXT_WEEK, "deployment", line=870))
        assert (in_deployment.signal, in_deployment.in_step) == (signal.SIGKILL, "deployment")
        between = what_serves(state)
        assert between == old or between.partition == NEXT_WEEK
        assert half_written(state) == []

        rerun = server.run(Point(root, NEXT_WEEK))

    assert (rerun.signal, rerun.code) == (0, 0), rerun.said
    new = what_serves(state)
    assert (new.partition, new.model == old.model) == (NEXT_WEEK, False)
    assert alias_of_champion(state) == new.version
