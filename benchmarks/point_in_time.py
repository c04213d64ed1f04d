"""Point-in-time join of 10 M events with 1 M feature rows: ours beside DuckDB's ASOF join and pandas' `merge_asof`.

Ours keeps to both clocks and to the time to live; the peers are given the same tables and do the as-of part on the
created timestamp with the time to live after it. A speed above 1 says that we are faster. `--quick`: a tenth of both. The
last line is one JSON object.
"""

import json
import statistics
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from contestants import Contestant, compete, print_table
from peer_environments import python_with

from mlops_assets.features.point_in_time import join_point_in_time
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView

LIFETIME = timedelta(days=2)
VIEW = FeatureView(
    "value", (Feature("value"),), key=("entity",), lookup=lambda tables: tables["values"], time_to_live=LIFETIME
)
PEERS = Path(__file__).parent / "peers" / "point_in_time_peers.py"
ENTITIES, DAYS = 10_000, 365
MICROSECONDS_PER_DAY = 86_400_000_000


def us(events: str, values: str, out: str) -> dict[str, Any]:
    joined = join_point_in_time(pl.scan_parquet(events), pl.scan_parquet(values), VIEW, "at")
    joined.sink_parquet(out, compression="zstd", engine="streaming")
    return {}


def write_inputs(folder: Path, events: int, values: int) -> tuple[str, str]:
    """Values are true at random moments and learned up to a day later."""
    draw = np.random.default_rng(7)
    true_at = np.sort(draw.integers(0, DAYS * MICROSECONDS_PER_DAY, values))
    learned = true_at + draw.integers(0, MICROSECONDS_PER_DAY, values)
    clock = pl.Datetime("us", "UTC")
    pl.DataFrame(
        {
            "entity": draw.integers(0, ENTITIES, values),
            EVENT_TIME: true_at,
            CREATED_TIME: learned,
            "value": draw.random(values),
        }
    ).cast({EVENT_TIME: clock, CREATED_TIME: clock}).write_parquet(folder / "values.parquet")
    at = draw.integers(0, DAYS * MICROSECONDS_PER_DAY, events)
    pl.DataFrame({"entity": draw.integers(0, ENTITIES, events), "at": at}).cast({"at": clock}).write_parquet(
        folder / "events.parquet"
    )
    return str(folder / "events.parquet"), str(folder / "values.parquet")


def agreement(ours: str, theirs: str) -> float:
    """Share of events that get the same value. Below 1: the peers let a late report of an old event replace a newer one."""
    first, second = (pl.read_parquet(path).sort("entity", "at")["value"] for path in (ours, theirs))
    return float(first.eq_missing(second.cast(pl.Float64)).mean() or 0)


def main() -> None:
    quick = "--quick" in sys.argv
    events, values = (1_000_000, 100_000) if quick else (10_000_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="point-in-time-") as place:
        folder = Path(place)
        inputs = write_inputs(folder, events, values)
        peers = python_with("data")
        everybody = {
            "us": Contestant(sys.executable, Path(__file__), "--us"),
            "duckdb": Contestant(peers, PEERS, "duckdb"),
            "pandas": Contestant(peers, PEERS, "pandas"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in everybody}
        peak: dict[str, float] = {}
        for _ in range(3):
            for name, contestant in everybody.items():
                answer = contestant.ask(events=inputs[0], values=inputs[1], out=str(folder / f"{name}.parquet"))
                seconds[name].append(answer["seconds"])
                peak[name] = answer["peak_gb"]
        agreeing = {
            name: agreement(str(folder / "us.parquet"), str(folder / f"{name}.parquet"))
            for name in ("duckdb", "pandas")
        }
        for contestant in everybody.values():
            contestant.leave()
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    print_table(
        [
            {
                "who": name,
                "events/s": events / taken,
                "we are faster, times": taken / median["us"],
                "peak GB": peak[name],
            }
            for name, taken in median.items()
        ]
    )
    print(
        json.dumps(
            {
                "events": events,
                "us_seconds": median["us"],
                "speed_vs_duckdb": median["duckdb"] / median["us"],
                "speed_vs_pandas": median["pandas"] / median["us"],
                "peak_gb": peak["us"],
                "agreement_with_duckdb": agreeing["duckdb"],
                "agreement_with_pandas": agreeing["pandas"],
            }
        )
    )


if __name__ == "__main__":
    compete(us) if "--us" in sys.argv else main()
