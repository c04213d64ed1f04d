"""The loop without a human: the short form of `benchmarks/unattended.py`, with real servers that are killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "unattended.py"
PATIENCE_SECONDS = 1_500


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_SECONDS + 120)
def test_nothing_that_breaks_stops_the_loop_or_loses_an_answer():
    said = run_unattended("--quick")

    figures = json.loads(said.splitlines()[-1])
    assert figures["faults_injected"] >= 8, said
    assert figures["faults_not_healed"] == 0, said
    assert (figures["periods_lost"], figures["stands_still"]) == (0, 0), said
    assert figures["deployments"] >= 2, said
    assert figures["double_deployments"] == 0, said
    assert figures["predictions_acknowledged"] > 0, said
    assert (figures["predictions_lost"], figures["labels_lost"]) == (0, 0), said


def run_unattended(*arguments: str) -> str:
    """What it printed. Ended by SIGTERM when it takes too long, so that it ends the servers it started."""
    command = [sys.executable, str(BENCHMARK), *arguments]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate()
            sys.stderr.write(said)  # pytest shows it with the failure
            raise
    assert process.returncode == 0, said
    return said
