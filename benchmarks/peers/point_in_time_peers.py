"""The as-of join by DuckDB and by pandas. Runs in `peers/data`."""

import json
import resource
import sys
import time


def with_duckdb(events: str, values: str, out: str) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    connection.execute(
        f"""COPY (SELECT e.entity, e.at, CASE WHEN e.at - v.event_time <= INTERVAL 2 DAYS THEN v.value END AS value
        FROM '{events}' AS e ASOF LEFT JOIN '{values}' AS v ON e.entity = v.entity AND e.at >= v.created_time)
        TO '{out}' (FORMAT parquet, COMPRESSION zstd)"""
    )
    connection.close()


def with_pandas(events: str, values: str, out: str) -> None:
    import pandas as pd

    rows, known = pd.read_parquet(events).sort_values("at"), pd.read_parquet(values).sort_values("created_time")
    joined = pd.merge_asof(rows, known, left_on="at", right_on="created_time", by="entity")
    joined.loc[~(joined["at"] - joined["event_time"] <= pd.Timedelta(days=2)), "value"] = None
    joined[["entity", "at", "value"]].to_parquet(out, compression="zstd", index=False)


if __name__ == "__main__":
    work = {"duckdb": with_duckdb, "pandas": with_pandas}[sys.argv[1]]
    for line in sys.stdin:
        started = time.perf_counter()
        work(**json.loads(line))
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        sys.stdout.write(json.dumps({"seconds": seconds, "peak_gb": peak}) + "\n")
        sys.stdout.flush()
