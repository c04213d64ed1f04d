"""Our `serving` is found beside a script, or a module in its folder, that is named so too."""

import subprocess
import sys
from pathlib import Path

import pytest

import mlops_assets

SCRIPT = "import mlops_assets.own_names, serving, beside\nprint(serving.__file__, beside.__name__)\n"


@pytest.mark.parametrize("name", ["script", "serving"])
def test_a_script_beside_a_module_of_one_of_our_names_gets_ours_and_keeps_its_folder(tmp_path: Path, name: str):
    (tmp_path / "serving.py").write_text(SCRIPT)
    (tmp_path / f"{name}.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("")
    ours = Path(mlops_assets.__file__).parents[1]

    said = subprocess.run(
        [sys.executable, str(tmp_path / f"{name}.py")], capture_output=True, text=True, check=True, cwd=ours
    ).stdout

    assert said == f"{ours / 'serving' / '__init__.py'} beside\n"
