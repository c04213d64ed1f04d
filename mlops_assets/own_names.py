"""Makes sure that `resources`, `sensors` and `serving` are ours, even where a user has folders with these names.

Code that imports one of them imports this file first. The wheel installs them beside `mlops_assets`; the working directory,
which Python and Dagster put first in `sys.path`, may have others.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

from mlops_assets.errors import PlatformError

OURS = Path(__file__).parent.parent
NAMES = ("resources", "sensors", "serving")


def find_ours() -> None:
    """Move every entry of `sys.path` that hides one of ours to the end.

    Raises PlatformError: another module is found all the same, as it is imported already or ours are missing."""
    for _ in sys.path:
        hiding = {Path(place).parent for place in _foreign().values()}
        if not hiding:
            return
        sys.path.sort(key=lambda entry: Path(entry).absolute() in hiding)
        importlib.invalidate_caches()
    for name, place in _foreign().items():
        raise PlatformError(
            f"Python finds {name!r} at {place}, and mlops-assets needs its own at {OURS / name}. Import mlops_assets before yours, "
            "or rename yours."
        )


def leave_out_the_working_directory() -> None:
    """Remove the entry of `sys.path` that `python -m` added, unless our packages are there and only there."""
    here = Path.cwd()
    if sys.path and not sys.flags.safe_path and Path(sys.path[0] or here) == here and here != OURS:
        del sys.path[0]


def _foreign() -> dict[str, str]:
    """Modules with one of our names that are not ours and would be imported, or already are: name and place."""
    places = {name: _place(name) for name in NAMES}
    return {name: place for name, place in places.items() if Path(place) != OURS / name}


def _place(name: str) -> str:
    spec = find_spec(name)
    if spec is None:
        return f"no place, since {OURS / name} is missing"
    return str(next(iter(spec.submodule_search_locations or [spec.origin or ""])))


find_ours()
