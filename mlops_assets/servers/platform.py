"""Runs the platform on one machine: its servers, their environment, their folder, their end."""

import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from types import FrameType

from rich.console import Console

from mlops_assets.addresses import shown
from mlops_assets.errors import PlatformError
from mlops_assets.servers.marked_lines import MarkedLines
from mlops_assets.servers.processes import HOST, Server, Servers, free_port
from mlops_assets.servers.supervisor import CODE_SERVER, Supervisor, end_left_servers, only_one, write_server_list
from mlops_assets.state.workspace import Workspace
from mlops_assets.variables import whole_number

LOCATION = "mlops_assets"  # as in workspace.yaml: it is part of the identity of sensors and runs
WORKSPACE = """load_from:
  - grpc_server:
      socket: {socket}
      location_name: mlops_assets
"""

# paths that answer once a server can be used. The API can be before there is a champion, when it is not ready
HEALTH = {"api": "/health/live", "webserver": "/server_info", "mlflow": "/health"}
START_SECONDS = 900.0  # the limit for a busy machine; a server that ended fails at once


@dataclass(frozen=True)
class Ports:
    dagster: int
    mlflow: int
    api: int


def free_ports(console: Console) -> Ports:
    """The default ports, or free ones above them. The API's default is MLOPS_PORT where that is set."""
    api = whole_number(os.environ, "MLOPS_PORT", 8000) or 8000  # 0 means any port
    return Ports(*(free_port(port, console.print) for port in (3000, 5000, api)))


def run_platform(workspace: Workspace, sensors: str, console: Console, next_steps: Sequence[str] = ()) -> None:
    """Start all servers on this home and keep them running until Ctrl-C. next_steps: sentences to print beside their addresses.

    Raises StillRunning: another `mlops up` runs on this home."""
    from resources.notifier import MARK

    with interruptible(), only_one(workspace.home):
        prepare(workspace)
        _create_dagster_tables(workspace)
        server_list = workspace.home / "servers.json"
        end_left_servers(server_list, console.print)
        ports = free_ports(console)
        with Servers(workspace.home / "logs", server_environment(workspace, ports, sensors)) as servers:
            notifications = MarkedLines(servers.folder / f"{CODE_SERVER}.log", MARK)  # sensors and runs write there
            launch_servers(servers, ports, workspace)
            write_server_list(servers.running, server_list)
            console.print(f"Dagster  http://{HOST}:{ports.dagster}")
            console.print(f"MLflow   {shown(servers.environment['MLOPS_MLFLOW_URL'])}")
            console.print(f"API      http://{HOST}:{ports.api}/schema")
            console.print(f"state {workspace.url}; sensors of {sensors or 'no product'} run. Ctrl-C ends everything.")
            console.print("The servers are starting; a line says when each of them answers.")
            for sentence in next_steps:
                console.print(sentence, soft_wrap=True, highlight=False)

            def report(sentence: str) -> None:
                console.print(f"{datetime.now():%H:%M:%S} {sentence}", soft_wrap=True, markup=False)
                try:
                    write_server_list(servers.running, server_list)
                except OSError as error:  # a full disk must end no server
                    console.print(
                        f"the list of servers could not be written to {server_list}: {error.strerror}", soft_wrap=True
                    )

            with suppress(KeyboardInterrupt):
                Supervisor(servers, report, HEALTH, notifications.new).watch()
        server_list.unlink(missing_ok=True)
    console.print("every process has ended")


def prepare(workspace: Workspace) -> None:
    """Create the folders and, where they are missing, Dagster's instance settings."""
    folder = workspace.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text((files("mlops_assets.servers") / "dagster.yaml").read_text())


