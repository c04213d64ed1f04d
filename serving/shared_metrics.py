"""The folder in which the workers of one server share their metrics, for prometheus_client's multiprocess mode.

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
KINDS = ("counter", "histogram", "gauge_livemostrecent")  # the library has one file of each kind for each process
RESERVED_BYTES = 4 * 2**20  # per file: room for about 25,000 numbers

_log = logging.getLogger(__name__)


@contextmanager
def shared_folder(workers: int) -> Iterator[Path | None]:
    """A folder for the workers that are started in this block; None where there is one worker, or no room for a folder."""
    os.environ.pop(FOLDER, None)  # it may be that of another server
    if workers == 1:
        yield None
        return
    try:
        folder = tempfile.mkdtemp(prefix="serving-metrics-")
    except OSError as error:
        _log.warning(
            "each worker shows only its own metrics, because no folder to share them could be created: %s", error
        )
        yield None
        return
    os.environ[FOLDER] = folder
    try:
        yield Path(folder)
    finally:
        remove_folder()


def reserve_room() -> None:
    """Reserve disk space for this worker's files before they are used: they are mapped into memory, and writing a page to a
    full disk would kill the process. Without space the worker does not share its metrics."""
    if FOLDER not in os.environ:
        return
    paths = [Path(os.environ[FOLDER], f"{kind}_{os.getpid()}.db") for kind in KINDS]
    try:
        for path in paths:
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
    except OSError as error:
        _log.warning(
            "other workers do not show the metrics of this one, because there is no disk space to share them: %s", error
        )
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[FOLDER]


def remove_folder() -> None:
    """Called by the parent, and by the workers of a parent that was killed."""
    if FOLDER in os.environ:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def forget_gauges(folder: Path, worker: int) -> None:
    """Remove the gauges of a worker that ended. Its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]
