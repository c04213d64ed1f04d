"""From how many rows a Spark cluster pays: the flights' feature build on 1 and 2 workers, beside Polars on all cores.

A real standalone cluster on loopback: a master, and workers of one core each. The same definition, the same files; each
build starts from Parquet and ends in Parquet. Seconds are fitted by a straight line of the rows, `start + rows * slope`;
what lies beyond the rows that were run is read off these lines and says so. Two workers and Polars share the cores of
this machine with the driver, so the last figure divides the part of Spark's slope that a worker takes away among more
workers: what a cluster of machines like this one would need.

The start of the session is not in the seconds. `--quick` takes one worker only, to end within 50 s. The last line is one
JSON object.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from contestants import print_table
from feature_build import COMPRESSION, write_copy

from examples.flights.flight_delay import flight_delay
from mlops_assets.features.build import build_features
from mlops_assets.features.spark import build_features_on_spark
from resources.spark import Spark
from tests.servers.spark_cluster import HAS_JAVA, NO_JAVA, a_spark_cluster

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Files = dict[str, list[Path]]


class Line(NamedTuple):
    """Seconds of a build: start + slope * rows."""

    start: float
    slope: float

    @classmethod
    def through(cls, rows: Sequence[int], seconds: Sequence[float]) -> "Line":
        slope, start = np.polyfit(rows, seconds, 1)
        return cls(float(start), float(slope))

    def rows_until_ahead_of(self, other: "Line") -> float | None:
        """None: its slope is the steeper one, so it never is, or falls, so that these rows tell nothing."""
        if self.slope <= 0:
            return None
        return max(0.0, (self.start - other.start) / (other.slope - self.slope)) if self.slope < other.slope else None


def write_inputs(folder: Path, years: float) -> tuple[Files, int]:
    """So many years of flights and weather, one file per year, or the beginning of one."""
    files: Files = {"flights": [], "weather": []}
    for number in range(max(1, round(years))):
        place = folder / f"{years}-{number}"
        place.mkdir()
        for name, path in zip(files, write_copy(number, place), strict=True):
            files[name].append(Path(path))
    (first, *_), rows = files["flights"], pl.scan_parquet(files["flights"]).select(pl.len()).collect().item()
    if years < 1:
        pl.read_parquet(first).head(round(years * rows)).write_parquet(first)
        rows = round(years * rows)
    return files, rows


def by_polars(files: Files, out: Path) -> None:
    tables = {name: pl.scan_parquet(paths) for name, paths in files.items()}
    rows = tables["flights"].select(flight_delay.request)
    build_features(flight_delay, rows, tables).write_parquet(out, compression=COMPRESSION)


def by_spark(session: "SparkSession", files: Files, out: Path) -> None:
    built = build_features_on_spark(session, flight_delay, files["flights"], files)
    built.write_parquet(out, compression=COMPRESSION)


def least(call: Callable[[], None], repeats: int) -> float:
    """Seconds; other processes can only make it slower."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)


def executors(session: "SparkSession") -> int:
    """How many workers have joined the session; the driver is listed with them."""
    return int(session.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1


def until_joined(session: "SparkSession", workers: int) -> None:
    deadline = time.monotonic() + 30
    while executors(session) < workers:
        if time.monotonic() > deadline:
            sys.exit(f"{executors(session)} of {workers} workers joined within 30 s")
        time.sleep(0.1)


def measure(
    sizes: Sequence[float], repeats: int, counts: Sequence[int], folder: Path
) -> tuple[list[int], dict[str, list[float]]]:
    """Rows of each size, and who needed how many seconds for them. counts: of workers."""
    inputs = [write_inputs(folder, years) for years in sizes]
    seconds: dict[str, list[float]] = {}
    by_polars(inputs[0][0], folder / "polars.parquet")  # warm up
    seconds["Polars"] = [least(lambda f=files: by_polars(f, folder / "polars.parquet"), repeats) for files, _ in inputs]
    with a_spark_cluster() as cluster:
        resource = Spark(master=cluster.address, driver_memory="4g", executor_memory="2g")
        for before, workers in zip([0, *counts], counts, strict=False):
            for _ in range(workers - before):
                cluster.add_worker(memory="2500m")
            session = resource.session
            until_joined(session, workers)
            if not before:  # warm up: classes are loaded, code is compiled
                by_spark(session, inputs[0][0], folder / "spark.parquet")
            seconds[f"Spark, {workers} workers"] = [
                least(lambda s=session, f=files: by_spark(s, f, folder / "spark.parquet"), repeats)
                for files, _ in inputs
            ]
        session.stop()
    return [rows for _, rows in inputs], seconds


def workers_needed(one: Line, two: Line, polars: Line) -> float | None:
    """Workers from which Spark's slope is below Polars', if `slope = driver + work / workers`. None: no number is enough."""
    if two.slope <= 0:
        return None
    work = 2 * (one.slope - two.slope)
    driver = one.slope - work
    return work / (polars.slope - driver) if work > 0 and driver < polars.slope else None


def main() -> None:
    if not HAS_JAVA:
        sys.exit(NO_JAVA)
    sizes, repeats, counts = ((0.02, 0.3), 1, (1,)) if "--quick" in sys.argv else ((0.25, 1, 3), 3, (1, 2))
    with tempfile.TemporaryDirectory(prefix="spark-crossover-") as folder:
        rows, seconds = measure(sizes, repeats, counts, Path(folder))
    lines = {who: Line.through(rows, taken) for who, taken in seconds.items()}
    table, figures = [], dict[str, float | None]()
    for who, line in lines.items():
        ahead = None if who == "Polars" else line.rows_until_ahead_of(lines["Polars"])
        table.append(
            {
                "who": who,
                **{f"s at {count:,} rows": taken for count, taken in zip(rows, seconds[who], strict=True)},
                "start s": line.start,
                "µs/row more": 1e6 * line.slope,
                "ahead of Polars from": "" if who == "Polars" else _told(ahead, max(rows), line),
            }
        )
        name = who.lower().replace(", ", "_").replace(" ", "_")
        figures |= {f"{name}_start_seconds": line.start, f"{name}_microseconds_per_row": 1e6 * line.slope}
        if who != "Polars":
            figures[f"{name}_ahead_from_rows"] = ahead
    print_table(table)
    needed = None
    if len(counts) > 1:
        needed = workers_needed(lines["Spark, 1 workers"], lines["Spark, 2 workers"], lines["Polars"])
        what = "no number of such workers is faster" if needed is None else f"from {needed:.0f} workers on faster"
        print(f"extrapolated: {what} a row")
    print(json.dumps({**figures, "workers_needed": needed, "largest_rows_run": max(rows)}))


def _told(rows: float | None, run: int, line: Line) -> str:
    if line.slope <= 0:
        return "unknown: too few rows to tell"
    if rows is None:
        return "never: slower a row"
    return f"{rows:,.0f} rows" + (" (extrapolated)" if rows > run else "")


if __name__ == "__main__":
    main()
