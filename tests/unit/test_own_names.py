"""Our `resources`, `sensors` and `serving` are found wherever a user has modules with these names."""

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


def test_a_module_that_was_imported_before_ours_is_refused_in_one_sentence(tmp_path: Path):
    (tmp_path / "serving.py").write_text("")
    ours = Path(mlops_assets.__file__).parents[1]
    code = "import sys; sys.path[:0] = sys.argv[1:]; import serving, mlops_assets.own_names"

    refused = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ours)

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"mlops_assets.errors.PlatformError: Python finds 'serving' at {tmp_path}/serving.py, and mlops-assets needs its own at "
        f"{ours}/serving. Import mlops_assets before yours, or rename yours."
    )
