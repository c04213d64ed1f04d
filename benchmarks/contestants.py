"""Contestants of a benchmark, each in a process of its own: asked in turns, so that all meet the same machine.

A contestant reads one JSON line per job and answers with one: the seconds of the work, and what it says about it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Contestant:
    def __init__(self, python: Path | str, script: Path, *arguments: str) -> None:
        command = [str(python), str(script), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a contestant ended: {self._process.args}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def compete(work: Callable[..., dict[str, Any] | None]) -> None:
    """The loop of a contestant: `seconds` are those of `work`, `cpu_seconds` of all its threads, which a busy machine
    changes less; `peak_gb` is the most memory the process ever held."""
    for line in sys.stdin:
        started, cpu_started = time.perf_counter(), time.process_time()
        said = work(**json.loads(line)) or {}
        taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu_started}
        sys.stdout.write(json.dumps({**taken, "peak_gb": peak_gb(), **said}) + "\n")
        sys.stdout.flush()


def peak_gb() -> float:
    """Of this process alone: what getrusage says survives exec and would be the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    for row in cells:
        sides = [str.ljust, *[str.rjust] * len(row)]
        print("  ".join(side(text, width) for side, text, width in zip(sides, row, widths, strict=False)))


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3g}" if value < 1_000 else f"{value:,.0f}"
