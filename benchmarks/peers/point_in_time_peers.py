"""The as-of join by DuckDB and by pandas. Runs in `peers/data`."""

import sys
from pathlib import Path


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
    sys.path.append(str(Path(__file__).parents[1]))  # this runs in the peers' environment, which has only its own
    from contestants import compete

    compete({"duckdb": with_duckdb, "pandas": with_pandas}[sys.argv[1]])
