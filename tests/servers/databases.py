"""Real Postgres and Redis on free ports of loopback, from the Debian packages; skipped with a word where absent."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.servers.processes import a_server, answers, free_port, unprivileged


@dataclass
class Server:
    """A database that can be killed in the middle of something and started again."""

    url: str
    process: "subprocess.Popen[bytes]"

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within the block it takes connections, and says nothing."""
        parts = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for part in parts:
            part.suspend()
        try:
            yield
        finally:
            for part in parts:
                part.resume()


def _postgres_programs() -> Path | None:
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(packaged[-1]) if packaged else shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def a_postgres(port: int | None = None) -> Iterator[Server]:
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("Postgres is not on this machine: install it with `apt-get install postgresql`")
    user = unprivileged("postgres")
    # its folder must be reachable for the user it runs as
    with TemporaryDirectory(prefix="postgres-") as folder:
        data, port = Path(folder) / "data", port or free_port()
        if user:
            shutil.chown(folder, user)
        initialise = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initialise, check=True, capture_output=True, user=user, cwd=folder)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        command = [str(programs / "postgres"), "-D", str(data), *(part for item in settings for part in ("-c", item))]
        with a_server(command, Path(folder) / "log", lambda: _is_up(programs, port), user) as process:
            yield Server(f"postgresql://tester@127.0.0.1:{port}/postgres", process)


def _is_up(programs: Path, port: int) -> bool:
    asked = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


@contextmanager
def a_redis(port: int | None = None) -> Iterator[Server]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not on this machine: install it with `apt-get install redis-server`")
    with TemporaryDirectory(prefix="redis-") as folder:
        port = port or free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with a_server(command, Path(folder) / "log", lambda: answers(port)) as process:
            yield Server(f"redis://127.0.0.1:{port}/0", process)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with a_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    with a_redis() as running:
        yield running
