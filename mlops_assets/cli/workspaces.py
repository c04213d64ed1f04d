"""The workspace of a command: that of its option --home, or that of the environment."""

from typing import Annotated

from cyclopts import Parameter

from mlops_assets.errors import DeclarationError
from mlops_assets.state.objects import Folder, objects_at
from mlops_assets.state.workspace import Workspace

InHome = Annotated[
    str,
    Parameter(
        name=["--home", "--state"], help="Folder or bucket of the state (default: MLOPS_STATE, else MLOPS_HOME)."
    ),
]
By = Annotated[str, Parameter(help="Your name.")]


def opened(home: str, *, create: bool = False) -> Workspace:
    """The workspace at a folder or bucket; "": that of the environment.

    create: whether the command may create it. Raises DeclarationError: it does not exist."""
    from resources.environments import read_environment

    workspace = read_environment().workspace
    if home:
        objects = objects_at(home)
        local = objects.root if isinstance(objects, Folder) else workspace.home
        workspace = Workspace(
            objects.url, local, workspace.online_store, workspace.approval_key, workspace.optuna_storage
        )
    if isinstance(workspace.objects, Folder) and not create and not workspace.objects.root.is_dir():
        raise DeclarationError(
            f"there is no state at {workspace.objects.root}. `mlops replay` and `mlops up` create one; name another one with --home, "
            "MLOPS_HOME or MLOPS_STATE."
        )
    return workspace


def tracking_of(workspace: Workspace, home: str) -> str:
    """The address of MLflow's store: a home in a folder has its own; otherwise it is that of the environment."""
    from resources.environments import read_environment

    return workspace.mlflow_store if home and not workspace.is_shared else read_environment().mlflow_tracking
