"""The worker processes of this server, and the memory that each of them takes."""

import contextlib
import multiprocessing
import os
from pathlib import Path


def memory_by_worker() -> dict[int, int]:
    """Resident bytes of this process and of the workers beside it, by process id; empty where /proc is missing."""
    processes = [os.getpid()]
    if multiprocessing.parent_process() is not None:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text()
            processes = [int(name) for name in children.split() if not _is_tracker(name)]
    return {process: size for process in processes if (size := resident_bytes(process))}


def resident_bytes(process: int) -> int:
    """0 once the process has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _is_tracker(process: str) -> bool:
    """Whether it is the resource tracker, which multiprocessing starts beside the workers."""
    try:
        return b"resource_tracker" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
