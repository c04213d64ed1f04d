"""What it costs to have rows of the prediction log on disk: JSON lines, Arrow IPC streams and SQLite; and the log as it is.

Each format takes flushes of 1, 32 and 1,000 rows, each synced, and is read into a frame afterwards, as sealing does. Then a
process that writes flushes of 32 rows is killed with SIGKILL, and what it left is read. The log itself:
what `append` costs the thread that answers, and what it costs to have the rows on disk and to seal them. CPU in microseconds a
row, the least of some rounds, since others may use the machine. The last line is one JSON object. `--quick`: one round.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.objects import objects_at
from mlops_assets.state.prediction_log import LoggedRows, PredictionLog, log_columns
from mlops_assets.state.spool import Segment, as_lines, read_segment, segments_in

COLUMNS = log_columns(flight_delay)
MOMENT, EPOCH = datetime(2013, 7, 4, 12, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FLUSHES = {1: 1_000, 32: 300, 1_000: 40}
ROUNDS = 1 if "--quick" in sys.argv else 5
VALUES = {"string": "4bf92f3577b34da6", "integer": 1545, "float": 48.25, "timestamp": MOMENT, "floats": None}
ROW = tuple(VALUES.get(kind, 1_372_939_200_123_456) for kind in COLUMNS.values())


class JsonLines:
    def __init__(self, folder: Path) -> None:
        self._segment = Segment(folder, COLUMNS)

    def flush(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._segment.append(as_lines(COLUMNS, rows), len(rows))

    @staticmethod
    def read(folder: Path) -> int:
        rows = read_segment(segments_in(folder)[0])
        return 0 if rows is None else rows.height


class ArrowStream:
    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        kinds = {"string": pa.string(), "integer": pa.int64(), "float": pa.float64(), "floats": pa.list_(pa.float64())}
        self._types = [kinds.get(kind, pa.timestamp("us", "UTC")) for kind in COLUMNS.values()]
        self._schema = pa.schema(list(zip(COLUMNS, self._types, strict=True)))
        self._file = (folder / "spool").open("wb", buffering=0)
        self._file.write(self._schema.serialize())

    def flush(self, rows: Sequence[tuple[object, ...]]) -> None:
        import pyarrow as pa

        columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), self._types, strict=True)]
        self._file.write(pa.RecordBatch.from_arrays(columns, schema=self._schema).serialize())
        os.fsync(self._file.fileno())

    @staticmethod
    def read(folder: Path) -> int:
        import pyarrow as pa

        with pa.memory_map(str(folder / "spool")) as file:
            return pl.DataFrame(pa.ipc.open_stream(file).read_all().combine_chunks()).height


class Sqlite:
    """In WAL mode, which syncs once a commit."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "spool", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(f"CREATE TABLE rows ({', '.join(COLUMNS)})")

    def flush(self, rows: Sequence[tuple[object, ...]]) -> None:
        plain = [
            [(value - EPOCH) // MICROSECOND if type(value) is datetime else value for value in row] for row in rows
        ]
        self._connection.execute("BEGIN")
        self._connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(COLUMNS))})", plain)
        self._connection.execute("COMMIT")

    @staticmethod
    def read(folder: Path) -> int:
        rows = sqlite3.connect(folder / "spool").execute("SELECT * FROM rows").fetchall()
        return pl.DataFrame(rows, schema=list(COLUMNS), orient="row").height


FORMATS = {kind.__name__: kind for kind in (JsonLines, ArrowStream, Sqlite)}


