"""The workspace that a command works in: the one it was given, or the one that the environment names."""

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
By = Annotated[str, Parameter(help="Who does it.")]


def opened(home: str, *, is_made: bool = False) -> Workspace:
    """The workspace at a folder or bucket; where none is named, that of the environment.

    is_made: by the command, where there is none. Raises DeclarationError: there is none."""
    from resources.environments import read_environment

    there = read_environment().workspace
    if home:
        named = objects_at(home)
        local = named.root if isinstance(named, Folder) else there.home
        there = Workspace(named.url, local, there.online_store, there.approval_key, there.optuna_storage)
    if isinstance(there.objects, Folder) and not is_made and not there.objects.root.is_dir():
        raise DeclarationError(
            f"there is no state at {there.objects.root}. `mlops up` makes one; --home or MLOPS_HOME names the one to use."
        )
    return there


def tracking_of(workspace: Workspace, home: str) -> str:
    """Where MLflow is: a home that was named has its own, and all else is as the environment says."""
    from resources.environments import read_environment

    return workspace.mlflow_store if home and not workspace.is_shared else read_environment().mlflow_tracking
