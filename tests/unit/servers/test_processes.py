"""The demo's servers: on free ports, ended with everything they started, and never silently dead."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlops_assets.errors import PlatformError
from mlops_assets.servers import processes
from mlops_assets.servers.processes import HOST, Servers, free_port, reserved

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
BROKEN = """
print("x" * 5_000)
raise SystemExit("cannot open the store: the disk is full")
"""
ANSWERING = """
import http.server, sys
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Servers that find the modules of this file."""
    for name, code in (("parent", PARENT), ("broken", BROKEN), ("answering", ANSWERING)):
        (tmp_path / f"{name}_of_test.py").write_text(code)
    with Servers(tmp_path / "logs", {"PYTHONPATH": str(tmp_path)}) as running:
        yield running


@pytest.fixture
def listening() -> Iterator[int]:
    """A port on which somebody listens already."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        yield taken.getsockname()[1]


def eventually(said: Path) -> str:
    """What a server wrote, once it wrote a line."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (text := said.read_text()).endswith("\n"):
            return text
        time.sleep(0.02)
    raise AssertionError(f"nothing in {said}")


def test_a_port_that_is_free_is_taken_as_preferred():
    preferred = free_port(21_000, lambda _: None)
    told: list[str] = []

    assert free_port(preferred, told.append) == preferred
    assert told == []


def test_a_port_that_is_taken_is_replaced_by_the_next_free_one_and_that_is_told(listening):
    told: list[str] = []

    port = free_port(listening, told.append)

    assert listening < port < listening + 100
    (sentence,) = told
    assert sentence.startswith(f"port {listening} is used by")
    assert sentence.endswith(f"using {port}")


def test_stopping_ends_a_server_and_the_child_it_leaves_behind(servers, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)  # the child does not hear the interrupt of its parent
    server = servers.start("parent", ["parent_of_test"], 1, signal.SIGINT)
    child = psutil.Process(int(eventually(server.log)))

    servers.stop()

    assert server.process.returncode is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert servers.running == []


def test_leaving_the_block_ends_what_runs(tmp_path):
    (tmp_path / "parent_of_test.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    with Servers(tmp_path / "logs", {"PYTHONPATH": str(tmp_path)}) as running:
        server = running.start("sleeper", ["parent_of_test"], 1, signal.SIGINT)
        eventually(server.log)
        assert server.process.poll() is None

    assert server.process.poll() is not None


def test_a_long_log_makes_place_for_a_new_one_when_its_server_is_started_again(servers, monkeypatch):
    monkeypatch.setattr(processes, "MOST_LOG_BYTES", 10)
    log, former = (servers.folder / name for name in ("parent.log", "parent.log.former"))
    servers.folder.mkdir()
    log.write_text("1234567890")
    eventually(servers.start("parent", ["parent_of_test"], 1, signal.SIGINT).log)  # no more than 10: it is added to
    assert not former.exists()

    said = eventually(servers.start("parent", ["parent_of_test"], 1, signal.SIGINT).log)

    assert former.read_text().startswith("1234567890")
    assert not said.startswith("1234567890")


def test_a_server_that_answers_is_told_with_its_address(servers):
    port = free_port(22_000, lambda _: None)
    told: list[str] = []
    server = servers.start("answering", ["answering_of_test", str(port)], port, signal.SIGINT)

    servers.wait_for(server, "/", 20, told.append)

    assert told == [f"answering answers on http://127.0.0.1:{port}"]


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(servers):
    server = servers.start("broken", ["broken_of_test"], free_port(23_000, lambda _: None), signal.SIGINT)

    with pytest.raises(PlatformError) as caught:
        servers.wait_for(server, "/", 20, lambda _: None)

    said = str(caught.value)
    assert said.startswith(f"broken ended with exit code 1. The end of {server.log}:\n")
    assert said.strip().endswith("cannot open the store: the disk is full")
    assert len(said) < 2_000


def test_a_server_that_stays_silent_is_told_from_one_that_ended(servers):
    server = servers.start("parent", ["parent_of_test"], free_port(24_000, lambda _: None), signal.SIGINT)
    child = psutil.Process(int(eventually(server.log)))

    with pytest.raises(PlatformError, match=r"parent did not answer within 0 s. The end of"):
        servers.wait_for(server, "/", 0.3, lambda _: None)

    child.kill()


def test_no_other_program_can_take_a_port_that_is_held_for_a_server():
    port = free_port(25_000, lambda _: None)

    with reserved([port]):
        assert free_port(port, lambda _: None) != port

    assert free_port(port, lambda _: None) == port


def test_a_port_that_is_taken_is_not_held(listening):
    with pytest.raises(PlatformError, match=rf"port {listening} is used by .*process \d+"), reserved([listening]):
        pass


def test_what_another_program_answers_on_the_port_of_a_server_is_not_taken_for_its_own(servers):
    port = free_port(26_000, lambda _: None)
    servers.wait_for(servers.start("answering", ["answering_of_test", str(port)], port, signal.SIGINT), "/", 20, print)
    silent = servers.start("parent", ["parent_of_test"], port, signal.SIGINT)

    with pytest.raises(PlatformError, match=r"parent did not answer within 1 s"):
        servers.wait_for(silent, "/", 1, lambda _: None)