def _create_dagster_tables(workspace: Workspace) -> None:
    """Before the daemon and the webserver start: if both created the tables at the same time, one of them would fail."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(workspace.dagster_home)) as instance:
        instance.get_runs_count()
        instance.get_asset_keys()
        instance.all_instigator_state()


def start_servers(servers: Servers, ports: Ports, workspace: Workspace, console: Console) -> None:
    """Start every server and wait until each answers. Raises PlatformError: one ended, or does not answer."""
    started = launch_servers(servers, ports, workspace)
    servers.wait_for(started["api"], "/health/ready", START_SECONDS, console.print)
    for name in ("webserver", "mlflow"):
        if name in started:
            servers.wait_for(started[name], HEALTH[name], START_SECONDS, console.print)


def launch_servers(servers: Servers, ports: Ports, workspace: Workspace) -> dict[str, Server]:
    """Start Dagster's code server, daemon and webserver, the MLflow UI and the prediction API.

    Dagster's three are started separately instead of by `dagster dev`, which ends as soon as one of them ends."""
    location = workspace.dagster_home / "workspace.yaml"
    socket = code_socket(workspace)
    location.write_text(WORKSPACE.format(socket=socket))
    host, on = ["--host", HOST], ["-w", str(location)]
    # without the working directory, as a user's own `resources` there would hide ours
    module = ["-m", "mlops_assets.definitions", "--location-name", LOCATION, "--empty-working-directory"]
    commands: list[tuple[str, list[str], int]] = [
        ("api", ["serving"], ports.api),
        (CODE_SERVER, ["dagster", "api", "grpc", "--socket", str(socket), *module], 0),
        ("daemon", ["dagster._daemon", "run", *on], 0),
        ("webserver", ["dagster_webserver", *host, "--port", str(ports.dagster), *on], ports.dagster),
    ]
    if not is_served_elsewhere(tracking_address(workspace)):
        mlflow = ["mlflow", "server", *host, "--port", str(ports.mlflow), "--workers", "1"]
        commands.insert(0, ("mlflow", mlflow, ports.mlflow))
    return {name: servers.start(name, command, port, signal.SIGTERM) for name, command, port in commands}


def tracking_address(workspace: Workspace) -> str:
    """The address of MLflow's store: MLOPS_MLFLOW_TRACKING, else SQLite in the home."""
    return os.environ.get("MLOPS_MLFLOW_TRACKING") or workspace.mlflow_store


def is_served_elsewhere(tracking: str) -> bool:
    """Whether a tracking server with its own UI already exists."""
    return tracking.startswith(("http", "databricks"))


def code_socket(workspace: Workspace) -> Path:
    """The socket of this home's code server, which only its owner can reach.

    A port is not enough: gRPC shares ports, so a restarted code server could share the port of another home's. The path of a
    socket is limited to about 100 characters, so it is not in the home."""
    name = hashlib.sha256(str(workspace.home).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"mlops-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PlatformError(f"{folder} belongs to another user. Remove it, or set TMPDIR to a folder of your own.")
    return folder / f"{name}.sock"


def server_environment(workspace: Workspace, ports: Ports, sensors: str) -> dict[str, str]:
    """The environment variables of every process of this installation. sensors: products separated by commas, or "all"."""
    tracking = tracking_address(workspace)
    mlflow = f"http://{HOST}:{ports.mlflow}"
    if is_served_elsewhere(tracking):
        mlflow = os.environ.get("MLOPS_MLFLOW_URL") or tracking
    return {
        "DAGSTER_HOME": str(workspace.dagster_home),
        "MLOPS_HOME": str(workspace.home),
        "MLOPS_STATE": workspace.objects.url,
        "MLOPS_HOST": "127.0.0.1",
        "MLOPS_PORT": str(ports.api),
        "MLOPS_API_URL": f"http://127.0.0.1:{ports.api}",
        "MLOPS_MLFLOW_URL": mlflow,
        # not an argument, because every user of this machine can read those
        "MLFLOW_BACKEND_STORE_URI": tracking,
        "MLOPS_SENSORS": sensors,
        **_search_path(workspace),
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # job execution would start seven more processes, which nothing here uses
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
        # by default OpenMP's threads spin while they wait, which makes a fit on shared cores many times slower
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _search_path(workspace: Workspace) -> dict[str, str]:
    """Variables that keep the working directory out of `sys.path`, and every entry of PYTHONPATH in it.

    Dagster takes the first entry of `sys.path` for the folder of the script, and removes it while it imports the code
    location. In this mode it would be the first entry of PYTHONPATH, so a folder without modules is put before it."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONSAFEPATH": "1", **({"PYTHONPATH": f"{workspace.dagster_home}{os.pathsep}{path}"} if path else {})}


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGTERM, SIGINT and a closed terminal all raise KeyboardInterrupt, so that no process is left running.

    SIGINT is set as well: a shell starts background jobs with it ignored, and Dagster then ignores SIGTERM too."""

    is_interrupted = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        """Raises only once: afterwards processes are being ended, and a second interrupt would leave them running."""
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
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
