"""Kills the real partition job in children, at a moment or at a line inside one of its steps, and looks what is left.

    python -m tests.dagster.killing

is a fork server, so that a child does not pay for imports: it reads one `Point` as JSON a line and answers with one `Ended`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np

from mlops_assets.features.opening import open_bundle
from mlops_assets.inference import promotion
from mlops_assets.replay.runs import WITHOUT_REPORTS
from mlops_assets.state import bucket, bundles, folder, ledger, model_registry, records, tables
from mlops_assets.state.model_registry import CHAMPION, ModelRegistry
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing import staged_server, staging
from mlops_assets.training import register
from sensors.selections import retraining
from tests.dagster.builders import SERVED_WEEK, a_replay, a_small_product

PRODUCT = a_small_product()
STEPS = ("training_set", "model", "test_report", "staging_report", "acceptance", "deployment")
# where everything that survives a process is written or started
STORES = (bucket, bundles, folder, ledger, model_registry, records, tables)
WRITERS = (*STORES, promotion, register, staged_server, staging)
WATCHED = {module.__file__ for module in WRITERS}
STARTED = re.compile(rf" - {PRODUCT.name}__(\w+) - STEP_START ")
ENDED = re.compile(rf" - {PRODUCT.name}__(\w+) - STEP_SUCCESS ")
COUNTED = re.compile(r"^lines of (\w+): (\d+)$")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Point:
    """Where to kill a run of the partition's job: `seconds` into a step, at the `line`-th line of the writers that is run in
    it, or before a call of the writers that the expression `call` matches; without any of them the run ends by itself.

    url, home: of the workspace. call: as "<function> <object>", such as `create bundles/.*/manifest.json`."""

    url: str
    home: str
    key: str
    step: str = ""
    seconds: float | None = None
    line: int | None = None
    call: str = ""

    @classmethod
    def of(
        cls,
        state: ProductState,
        key: str,
        step: str = "",
        *,
        seconds: float | None = None,
        line: int | None = None,
        call: str = "",
    ) -> "Point":
        workspace = state.workspace
        return cls(workspace.objects.url, str(workspace.home), key, step, seconds, line, call)


@dataclass(frozen=True)
class Ended:
    """signal: what ended the child, 0 for none. in_step: the step it was in, "" between two of them. code: its exit code.
    seconds, lines: of each step that ended. said: the last lines it wrote. group: of the processes it left behind."""

    signal: int
    code: int
    in_step: str
    seconds: dict[str, float]
    lines: dict[str, int]
    said: str
    group: int


@dataclass(frozen=True)
class Champion:
    """What serves, opened with every checksum checked and asked about a week of rows."""

    version: int
    partition: str
    model: str
    answers: tuple[float, ...]


# --- the side that asks


@dataclass
class ForkServer:
    process: "subprocess.Popen[str]"

    def run(self, point: Point) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(point)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the fork server ended"
        return Ended(**json.loads(answer))


@contextmanager
def a_fork_server() -> Iterator[ForkServer]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.dagster.killing"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "MLFLOW_LOGGING_LEVEL": "WARNING"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield ForkServer(process)
        assert process.stdin is not None
        process.stdin.close()


def what_serves(state: ProductState) -> Champion:
    """Raises what a client would meet: no champion, a bundle that is not whole, an answer that is none."""
    deployed = state.ledger.champion()
    bundle = open_bundle(state, deployed.version)
    rows = state.tables.read("features", [SERVED_WEEK]).head(200)
    answers = bundle.predict(rows)
    if not (np.isfinite(answers).all() and ((answers >= 0) & (answers <= 1)).all()):
        raise AssertionError(f"version {deployed.version} answers {answers}")
    model = bundle.manifest.checksums["model.onnx"]
    return Champion(deployed.version, deployed.partition, model, tuple(answers.tolist()))


def alias_of_champion(state: ProductState) -> int | None:
    workspace = state.workspace
    return ModelRegistry(workspace.mlflow_store, workspace.mlflow_artifacts).version_with(PRODUCT.name, CHAMPION)


def half_written(state: ProductState) -> list[str]:
    """Bundles that can be seen under a version's number and are not whole."""
    broken = []
    for version in state.bundles.versions():
        try:
            open_bundle(state, version)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
            broken.append(f"{version}: {error}")
    return broken


