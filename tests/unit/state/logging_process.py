"""Logs one row after the other and says its id once it is on disk: `python -m … URL SPOOL NAME [how many]`."""

import sys
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.objects import objects_at
from mlops_assets.state.prediction_log import PredictionLog
from tests.unit.state.logged_rows import answers


def main() -> None:
    url, spool, name, *how_many = sys.argv[1:]
    log, told = PredictionLog(objects_at(url), "predictions", Path(spool), segment_rows=7), SimpleQueue[str | None]()
    for number in range(int(how_many[0])) if how_many else count():
        log.append(flight_delay, answers(f"{name}-{number}"), told.put)
        assert told.get() is None
        sys.stdout.write(f"{name}-{number}\n")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    main()
