"""A staging server: the API in a process of its own with one pinned bundle, and why it does not answer."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets.errors import Inconclusive, PlatformError, StagingFailed
from mlops_assets.products import catalog
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle

SERVE = (sys.executable, "-m", "serving")
REQUEST_SECONDS = 60.0
LOG_CHARACTERS = 2_000  # of the end of its log, for error messages
KILLED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)  # exit codes that say nothing about the bundle


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server that starts: as long as it makes progress, that is uses a processor or writes to its log,
    but no longer than `start_seconds` in total."""

    stall_seconds: float = 60.0
    start_seconds: float = 900.0


@dataclass
class StagedServer:
    """name: how error messages call it. log: the file with its output. started: reading of `time.perf_counter`."""

    name: str
    address: str
    process: "subprocess.Popen[bytes]"
    log: Path
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_ready(self, patience: Patience) -> float:
        """Returns the seconds since it was launched.

        Raises StagingFailed if it exited or cannot open its bundle, Inconclusive if it made no progress or was killed from
        outside."""
        import httpx

        progress, since = self._progress(), time.monotonic()
        while self.process.poll() is None:
            try:
                answer = httpx.get(f"{self.address}/health/ready", timeout=5)
            except httpx.TransportError:
                pass  # not listening yet, or too busy to answer
            else:
                if answer.status_code == 200:
                    return time.perf_counter() - self.started
                if "failed" in answer.json().get("products", {}).values():
                    raise StagingFailed(f"{self.name} cannot open its bundle: {self.in_words()}")
            now = time.monotonic()
            if (newer := self._progress()) != progress:
                progress, since = newer, now
            if now - since > patience.stall_seconds:
                raise Inconclusive(f"{self.name} made no progress for {now - since:.0f} s: {self.in_words()}")
            if (waited := time.perf_counter() - self.started) > patience.start_seconds:
                raise Inconclusive(f"{self.name} was still starting after {waited:.0f} s: {self.in_words()}")
            time.sleep(0.05)
        raise self.fault("did not get ready")

    def request(self, client: Any, method: str, route: str, body: object = None) -> Any:
        """The response, whatever its status. Raises StagingFailed or Inconclusive if there was none."""
        import httpx

        try:
            return client.request(method, self.address + route, json=body)
        except httpx.TransportError as error:
            cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise self.fault(f"did not answer {method} {route} ({cause})") from error

    def predict(self, client: Any, route: str, rows: Sequence[object]) -> dict[str, Any]:
        """Raises StagingFailed if it refused the request, Inconclusive if it answered 503 (try again later)."""
        answer = self.request(client, "POST", route, {"rows": list(rows)})
        if answer.status_code in (200, 201):
            return dict(answer.json())
        kind = Inconclusive if answer.status_code == 503 else StagingFailed
        raise kind(f"{self.name}: POST {route} answered {answer.status_code}: {answer.text[:1_000]}")

    def fault(self, what: str) -> PlatformError:
        """StagingFailed if the process exited by itself; Inconclusive if it still runs or was killed from outside."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)  # a connection may break just before its process exits
        code = self.process.returncode
        kind = Inconclusive if code is None or code in KILLED_FROM_OUTSIDE else StagingFailed
        return kind(f"{self.name} {what}: {self.in_words()}")

    def in_words(self) -> str:
        """Whether it runs or how it ended, and the end of its log."""
        code = self.process.poll()
        if code is None:
            state = "it still runs"
        elif code < 0:
            state = f"it was ended by {signal.Signals(-code).name}"
        else:
            state = f"it ended with exit code {code}"
        output = self.log.read_text(errors="replace")[-LOG_CHARACTERS:].strip()
        return f"{state}. Its log ends with: {output}" if output else f"{state} and its log is empty"

    def _progress(self) -> tuple[float, int]:
        """The processor time it used, and the size of its log."""
        import psutil

        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0, 0  # it has just exited, and the caller reads its exit code next
        return times.user + times.system, self.log.stat().st_size


@contextmanager
def launched(
    product: ModelProduct, bundle: Bundle, name: str = "the staging server", command: Sequence[str] = SERVE
) -> Iterator[StagedServer]:
    """The API with only this bundle on a free port; it ends with the block, and with this process."""
    with tempfile.TemporaryDirectory(prefix="staging-") as folder:
        port, log = free_port(), Path(folder) / "server.log"
        bundle.copy_to(Path(folder) / "bundle")
        # settings of the installation, such as its keys and limits, do not apply to a private server
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith("MLOPS_") or key in catalog.VARIABLES
        }
        environment = {
            **inherited,
            "MLOPS_HOME": str(Path(folder) / "home"),
            "MLOPS_HOST": "127.0.0.1",
            "MLOPS_PORT": str(port),
            "MLOPS_PRODUCT": product.name,
            "MLOPS_BUNDLE": str(Path(folder) / "bundle"),
            "MLOPS_PARENT": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # the user's own folder `serving` is not ours
        }
        started = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(list(command), env=environment, stdout=output, stderr=output)
        try:
            yield StagedServer(name, f"http://127.0.0.1:{port}", process, log, started)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
