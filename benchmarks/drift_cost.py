"""What a drift reading costs: 20 columns, 1M and 10M rows a side, beside Evidently's drift preset and a plain Parquet scan.

Every measurement runs in a process of its own, which reports its seconds and its peak memory; ours and the scan are
interleaved. The scan reads the same columns of the same file and sums them (lengths of texts), which is the least that has
to be done. Ours is the whole reading: profile of the reference, counts of the current window, decision-ready percent.
In operation the profile is made once per model, and every period is read against it; so the speed-up is that of a
reading, and the one with the profile made anew stands beside it; Evidently reads both sides each time. It is given 1M
rows a side (with `--quick` 50,000).

Last line: one JSON object. `--quick` ends within 50 s.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from contestants import peak_gb
from peer_environments import python_with

from mlops_assets.drift.reading import measure_drift
from mlops_assets.drift.reference import build_reference
from mlops_assets.products.feature_view import Feature, FeatureKind

FOLDER = Path(__file__).parents[1] / "var" / "benchmarks"
NUMBERS = [f"number_{index}" for index in range(15)]
CATEGORIES = {"category_3": 3, "category_7": 7, "category_16": 16, "category_50": 50, "category_105": 105}
INPUTS = [Feature(name) for name in NUMBERS] + [Feature(name, kind=FeatureKind.CATEGORICAL) for name in CATEGORIES]
WINDOWS = 16
EVIDENTLY = """
import os, sys, time, warnings, json, logging
os.environ["DO_NOT_TRACK"] = "1"; warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
reference, current, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
started = time.perf_counter()
sides = [pd.read_parquet(path).iloc[:rows] for path in (current, reference)]
texts = [name for name in sides[0].columns if name.startswith("category")]
definition = DataDefinition(numerical_columns=[n for n in sides[0].columns if n not in texts], categorical_columns=texts)
Report([DataDriftPreset()]).run(*(Dataset.from_pandas(side, data_definition=definition) for side in sides)).dict()
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_mb": int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024}))
"""


def make(rows: int) -> tuple[Path, Path]:
    """The reference as one Parquet file per window, as a store keeps its partitions, and the current window as one."""
    reference, current = FOLDER / f"cost-{rows}-reference", FOLDER / f"cost-{rows}-current.parquet"
    if not current.exists():
        reference.mkdir(parents=True, exist_ok=True)
        for window in range(WINDOWS):
            some_rows(rows // WINDOWS, window).write_parquet(reference / f"{window:02}.parquet")
        parts = [some_rows(min(1_000_000, rows - start), start + 99) for start in range(0, rows, 1_000_000)]
        pl.concat(parts).write_parquet(current)
    return reference, current


def some_rows(count: int, seed: int) -> pl.DataFrame:
    """Numbers to 3 or 6 digits, one in twenty null, and categories of 3 to 105 kinds."""
    draw = np.random.default_rng(seed)
    columns: dict[str, pl.Series] = {}
    for index, name in enumerate(NUMBERS):
        values = draw.normal(size=count).round(3 if index % 2 else 6)
        columns[name] = pl.Series(values).set(pl.Series(draw.random(count) < 0.05), None)
    for name, kinds in CATEGORIES.items():
        names = np.array([f"{name}_{kind}" for kind in range(kinds)])
        columns[name] = pl.Series(names[draw.integers(0, kinds, count)])
    return pl.DataFrame(columns)


def scan(path: Path) -> dict[str, float]:
    started = time.perf_counter()
    pl.scan_parquet(path).select(pl.col(NUMBERS).sum(), pl.col(list(CATEGORIES)).str.len_bytes().sum()).collect(
        engine="streaming"
    )
    return {"seconds": time.perf_counter() - started}


def read(reference: Path, current: Path) -> dict[str, float]:
    started = time.perf_counter()
    windows = {path.stem: pl.scan_parquet(path) for path in sorted(reference.glob("*.parquet"))}
    profile = build_reference(windows, INPUTS)
    profiled = time.perf_counter()
    reading = measure_drift(profile, pl.scan_parquet(current), min_rows=1)
    assert reading.percent == 0, "these windows are alike"
    ended = time.perf_counter()
    return {"seconds": ended - started, "reading_seconds": ended - profiled}


def in_a_process(*arguments: object) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, __file__, "child", *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def child(what: str, *paths: str) -> None:
    import scipy.special  # noqa: F401 (loading libraries is not what is measured)

    pl.DataFrame({"a": [1.0]}).lazy().select(pl.col("a").sum()).collect(engine="streaming")
    found = scan(Path(paths[0])) if what == "scan" else read(Path(paths[0]), Path(paths[1]))
    print(json.dumps({**found, "peak_mb": 1024 * peak_gb()}))


def middle(found: list[dict[str, float]], name: str) -> float:
    return median(item[name] for item in found)


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
        return
    is_quick = "--quick" in sys.argv
    sizes, rounds, peer_rows = ((1_000_000,), 2, 50_000) if is_quick else ((1_000_000, 10_000_000), 5, 1_000_000)
    table, figures = [], {}
    for rows in sizes:
        reference, current = make(rows)
        scans, readings = [], []
        for _ in range(rounds):
            scans.append(in_a_process("scan", current))
            readings.append(in_a_process("read", reference, current))
        both, one = middle(readings, "seconds"), middle(readings, "reading_seconds")
        floor, peak = middle(scans, "seconds"), max(item["peak_mb"] for item in readings)
        table += [
            (f"plain scan, {rows:,} rows of one side", floor, max(item["peak_mb"] for item in scans)),
            (f"ours, current window of {rows:,} rows", one, peak),
            (f"ours, with the profile of {rows:,} rows", both, peak),
        ]
        figures[rows] = (both, one, one / floor, peak)
    reference, current = make(1_000_000)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    ran = subprocess.run(
        [python_with("drift"), "-c", EVIDENTLY, reference, current, str(peer_rows)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    peer = json.loads(ran.stdout.splitlines()[-1])
    table.append((f"Evidently's drift preset, {peer_rows:,} rows a side", peer["seconds"], peer["peak_mb"]))
    for name, seconds, peak in table:
        print(f"{name:55}{seconds:>9.2f} s{peak:>9.0f} MB")
    largest, per_row = max(sizes), peer["seconds"] / peer_rows
    print(
        json.dumps(
            {
                "speedup_vs_evidently": per_row / (figures[1_000_000][1] / 1_000_000),
                "speedup_with_profile_made_anew": per_row / (figures[1_000_000][0] / 1_000_000),
                "ratio_to_parquet_scan": figures[largest][2],
                "peak_mb": figures[largest][3],
                "peak_mb_at_1m": figures[1_000_000][3],
                "evidently_rows": peer_rows,
            }
        )
    )


if __name__ == "__main__":
    main()
