"""The features of the flights by DuckDB SQL and by pandas: what a team would write without us. Runs in `peers/data`."""

import sys
from pathlib import Path

ZONE = "America/New_York"
WEATHER = ("temperature", "humidity", "wind_speed", "precipitation", "pressure", "visibility")
# name, key, hours of the window, time to live in hours
RECENT = (("origin", ["origin"], 3, 6), ("carrier", ["carrier"], 24, 48), ("route", ["origin", "dest"], 72, 48))


def with_duckdb(flights: str, weather: str, out: str) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    parts = [
        f"""flights AS (SELECT * FROM '{flights}'), weather AS (SELECT * FROM '{weather}'),
        local AS (SELECT *, timezone('{ZONE}', scheduled_departure) AS here FROM flights),
        asked AS (SELECT carrier, flight, origin, dest, scheduled_departure, distance::DOUBLE AS distance,
            hour(here)::DOUBLE AS hour, isodow(here)::DOUBLE AS weekday, (isodow(here) * 24 + hour(here))::DOUBLE AS hour_of_week,
            (year(here) - aircraft_year)::DOUBLE AS aircraft_age, seats::DOUBLE AS seats FROM local),
        busy AS (SELECT origin, (isodow(here) * 24 + hour(here))::DOUBLE AS hour_of_week,
            date_trunc('hour', scheduled_departure) AS event, event + INTERVAL 1 HOUR AS created, count(*) AS departures
            FROM local GROUP BY ALL)"""
    ]
    joins, columns = [], []
    for name, key, hours, lives in RECENT:
        by = ", ".join(key)
        parts.append(
            f"""{name}_told AS (SELECT {by}, date_trunc('hour', reported_at) + INTERVAL 1 HOUR AS created, count(*) AS told,
            sum((arr_delay >= 15)::INT) AS late, sum(dep_delay) AS delay FROM flights WHERE arr_delay IS NOT NULL GROUP BY ALL),
            {name}_lately AS (SELECT {by}, created, sum(late) OVER w / sum(told) OVER w AS late_rate,
            sum(delay) OVER w / sum(told) OVER w AS delay FROM {name}_told WINDOW w AS (PARTITION BY {by} ORDER BY created
            RANGE BETWEEN INTERVAL {hours - 1} HOURS PRECEDING AND CURRENT ROW))"""
        )
        on = " AND ".join(f"asked.{column} = {name}_lately.{column}" for column in key)
        joins.append(f"ASOF LEFT JOIN {name}_lately ON {on} AND scheduled_departure >= {name}_lately.created")
        alive = f"scheduled_departure - {name}_lately.created <= INTERVAL {lives} HOURS"
        columns.append(f"CASE WHEN {alive} THEN {name}_lately.late_rate END AS {name}_late_rate")
        columns.append(f"CASE WHEN {alive} THEN {name}_lately.delay END AS {name}_departure_delay")
    observed = ", ".join(
        f"CASE WHEN scheduled_departure - observed_at <= INTERVAL 6 HOURS THEN weather.{name} END AS {name}"
        for name in WEATHER
    )
    busy = "CASE WHEN scheduled_departure - busy.event <= INTERVAL 8 DAYS THEN departures::DOUBLE END AS departures_week_before"
    connection.execute(
        f"""COPY (WITH {", ".join(parts)} SELECT asked.*, {observed}, {busy}, {", ".join(columns)} FROM asked
        ASOF LEFT JOIN weather ON asked.origin = weather.origin AND scheduled_departure >= weather.reported_at
        ASOF LEFT JOIN busy ON asked.origin = busy.origin AND asked.hour_of_week = busy.hour_of_week
            AND scheduled_departure >= busy.created
        {" ".join(joins)} ORDER BY scheduled_departure, carrier, flight, asked.origin) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"""
    )
    connection.close()


def with_pandas(flights: str, weather: str, out: str) -> None:
    import pandas as pd

    rows, observed = pd.read_parquet(flights), pd.read_parquet(weather)
    here = rows["scheduled_departure"].dt.tz_convert(ZONE)
    asked = rows[["carrier", "flight", "origin", "dest", "scheduled_departure"]].copy()
    asked["distance"] = rows["distance"].astype(float)
    asked["hour"] = here.dt.hour.astype(float)
    asked["weekday"] = here.dt.day_of_week.astype(float) + 1
    asked["hour_of_week"] = asked["weekday"] * 24 + asked["hour"]
    asked["aircraft_age"] = here.dt.year - rows["aircraft_year"]
    asked["seats"] = rows["seats"].astype(float)
    asked = asked.sort_values("scheduled_departure", kind="stable")

    def look_up(asked, values, key, names, lives):  # type: ignore[no-untyped-def]
        values = values[[*key, "event", "created", *names]].sort_values("created", kind="stable")
        joined = pd.merge_asof(asked, values, left_on="scheduled_departure", right_on="created", by=key)
        dead = ~(joined["scheduled_departure"] - joined["event"] <= lives)
        joined.loc[dead, names] = None
        return joined.drop(columns=["event", "created"])

    observed = observed.rename(columns={"observed_at": "event", "reported_at": "created"})
    asked = look_up(asked, observed, ["origin"], list(WEATHER), pd.Timedelta(hours=6))
    busy = rows.assign(
        event=rows["scheduled_departure"].dt.floor("h"), hour_of_week=(here.dt.day_of_week + 1) * 24.0 + here.dt.hour
    )
    busy = busy.groupby(["origin", "hour_of_week", "event"]).size().rename("departures_week_before").reset_index()
    busy["created"] = busy["event"] + pd.Timedelta(hours=1)
    asked = look_up(asked, busy, ["origin", "hour_of_week"], ["departures_week_before"], pd.Timedelta(days=8))
    told = rows[rows["arr_delay"].notna()]
    told = told.assign(
        created=told["reported_at"].dt.floor("h") + pd.Timedelta(hours=1),
        late=(told["arr_delay"] >= 15).astype(float),
        told=1.0,
    )
    for name, key, hours, lives in RECENT:
        by_hour = (
            told.groupby([*key, "created"])[["told", "late", "dep_delay"]]
            .sum()
            .reset_index()
            .sort_values([*key, "created"])
        )
        window = (
            by_hour.set_index("created")
            .groupby(key)[["told", "late", "dep_delay"]]
            .rolling(f"{hours}h")
            .sum()
            .reset_index()
        )
        window[f"{name}_late_rate"] = window["late"] / window["told"]
        window[f"{name}_departure_delay"] = window["dep_delay"] / window["told"]
        window["event"] = window["created"]
        names = [f"{name}_late_rate", f"{name}_departure_delay"]
        asked = look_up(asked, window, key, names, pd.Timedelta(hours=lives))
    asked.sort_values(["scheduled_departure", "carrier", "flight", "origin"]).to_parquet(
        out, compression="zstd", index=False
    )


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))  # this runs in the peers' environment, which has only its own
    from contestants import compete

    compete({"duckdb": with_duckdb, "pandas": with_pandas}[sys.argv[1]])
