"""Seals a segment of two days, and is killed before step after step of it: `python -m … URL SPOOL`.

A step is whatever raises an audit event: to open, lock or remove a file, to make a folder, to rename; and a put, before and
after it. The n-th process, forked from this one, works on `URL/n` and `SPOOL/n`. It says how many were killed.
"""

import os
import signal
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.objects import Objects, objects_at
from mlops_assets.state.prediction_log import PredictionLog
from tests.unit.state.logged_rows import NOON, answers
from tests.unit.state.places import Watched

CHANGES = ("open", "os.", "fcntl.", "shutil.", "tempfile.", "put.")


class Audited(Watched):
    def put(self, name: str, content: bytes) -> None:
        sys.audit("put.begins", name)
        super().put(name, content)
        sys.audit("put.ended", name)


def kill_before(step: int) -> None:
    steps = count(1)

    def look(event: str, _: tuple[Any, ...]) -> None:
        if event.startswith(CHANGES) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def seal(objects: Objects, spool: Path, step: int) -> None:
    log, told = PredictionLog(Audited(objects), "predictions", spool), SimpleQueue[str | None]()
    log.append(flight_delay, answers("a"), told.put)
    log.append(flight_delay, answers("b", day=NOON + timedelta(days=1)), told.put)
    assert (told.get(), told.get()) == (None, None)
    kill_before(step)
    log.close()


def main() -> None:
    url, spool = sys.argv[1:]
    for step in count(1):
        process = os.fork()
        if not process:
            seal(objects_at(f"{url}/{step}"), Path(spool, str(step)), step)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            assert not status
            sys.stdout.write(f"{step - 1}\n")
            return


if __name__ == "__main__":
    main()
