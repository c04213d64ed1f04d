"""Where the workers of one server share their metrics: a folder for prometheus_client's multiprocess mode.

The library reads the variable FOLDER when it is imported, so the parent sets it before it starts the workers, and this file
imports the library only where it is needed. With one worker the variable is not set, and no file is written.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "histogram", "gauge_livemostrecent")  # the library keeps a file of each for each process
RESERVED_BYTES = 4 * 2**20  # of each file: room for some 25,000 numbers

_log = logging.getLogger(__name__)


@contextmanager
def shared_folder(workers: int) -> Iterator[Path | None]:
    """A folder for the workers that are started in this block; None where there is one worker, or no room for a folder."""
    os.environ.pop(FOLDER, None)  # of another server, perhaps
    if workers == 1:
        yield None
        return
    try:
        folder = tempfile.mkdtemp(prefix="serving-metrics-")
    except OSError as error:
        _log.warning("each worker shows its own metrics only, because there is no room to share them: %s", error)
        yield None
        return
    os.environ[FOLDER] = folder
    try:
        yield Path(folder)
    finally:
        remove_folder()


def reserve_room() -> None:
    """Reserve the room of this worker's files, before they are used: they are mapped into memory, and a page that a full
    disk cannot hold would kill the process. Without room the worker keeps its metrics to itself."""
    if FOLDER not in os.environ:
        return
    paths = [Path(os.environ[FOLDER], f"{kind}_{os.getpid()}.db") for kind in KINDS]
    try:
        for path in paths:
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
    except OSError as error:
        _log.warning(
            "other workers do not show the metrics of this one, because there is no room to share them: %s", error
        )
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[FOLDER]


def remove_folder() -> None:
    """Called by the parent, and by the workers of a parent that was killed."""
    if FOLDER in os.environ:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def forget_gauges(folder: Path, worker: int) -> None:
    """A worker that ended has no state any more. What it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]
