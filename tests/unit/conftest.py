"""What every unit test may ask for: an empty workspace in a folder of its own."""

from pathlib import Path

import pytest

from mlops_assets.state.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
