"""Makes sure that `resources`, `sensors` and `serving` are ours, also beside a user's own folders of these names.

Whatever imports one of them imports this file first. The wheel installs them beside `mlops_assets`; the working directory,
which Python and Dagster put in front of `sys.path`, may hold others.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

from mlops_assets.errors import PlatformError

OURS = Path(__file__).parent.parent
NAMES = ("resources", "sensors", "serving")


def find_ours() -> None:
    """Take the working directory out of `sys.path`, and put the folder of a script last, if it hides one of ours.

    Raises PlatformError: that does not help."""
    if not _foreign():
        return
    here, script = Path.cwd(), getattr(sys.modules["__main__"], "__file__", None)
    sys.path[:] = [entry for entry in sys.path if here == OURS or Path(entry or here).absolute() != here]
    if script is not None and sys.path and Path(sys.path[0]) == Path(script).parent.absolute():
        sys.path.append(sys.path.pop(0))
    importlib.invalidate_caches()
    for name, place in _foreign().items():
        raise PlatformError(
            f"Python finds {name!r} at {place}, and mlops-assets needs its own at {OURS / name}. Take the folder that holds "
            "yours out of PYTHONPATH and start in another folder, or rename yours."
        )


def leave_out_the_working_directory() -> None:
    """Undo what `python -m` did, unless we lie there: then it is the only place to find us."""
    here = Path.cwd()
    if sys.path and not sys.flags.safe_path and Path(sys.path[0] or here) == here and here != OURS:
        del sys.path[0]


def _foreign() -> dict[str, str]:
    """Where Python would find a module of one of our names that is another's, or has found it already."""
    places = {name: _place(name) for name in NAMES}
    return {name: place for name, place in places.items() if Path(place) != OURS / name}


def _place(name: str) -> str:
    spec = find_spec(name)
    if spec is None:
        return f"no place, as {OURS / name} is missing"
    return str(next(iter(spec.submodule_search_locations or [spec.origin or ""])))


find_ours()