def left_running(ended: Ended) -> list[int]:
    """Processes of the killed child's group that still live after two seconds; they are ended."""
    import psutil

    found: list[int] = []
    for _ in range(20):
        found = []
        for process in psutil.process_iter(["pid", "status"]):
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == ended.group and process.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        if not found:
            return []
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(ended.group, signal.SIGKILL)
    return found


# --- the fork server


def serve() -> None:
    _import_what_a_run_imports()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(_killed(Point(**json.loads(line))))) + "\n")
        sys.stdout.flush()


def _import_what_a_run_imports() -> None:
    """Imports only: what has started a thread must not be forked."""
    import importlib

    for name in (
        "mlflow",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "dagster_mlflow.resources",
        "lightgbm",
        "onnxruntime",
        "onnxmltools",
        "skl2onnx",
        "skops.io",
        "sklearn.ensemble",
        "scipy.stats",
        "matplotlib.figure",
        "httpx",
        "psutil",
        "mlops_assets.testing.run",
        "mlops_assets.testing.plots",
        "mlops_assets.definitions",
    ):
        importlib.import_module(name)


def _killed(point: Point) -> Ended:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            os.setsid()  # what it leaves behind can be found
            os.dup2(writer, 2)
            _run(point)
            code = 0
        except BaseException as error:  # noqa: BLE001 (a child that forked ends here, whatever happened)
            os.write(2, f"\n{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writer)
    step, said, started = "", [], 0.0
    seconds: dict[str, float] = {}
    lines: dict[str, int] = {}
    timer: threading.Timer | None = None
    with os.fdopen(reader, errors="replace") as output:
        for line in output:
            said.append(line.rstrip())
            if found := STARTED.search(line):
                step, started = found[1], time.monotonic()
                if step == point.step and point.seconds is not None:
                    timer = threading.Timer(point.seconds, os.kill, (child, signal.SIGKILL))
                    timer.start()
            elif found := ENDED.search(line):
                step, seconds[found[1]] = "", time.monotonic() - started
            elif found := COUNTED.search(line):
                lines[found[1]] = int(found[2])
    if timer is not None:
        timer.cancel()
        timer.join()  # a thread must not be there at the next fork
    _, status = os.waitpid(child, 0)
    is_killed = os.WIFSIGNALED(status)
    return Ended(
        os.WTERMSIG(status) if is_killed else 0,
        0 if is_killed else os.WEXITSTATUS(status),
        step,
        seconds,
        lines,
        "\n".join(said[-12:]),
        child,
    )


class _Counting:
    """Standard error that hears Dagster say which step begins, and counts the lines of the writers that are run in it."""

    def __init__(self, output: IO[str], point: Point) -> None:
        self._output, self._point = output, point
        self._step, self._lines = "", 0

    def write(self, text: str) -> int:
        if found := STARTED.search(text):
            self._step, self._lines = found[1], 0
        elif found := ENDED.search(text):
            text += f"\nlines of {found[1]}: {self._lines}\n"
            self._step = ""
        return self._output.write(text)

    def flush(self) -> None:
        self._output.flush()

    def isatty(self) -> bool:
        return False

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "call" and self._point.call and self._step == self._point.step:
            call = f"{frame.f_code.co_name} {frame.f_locals.get('name', '')}".rstrip()
            if re.fullmatch(self._point.call, call):
                os.kill(os.getpid(), signal.SIGKILL)
        if event == "line":
            self._lines += 1
            if (self._step, self._lines) == (self._point.step, self._point.line):
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


def _run(point: Point) -> None:
    """The job as a sensor asks for it, in this process."""
    sys.stderr = counting = _Counting(sys.stderr, point)  # type: ignore[assignment]
    if point.seconds is None:
        sys.settrace(counting.trace)
    with a_replay(PRODUCT, Path(point.home), url=point.url) as replay:
        replay.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=replay.instance,
            asset_selection=retraining(PRODUCT),
            partition_key=point.key,
            run_config={"ops": {f"{PRODUCT.name}__test_report": WITHOUT_REPORTS}},
        )


if __name__ == "__main__":
    serve()
