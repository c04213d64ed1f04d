"""An installation of its own: a copy of the code with one more product, a home on a small disk, `mlops up`, and its end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import psutil
from unattended_parts.parcel_delay import FOLDER, parcel_delay

from mlops_assets.servers.processes import free_port
from mlops_assets.state.workspace import ProductState, Workspace

PRODUCT = "parcel_delay"
PACKAGES = ("mlops_assets", "resources", "sensors", "serving", "examples")
DISK_MEGABYTES = 400
# what a process of the installation is called in the report, by a word of its command line
ROLES = (
    ("mlops_assets.cli.command", "mlops up"),
    ("dagster._daemon", "daemon"),
    ("dagster_webserver", "webserver"),
    ("dagster-webserver", "webserver"),
    ("api grpc", "code server"),
    ("code-server", "code server"),
    ("mlflow", "mlflow"),
    ("serving", "api"),
)


@dataclass
class Installation:
    """root: a folder of its own. code: the tree that is copied. renders_reports: with Evidently's pages, which take most of
    the time of a period."""

    root: Path
    code: Path
    seed: int
    renders_reports: bool = True
    workers: int = 2
    restarts: int = 0  # of `mlops up`, by us: what the init of a machine does
    is_on_small_disk: bool = False
    tracking_port: int = 0
    _up: "subprocess.Popen[bytes] | None" = None
    _tracking: "subprocess.Popen[bytes] | None" = None
    _logs: list[IO[bytes]] = field(default_factory=list)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root / "home")

    @property
    def state(self) -> ProductState:
        return self.workspace.of(parcel_delay)

    @property
    def deliveries(self) -> Path:
        return self.root / "deliveries"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
        return {
            **kept,
            "PYTHONPATH": str(self.root / "code"),
            "MLOPS_PRODUCTS_DIR": str(self.root / "products"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONWARNINGS": "ignore",
            "DAGSTER_HOME": str(self.workspace.dagster_home),
            "DO_NOT_TRACK": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLOPS_HOME": str(self.workspace.home),
            "MLOPS_MLFLOW_TRACKING": f"http://127.0.0.1:{self.tracking_port}",
            "MLOPS_WORKERS": str(self.workers),
            # away from the usual one, which another program may take while the API is being started again
            "MLOPS_PORT": "18000",
            FOLDER: str(self.deliveries),
        }

    # --- its beginning and its end

    def lay_out(self) -> None:
        """Copy the code, add the product as a user does, and make the home, on a disk of its own where we may mount one."""
        code = self.root / "code"
        for name in PACKAGES:
            shutil.copytree(self.code / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
        declared = Path(__file__).with_name(f"{PRODUCT}.py")
        (self.root / "products").mkdir()
        shutil.copy(declared, self.root / "products" / declared.name)
        if not self.renders_reports:
            for pipeline in ("monitoring", "testing"):
                declares(code / "mlops_assets" / pipeline / "assets.py", "render_report: bool = False")
        self.workspace.home.mkdir()
        self.deliveries.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(self.workspace.home)]
        self.is_on_small_disk = (
            sys.platform == "linux"
            and os.getuid() == 0
            and shutil.which("mount") is not None
            and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        self.workspace.dagster_home.mkdir()

    def run(self, *arguments: str) -> None:
        """This benchmark's own script as a process of the installation."""
        log = self.root / "prepare.log"
        with log.open("wb") as output:
            code = subprocess.run(
                [sys.executable, *arguments],
                cwd=self.root / "code",
                env=self.environment,
                stdout=output,
                stderr=output,
                check=False,
            ).returncode
        if code:
            raise RuntimeError(f"{' '.join(arguments)} ended with {code}: {log.read_text()[-3_000:]}")

    def start(self) -> None:
        log = (self.root / "up.log").open("ab")
        self._logs.append(log)
        self._up = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlops_assets.cli.command",
                "up",
                "--home",
                str(self.workspace.home),
                "--sensors",
                PRODUCT,
            ],
            cwd=self.root / "code",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def serves(self) -> bool:
        """Raises RuntimeError: `mlops up` ended."""
        if self._up is not None and self._up.poll() is not None:
            raise RuntimeError(f"`mlops up` ended: {(self.root / 'up.log').read_text()[-3_000:]}")
        return answers(f"{self.api()}/health/ready")

    def keep_up(self) -> bool:
        """What the init of a machine does: start `mlops up` again where it ended. Did it?"""
        if self._up is None or self._up.poll() is None:
            return False
        self.start()
        self.restarts += 1
        return True

    def stop_servers(self) -> None:
        """End `mlops up` as Ctrl-C does."""
        if self._up is not None:
            self._up.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._up.wait(60)

    def stop(self, kept: Path | None) -> None:
        """End what still runs, copy what it left to `kept`, and take the disk away."""
        self.kill_everything()
        self.kill_tracking()
        for log in self._logs:
            log.close()
        if kept is not None:
            shutil.copytree(self.root, kept, dirs_exist_ok=True)
        if self.is_on_small_disk:
            subprocess.run(["umount", "-l", str(self.workspace.home)], check=False)

    # --- MLflow on another machine: nobody here starts it again

    def start_tracking(self) -> None:
        if not self.tracking_port:
            self.tracking_port = free_port(23_000 + self.seed % 100 * 10, lambda _: None)
        folder = self.root / "tracking"
        folder.mkdir(exist_ok=True)
        log = (self.root / "tracking.log").open("ab")
        self._logs.append(log)
        store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.sqlite", "--workers", "1"]
        environment = {name: value for name, value in self.environment.items() if not name.startswith("MLOPS_")}
        self._tracking = subprocess.Popen(
            [*(sys.executable, "-m", "mlflow", "server"), "--port", str(self.tracking_port), *store],
            env={**environment, "UNATTENDED_TRACKING": str(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def tracking_answers(self) -> bool:
        return answers(f"http://127.0.0.1:{self.tracking_port}/health")

    def kill_tracking(self) -> None:
        if self._tracking is None:
            return
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(self._tracking.pid).children(recursive=True), self._tracking]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._tracking.wait()
        self._tracking = None

    # --- its processes

    def processes(self) -> dict[int, str]:
        """Every process that works in this home, by number, with its role; "run" for what carries a run out."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("MLOPS_HOME") == str(self.workspace.home):
                    found[process.pid] = role_of(process)
        return found

    def with_role(self, *roles: str) -> list[int]:
        return [pid for pid, role in self.processes().items() if role in roles]

    def kill(self, *roles: str) -> list[int]:
        """SIGKILL to every process of these roles."""
        killed = []
        for pid in self.with_role(*roles):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return killed

    def kill_everything(self) -> None:
        """As a machine that is switched off: every process at once."""
        deadline = time.monotonic() + 10
        while (found := self.processes()) and time.monotonic() < deadline:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        if self._up is not None:
            self._up.wait()

    def api(self) -> str:
        """Where the API answers, by what `mlops up` said last; "" while it said nothing."""
        said = (self.root / "up.log").read_text(errors="replace")
        found = re.findall(r"(?:api answers on|API)\s+(http://[\d.]+:\d+)", said)
        return found[-1] if found else ""


def declares(path: Path, default: str) -> None:
    """Another default of a field in a copied file, which Dagster offers only to a person who launches a run."""
    field_name = default.partition("=")[0]
    text, count = re.subn(rf"{re.escape(field_name)}= \w+", default, path.read_text())
    if count != 1:
        raise RuntimeError(f"{path} does not declare `{field_name}` once, but {count} times.")
    path.write_text(text)


def role_of(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        return "tracker"
    if "spawn_main" in command:
        parent = process.parent()
        return "worker" if parent is not None and role_of(parent) == "api" else "run"
    return next((role for word, role in ROLES if word in command), "other")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def free_megabytes(folder: Path) -> float:
    return shutil.disk_usage(folder).free / 1e6
