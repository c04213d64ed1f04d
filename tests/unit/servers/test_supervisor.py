"""`mlops up` starts a server again that ended, says so, and is the only one on its home."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mlops_assets.errors import StillRunning
from mlops_assets.servers.processes import Servers, exit_in_words, free_port
from mlops_assets.servers.supervisor import Supervisor, end_left_servers, only_one, write_server_list

RUNNING = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"
ENDING = "raise SystemExit('the port is taken')\n"
HOLDING = """
import sys, time
from pathlib import Path
from mlops_assets.servers.supervisor import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    for name, code in (("running", RUNNING), ("ending", ENDING)):
        (tmp_path / f"{name}_of_test.py").write_text(code)
    with Servers(tmp_path / "logs", {"PYTHONPATH": str(tmp_path)}) as running:
        yield running


def test_a_server_that_was_killed_is_started_again_at_once_and_that_is_said(servers: Servers):
    told: list[str] = []
    first = servers.start("api", ["running_of_test"], 1, signal.SIGTERM)
    first.process.kill()
    first.process.wait()

    Supervisor(servers, told.append).check()

    (second,) = servers.running
    assert second.process.poll() is None
    assert second.process.pid != first.process.pid
    assert told[0].startswith(f"api ended with signal 9 and is restarted. The end of {first.log}:\n")
    assert told[1] == "api was restarted (start 2)"


def test_a_server_that_ends_again_and_again_is_waited_for_longer_each_time(servers: Servers):
    told: list[str] = []
    supervisor = Supervisor(servers, told.append)
    servers.start("api", ["ending_of_test"], 1, signal.SIGTERM)

    for _ in range(2):
        servers.running[0].process.wait()
        supervisor.check()
    servers.running[0].process.wait()

    # at once, then after a second: it is not started before that second is over
    assert [sentence.partition(". ")[0] for sentence in told] == [
        "api ended with exit code 1 and is restarted",
        "api was restarted (start 2)",
        "api ended with exit code 1 and is restarted in 1 s",
    ]
    assert "the port is taken" in told[0]


def test_a_server_is_said_to_answer_once_and_again_after_a_restart(servers: Servers):
    reports: list[str] = []
    supervisor = Supervisor(servers, reports.append, {"webserver": "/"})
    port = free_port(25_000, lambda _: None)
    server = servers.start("webserver", ["http.server", "--bind", "127.0.0.1", str(port)], port, signal.SIGTERM)
    assert reports == []  # it has only been started

    check_until(supervisor, lambda: reports)
    supervisor.check()
    assert reports == [f"webserver answers on http://127.0.0.1:{port}"]

    server.process.kill()
    server.process.wait()
    check_until(supervisor, lambda: len(reports) == 4)
    assert reports[2:] == ["webserver was restarted (start 2)", f"webserver answers on http://127.0.0.1:{port}"]


def test_notifications_are_reported_once(servers: Servers):
    reports: list[str] = []
    new = [["churn: version 2 needs rework"], []]
    supervisor = Supervisor(servers, reports.append, notifications=lambda: new.pop(0))

    supervisor.check()
    supervisor.check()

    assert reports == ["churn: version 2 needs rework"]


def check_until(supervisor: Supervisor, is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.02)


def test_servers_that_run_are_left_alone(servers: Servers):
    told: list[str] = []
    server = servers.start("api", ["running_of_test"], 1, signal.SIGTERM)

    Supervisor(servers, told.append).check()

    assert (servers.running, told) == ([server], [])


def test_a_second_one_on_the_same_home_is_refused_and_told_who_holds_it(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        with (
            pytest.raises(StillRunning, match=rf"already runs on {tmp_path} \(process {other.pid}\)"),
            only_one(tmp_path),
        ):
            pass
        other.kill()
        other.wait()

        # a killed one holds nothing
        with only_one(tmp_path):
            pass


def test_what_a_killed_one_left_running_is_ended_by_the_next(servers: Servers, tmp_path: Path):
    told: list[str] = []
    server = servers.start("daemon", ["running_of_test"], 1, signal.SIGTERM)
    write_server_list(servers.running, tmp_path / "servers.json")

    end_left_servers(tmp_path / "servers.json", told.append)

    assert not psutil.pid_exists(server.process.pid)
    assert told == [f"ending daemon (process {server.process.pid}), which a killed `mlops up` left running"]
    assert not (tmp_path / "servers.json").exists()


def test_runs_of_a_code_server_that_was_left_running_carry_on(servers: Servers, tmp_path: Path):
    parent = "import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-m', 'running_of_test'])\n"
    (tmp_path / "parent_of_test.py").write_text(parent + "print(child.pid, flush=True)\ntime.sleep(60)\n")
    server = servers.start("code", ["parent_of_test"], 1, signal.SIGTERM)
    write_server_list(servers.running, tmp_path / "servers.json")
    deadline = time.monotonic() + 20
    while not (said := server.log.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    run = psutil.Process(int(next(word for word in said if word.isdecimal())))

    end_left_servers(tmp_path / "servers.json", lambda _: None)

    assert not psutil.pid_exists(server.process.pid)
    assert run.is_running()
    run.kill()


@pytest.mark.parametrize(("code", "words"), [(-9, "signal 9"), (1, "exit code 1"), (0, "exit code 0")])
def test_how_a_server_ended_in_words(code: int, words: str):
    assert exit_in_words(code) == words
