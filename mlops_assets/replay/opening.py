"""Opens what a replay works with: the instance, the code location of one product, the resources."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dagster as dg

from mlops_assets.replay.runs import Replay
from mlops_assets.state.workspace import ProductState
from resources.environments import Environment
from resources.platform import Platform


@contextmanager
def opened_replay(state: ProductState, environment: Environment) -> Iterator[Replay]:
    """environment: of the state's own workspace."""
    from mlops_assets.definitions import build_definitions

    folder = Path(environment.dagster_home) if environment.dagster_home else state.workspace.dagster_home
    with quiet_instance(folder) as instance, _held_open(folder):
        # of this product alone: the graph of every other one would be gone through at each run
        definitions = build_definitions(environment, [state.product])
        yield Replay(state, instance, definitions, Platform.of(environment))


@contextmanager
def _held_open(folder: Path) -> Iterator[None]:
    """Within the block SQLite keeps the write-ahead logs of the instance.

    Dagster opens and closes a connection for each event, and SQLite writes a log back and removes it with the last connection
    that is closed; this one is never the last."""
    with ExitStack() as connections:
        for path in sorted(folder.glob("**/index.db")) + sorted(folder.glob("**/runs.db")):
            connection = connections.enter_context(closing(sqlite3.connect(path)))
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def quiet_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the servers, without capturing what steps print.

    The processes that capture it hear Ctrl-C before they are told to end, and answer it with tracebacks."""
    settings = (folder / "dagster.yaml").read_text()
    quiet = "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}"
    (folder / "replay.yaml").write_text(f"{settings}\n{quiet}\n")
    return dg.DagsterInstance.from_config(str(folder), "replay.yaml")


def quieten() -> None:
    """The console says what happens; logs would break its progress bar."""
    logging.getLogger("mlops_assets").addHandler(logging.NullHandler())
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
