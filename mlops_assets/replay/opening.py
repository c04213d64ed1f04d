"""Opens the parts of a replay: the instance, the code location of one product, the resources."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mlops_assets.replay.open_databases import kept_open
from mlops_assets.replay.runs import Replay
from mlops_assets.state.workspace import ProductState
from resources.environments import Environment
from resources.platform import Platform


@contextmanager
def opened_replay(state: ProductState, environment: Environment) -> Iterator[Replay]:
    """environment: that of the state's own workspace."""
    from mlops_assets.definitions import build_definitions

    folder = Path(environment.dagster_home) if environment.dagster_home else state.workspace.dagster_home
    with quiet_instance(folder) as instance:
        event_logs = sorted(folder.glob("**/index.db"))
        with kept_open([*event_logs, *folder.glob("**/runs.db")]):
            # only this product, because each run goes through the whole asset graph
            definitions = build_definitions(environment, [state.product])
            event_log_folder = event_logs[0].parent if event_logs else None
            yield Replay(state, instance, definitions, Platform.of(environment), event_log_folder)


def quiet_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the servers, without capturing the output of steps.

    The processes that capture output receive Ctrl-C before they are asked to end, and print tracebacks."""
    settings = (folder / "dagster.yaml").read_text()
    quiet = "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}"
    (folder / "replay.yaml").write_text(f"{settings}\n{quiet}\n")
    return dg.DagsterInstance.from_config(str(folder), "replay.yaml")


def quieten() -> None:
    """Silence logs, which would break the progress bar on the console."""
    logging.getLogger("mlops_assets").addHandler(logging.NullHandler())
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it sets its level when it is imported
    logging.getLogger("alembic").setLevel(logging.WARNING)