def seconds_of(work: Callable[[], object]) -> float:
    """CPU of the whole process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def cost_of(kind: type[JsonLines | ArrowStream | Sqlite], rows: int) -> tuple[float, float, float]:
    """CPU of a flush and of reading in microseconds a row, and rows a second."""
    flushes = FLUSHES[rows]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        spool, batch = kind(Path(name)), [ROW] * rows
        spool.flush(batch)
        started = time.perf_counter()
        flushed = seconds_of(lambda: [spool.flush(batch) for _ in range(flushes)])
        wall = time.perf_counter() - started
        read = seconds_of(lambda: kind.read(Path(name)))
    count = rows * flushes
    return 1e6 * flushed / count, 1e6 * read / count, count / wall


def after_a_kill(name: str) -> tuple[int, float]:
    """Rows that were acknowledged and are gone, and CPU seconds to read what a killed writer of 50,000 rows left."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        with subprocess.Popen([sys.executable, __file__, name, folder], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            writer.kill()
        started = time.process_time()
        found = FORMATS[name].read(Path(folder))
        return max(0, acknowledged - found), time.process_time() - started


def write_until_killed(name: str, folder: Path) -> None:
    spool, batch = FORMATS[name](folder), [ROW] * 32
    for _ in range(1_600):
        spool.flush(batch)
    print(1_600 * 32, flush=True)
    while True:
        spool.flush(batch)


def cost_of_the_log(appends: int, rows: int) -> dict[str, float]:
    """One flush of `appends` batches, in microseconds a row; append: of the thread that answers."""
    batch: LoggedRows = ((), [[value] * rows for value in ROW], [()] * rows, [()] * rows)
    least = dict.fromkeys(("append", "flush", "seal"), float("inf"))
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            place = objects_at(Path(folder) / "state")
            log = PredictionLog(place, "predictions", Path(folder) / "spool", flush_seconds=3_600, segment_rows=10**9)
            log.append(flight_delay, batch)
            log.flush()
            flushes, spent = max(1, 20_000 // (appends * rows)), dict.fromkeys(least, 0.0)
            for _ in range(flushes):
                started = time.process_time()
                for _ in range(appends):
                    log.append(flight_delay, batch)
                spent["append"] += time.process_time() - started
                spent["flush"] += seconds_of(log.flush)
            spent["seal"] += seconds_of(log.close)
            least = {name: min(least[name], 1e6 * spent[name] / (flushes * appends * rows)) for name in least}
    return {name: round(cost, 2) for name, cost in least.items()}


def strict_p50_ms() -> float:
    """One client after the other that waits until its row is on disk."""
    batch: LoggedRows = ((), [[value] for value in ROW], [()], [()])
    told: SimpleQueue[str | None] = SimpleQueue()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        log = PredictionLog(objects_at(Path(folder) / "state"), "predictions", Path(folder) / "spool")
        waits = []
        for _ in range(1_000):
            started = time.perf_counter()
            log.append(flight_delay, batch, told.put)
            told.get()
            waits.append(time.perf_counter() - started)
        log.close()
    return round(1e3 * sorted(waits)[len(waits) // 2], 3)


def main() -> None:
    if len(sys.argv) > 2:
        write_until_killed(sys.argv[1], Path(sys.argv[2]))
    result: dict[str, object] = {}
    for name, kind in FORMATS.items():
        for rows in FLUSHES:
            costs = [cost_of(kind, rows) for _ in range(ROUNDS)]
            flushed, read, a_second = (
                min(cost[0] for cost in costs),
                min(cost[1] for cost in costs),
                max(cost[2] for cost in costs),
            )
            print(
                f"{name:12} {rows:5} rows a flush: {flushed:7.2f} + {read:6.2f} to read, {a_second:8,.0f} rows/s",
                flush=True,
            )
            result[f"{name}_{rows}"] = [round(flushed, 2), round(read, 2)]
        lost, seconds = after_a_kill(name)
        print(f"{name:12} killed: {lost} acknowledged rows lost, read in {seconds:.2f} s of CPU", flush=True)
        result[f"{name}_lost"] = lost
    for appends, rows in ((1, 1), (32, 1), (1_000, 1), (32, 32)):
        result[f"log_{appends}x{rows}"] = of_log = cost_of_the_log(appends, rows)
        print(f"log, a flush of {appends} appends of {rows} rows: {of_log}", flush=True)
    result["strict_p50_ms"] = strict_p50_ms()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
