"""Feature build on replicated flights: us on Polars beside DuckDB SQL and pandas doing the same features, and the floor.

Each copy is the year of flights, moved on by whole years, and one partition: built, written to Parquet, and the next.
The floor reads the input columns and writes the output columns without any work; it is printed and no aim. All take turns
of three partitions, one after the other as in a backfill: who pauses gives memory back, and the next partition pays for it.
A speed above 1 says that we are faster. `--quick`: two turns; without: 1 M rows, and us alone on 10 M, with `--huge` on
100 M as well. CPU seconds are those of all threads: other users of the machine change them less. The last line is one JSON
object with the figures and, of each aim, whether it is met.
"""

import json
import statistics
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from contestants import Contestant, compete, print_table
from peer_environments import python_with

from examples.flights.flight_delay import flight_delay
from mlops_assets.features.build import build_features
from mlops_assets.products.periods import Period
from mlops_assets.state.dtypes import DTYPES

YEAR = Period(flight_delay.period.start, flight_delay.period.end or flight_delay.period.start)
PEERS = Path(__file__).parent / "peers" / "feature_build_peers.py"
COMPRESSION = "zstd"
PARTITIONS_IN_TURN = 3
# name of a figure: the least that is aimed at, and the most
AIMS = {
    "speed_vs_duckdb": (1.5, float("inf")),
    "speed_vs_pandas": (1.1, float("inf")),
    "cpu_largest_size_vs_smallest": (0.9, float("inf")),  # rows per CPU second: flat
    "peak_gb": (0.0, 4.0),
    "largest_difference": (0.0, 1e-6),
}


def us(flights: str, weather: str, out: str) -> dict[str, Any] | None:
    tables = {"flights": pl.scan_parquet(flights), "weather": pl.scan_parquet(weather)}
    rows = pl.scan_parquet(flights).select(flight_delay.request)
    build_features(flight_delay, rows, tables).write_parquet(out, compression=COMPRESSION)  # as the asset does
    return None


def floor(flights: str, weather: str, out: str) -> dict[str, Any] | None:
    pl.scan_parquet(flights).collect()
    _built().write_parquet(out, compression=COMPRESSION)
    return None


@cache
def _built() -> pl.DataFrame:
    """Output columns of one copy, made before anything is measured."""
    return pl.read_parquet(sys.argv[2])  # after --floor


def write_copy(number: int, folder: Path) -> tuple[str, str]:
    """The year, moved on by `number` times 52 weeks, so that weekdays stay."""
    paths = []
    for name in ("flights", "weather"):
        rows = flight_delay.source.read(name, YEAR)
        clocks = [column.name for column in _table(name).columns if DTYPES[column.kind] == pl.Datetime("us", "UTC")]
        path = folder / f"{name}-{number % PARTITIONS_IN_TURN}.parquet"
        rows.with_columns(pl.col(clocks).dt.offset_by(f"{52 * number}w")).sink_parquet(path)
        paths.append(str(path))
    return paths[0], paths[1]


def _table(name: str) -> Any:
    return next(table for table in (flight_delay.source.main, *flight_delay.source.side_tables) if table.name == name)


def largest_difference(ours: str, theirs: str) -> float:
    """Between the features of two builds; infinite where a null or a category differs."""
    key = [
        flight_delay.event_timestamp,
        *(name for name in flight_delay.entity_key if name != flight_delay.event_timestamp),
    ]
    first, second = (pl.read_parquet(path).sort(key) for path in (ours, theirs))
    worst = 0.0
    for name in flight_delay.feature_names:
        one, other = first[name], second[name]
        if one.dtype == pl.String or not one.is_null().equals(other.is_null()):
            worst = max(worst, 0.0 if one.equals(other.cast(one.dtype)) else float("inf"))
        else:
            worst = max(worst, float((one - other.cast(pl.Float64)).abs().max() or 0))
    return worst


def run(copies: int, contestants: dict[str, Contestant], folder: Path) -> dict[str, list[dict[str, Any]]]:
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for first in range(0, copies, PARTITIONS_IN_TURN):
        turn = [write_copy(number, folder) for number in range(first, min(first + PARTITIONS_IN_TURN, copies))]
        for name, contestant in contestants.items():
            out = str(folder / f"{name}.parquet")
            answers[name] += [contestant.ask(flights=flights, weather=weather, out=out) for flights, weather in turn]
    return answers


def main() -> None:
    quick, huge = "--quick" in sys.argv, "--huge" in sys.argv
    sizes = [6] if quick else [3, 30, 297] if huge else [3, 30]
    figures: dict[str, Any] = {}
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="feature-build-") as place:
        folder = Path(place)
        flights, weather = write_copy(0, folder)
        us(flights, weather, str(folder / "built.parquet"))
        rows = pl.scan_parquet(flights).select(pl.len()).collect().item()
        peers = python_with("data")
        everybody = {
            "us": Contestant(sys.executable, Path(__file__), "--us"),
            "duckdb": Contestant(peers, PEERS, "duckdb"),
            "pandas": Contestant(peers, PEERS, "pandas"),
            "floor": Contestant(sys.executable, Path(__file__), "--floor", str(folder / "built.parquet")),
        }
        run(1, everybody, folder)  # warm up
        figures["largest_difference"] = max(
            largest_difference(str(folder / "us.parquet"), str(folder / f"{peer}.parquet"))
            for peer in ("duckdb", "pandas")
        )
        for copies in sizes:
            # the peers' speed is known after a few copies; the larger sizes are there for memory and flatness
            here = everybody if copies <= 6 else {"us": everybody["us"]}
            for name, answers in run(copies, here, folder).items():
                median, cpu = (
                    statistics.median(answer[what] for answer in answers) for what in ("seconds", "cpu_seconds")
                )
                table.append(
                    {
                        "who": name,
                        "rows": f"{copies * rows:,}",
                        "rows/s": rows / median,
                        "CPU µs/row": 1e6 * cpu / rows,
                        "peak GB": answers[-1]["peak_gb"],
                    }
                )
                if len(here) > 1:  # the largest size that all of them were given
                    figures[f"{name}_seconds_per_copy"] = median
                    figures[f"{name}_cpu_seconds_per_copy"] = cpu
                if name == "us":
                    figures[f"us_rows_per_second_at_{copies * rows}"] = rows / median
                    figures["peak_gb"] = answers[-1]["peak_gb"]
        for contestant in everybody.values():
            contestant.leave()
    print_table(table)
    for kind in ("", "cpu_"):
        ours = figures[f"us_{kind}seconds_per_copy"]
        figures[f"{kind}speed_vs_duckdb"] = figures[f"duckdb_{kind}seconds_per_copy"] / ours
        figures[f"{kind}speed_vs_pandas"] = figures[f"pandas_{kind}seconds_per_copy"] / ours
        figures[f"{kind}ratio_to_floor"] = ours / figures[f"floor_{kind}seconds_per_copy"]
    us_by_size = [row for row in table if row["who"] == "us"]  # the smallest size is the first
    if len(us_by_size) > 1:
        figures["largest_size_vs_smallest"] = us_by_size[-1]["rows/s"] / us_by_size[0]["rows/s"]
        figures["cpu_largest_size_vs_smallest"] = us_by_size[0]["CPU µs/row"] / us_by_size[-1]["CPU µs/row"]
    figures["aims_met"] = {
        name: least <= figures[name] <= most for name, (least, most) in AIMS.items() if name in figures
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    if "--us" in sys.argv:
        compete(us)
    elif "--floor" in sys.argv:
        _built()
        compete(floor)
    else:
        main()
