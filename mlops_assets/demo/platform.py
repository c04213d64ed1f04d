"""Runs the platform on one machine: its servers, their environment, their folder, their end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from types import FrameType

from rich.console import Console

from mlops_assets.demo.processes import Servers, free_port
from mlops_assets.stores.home import Home


@dataclass(frozen=True)
class Ports:
    dagster: int
    mlflow: int
    api: int


def free_ports(console: Console) -> "Ports":
    return Ports(*(free_port(port, console.print) for port in (3000, 5000, 8000)))


def run_platform(home: Home, sensors: str, console: Console) -> None:
    """Start everything on this home and stay up until Ctrl-C; what the home holds is kept."""
    prepare(home)
    ports = free_ports(console)
    with interruptible(), Servers(home.root / "logs", server_environment(home, ports, sensors)) as servers:
        start_servers(servers, ports, home, console)
        console.print(f"data home {home.root}; sensors of {sensors or 'no product'} run. Ctrl-C ends everything.")
        wait_for_interrupt()
    console.print("every process has ended")


def prepare(home: Home) -> None:
    """Make the folders and, where there are none, Dagster's instance settings."""
    folder = home.root / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text((files("mlops_assets.demo") / "dagster.yaml").read_text())


def start_servers(servers: Servers, ports: Ports, home: Home, console: Console) -> None:
    """Dagster's webserver and daemon, the MLflow UI and the prediction API, until each answers."""
    workspace = files("mlops_assets.demo") / "workspace.yaml"
    host = ["--host", "127.0.0.1"]
    store = ["--backend-store-uri", home.mlflow_store, "--workers", "1"]
    mlflow = servers.start(
        "mlflow", ["mlflow", "server", *host, "--port", str(ports.mlflow), *store], ports.mlflow, signal.SIGTERM
    )
    api = servers.start("api", ["serving"], ports.api, signal.SIGTERM)
    dagster = servers.start(
        "dagster",
        ["dagster", "dev", *host, "--port", str(ports.dagster), "--workspace", str(workspace)],
        ports.dagster,
        signal.SIGINT,  # on which it ends its code server and its daemon
    )
    servers.wait_for(api, "/health/ready", 60, console.print)
    servers.wait_for(dagster, "/server_info", 90, console.print)
    servers.wait_for(mlflow, "/health", 90, console.print)


def server_environment(home: Home, ports: Ports, sensors: str) -> dict[str, str]:
    """What every process of this installation is told. sensors: products by comma, or "all"."""
    return {
        "DAGSTER_HOME": str(home.root / "dagster"),
        "MLOPS_HOME": str(home.root),
        "MLOPS_HOST": "127.0.0.1",
        "MLOPS_PORT": str(ports.api),
        "MLOPS_API_URL": f"http://127.0.0.1:{ports.api}",
        "MLOPS_MLFLOW_URL": f"http://127.0.0.1:{ports.mlflow}",
        "MLOPS_SENSORS": sensors,
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # seven more processes that nothing here uses
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
        # OpenMP's threads spin while they wait by default, which on shared cores makes a fit many times slower
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGTERM, SIGINT and a closed terminal end the program alike, so that no process is left behind.

    SIGINT is set as well: a shell starts background jobs with it ignored, and Dagster then ignores SIGTERM too."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
