"""The online path of features: microseconds a call for 1, 32 and 1,024 rows, look-ups and all, beside its parts.

Parts: the request features as the translated function, as a plan that is built once, and as one that is built at every
call, and an empty Polars plan (what any plan costs). The last line is one JSON object. `--quick` ends within 50 s.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
from contestants import print_table

from examples.flights.flight_delay import flight_delay
from mlops_assets.features.build import newest_per_key
from mlops_assets.features.online_path import OnlineFeatures, as_request
from mlops_assets.features.views import request_features
from mlops_assets.state.online_store import OnlineStore

SIZES = (1, 32, 1_024)


def microseconds(call: Callable[[], object], calls: int) -> float:
    """The least of five medians: other processes can only make a call slower."""
    medians = []
    for _ in range(5):
        taken = []
        for _ in range(calls):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
        medians.append(statistics.median(taken))
    return 1e6 * min(medians)


def main() -> None:
    calls = 60 if "--quick" in sys.argv else 400
    weeks = [flight_delay.period.at(key) for key in ("2013-06-24", "2013-07-01")]
    tables = {
        name: pl.concat([flight_delay.source.read(name, week) for week in weeks]) for name in ("flights", "weather")
    }
    now = weeks[1].end - timedelta(days=1)
    table, figures = [], {}
    with tempfile.TemporaryDirectory() as folder, closing(OnlineStore(Path(folder) / "online.sqlite")) as online:
        for view in flight_delay.lookups:
            online.write(flight_delay.name, view, newest_per_key(view, tables, now))
        path = OnlineFeatures(flight_delay, online)
        flights = tables["flights"].filter(pl.col("scheduled_departure") >= now).select(flight_delay.request).collect()
        for size in SIZES:
            frame = flights.head(size)
            rows = [as_request(flight_delay, row) for row in frame.iter_rows(named=True)]
            repeat = max(5, calls // (1 if size < 1_000 else 20))
            nothing = pl.defer(lambda frame=frame: frame, schema=frame.schema)
            row = {
                "rows": size,
                "whole path µs": microseconds(lambda rows=rows: path.of(rows), repeat),
                "request features µs": microseconds(lambda rows=rows: path._row_features(rows, []), repeat),
                "the plan, built once µs": microseconds(lambda rows=rows: path.by_plan(rows, []), repeat),
                "plan built each call µs": microseconds(
                    lambda frame=frame: request_features(flight_delay, frame.lazy()).collect(), repeat
                ),
                "empty plan µs": microseconds(lambda nothing=nothing: nothing.collect(engine="in-memory"), repeat),
            }
            table.append(row)
            figures[f"microseconds_{size}"] = row["whole path µs"]
            figures[f"microseconds_{size}_per_row"] = row["whole path µs"] / size
    print_table(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
