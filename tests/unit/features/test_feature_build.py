"""The one definition of features, applied to a period."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import narwhals.selectors as ncs
import numpy as np
import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.nyc_flights import NycFlights
from mlops_assets.errors import FeatureNotFinite
from mlops_assets.features.build import build_features, newest_per_key, require_finite
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureKind, FeatureView, Tables
from mlops_assets.products.periods import days
from mlops_assets.products.product import ModelProduct
from tests.unit.training.builders import BASKET, a_product, a_ride, january, rides


def waits(tables: Tables) -> Any:
    """The wait of every ride, from when it was told."""
    return tables["rides"].with_columns(
        nw.col("asked_at").alias(EVENT_TIME), nw.col("told_at").alias(CREATED_TIME), nw.col("waited").alias("last_wait")
    )


LAST_WAIT = FeatureView(
    "last_wait", (Feature("last_wait", unit="min"),), key=("origin",), lookup=waits, time_to_live=days(1)
)
HOUR = FeatureView("clock", (Feature("hour", nw.col("asked_at").dt.hour()),))


def featured(product: ModelProduct, frame: pl.DataFrame) -> pl.DataFrame:
    return build_features(product, frame.lazy().select(product.request), {"rides": frame.lazy()})


def test_features_are_identity_and_inputs_in_the_order_of_the_model_one_row_per_row():
    product = a_product(features=(LAST_WAIT, BASKET, HOUR))
    frame = rides(a_ride(2, january(2, 9)), a_ride(1, january(2, 8), waited=4.0), a_ride(3, january(2, 7), origin=None))

    found = featured(product, frame)

    # ride 1 was told at 9:00, just in time for ride 2; ride 3 has no origin to look up by
    assert found.columns == ["ride", "asked_at", "last_wait", "origin", "distance", "hour"]
    assert found.drop("asked_at").rows() == [
        (3, None, None, 2.0, 7.0),
        (1, None, "EWR", 2.0, 8.0),
        (2, 4.0, "EWR", 2.0, 9.0),
    ]


def test_numbers_are_floats_and_categories_strings_whatever_the_source_holds():
    drivers = FeatureView("driver", (Feature("driver", nw.col("ride") % 2, FeatureKind.CATEGORICAL),))
    found = featured(a_product(features=(drivers, HOUR), gates=()), rides(a_ride(3, january(2, 9))))

    assert found.select("driver", "hour").schema == {"driver": pl.String, "hour": pl.Float64}


def test_features_may_be_made_of_an_intermediate_step_which_is_not_kept():
    started = ("_started", nw.col("asked_at").dt.offset_by("-2h"))
    clock = FeatureView(
        "clock",
        (
            Feature("began", nw.col("_started").dt.hour()),
            Feature("far_and_late", nw.col("_started").dt.hour() + nw.col("distance")),
        ),
        intermediate=(started,),
    )
    rows = [a_ride(number, january(2, 9 + number), distance=float(number)) for number in range(3)]

    built = featured(a_product(features=(clock, BASKET)), rides(*rows))

    assert built.select("began", "far_and_late").rows() == [(7.0, 7.0), (8.0, 9.0), (9.0, 11.0)]
    assert "_started" not in built.columns


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (nw.max_horizontal("distance", "ride"), [20.0, 20.0, 30.0, 31.0]),
        (nw.sum_horizontal(ncs.numeric()), [21.0, 22.0, 50.0, 51.0]),
    ],
    ids=["columns by their names", "columns by what they are"],
)
def test_a_feature_sees_the_columns_of_the_request_and_no_other_feature(expression, expected):
    hour, other = Feature("hour", nw.col("asked_at").dt.hour().cast(nw.Float64)), Feature("self", expression)
    rows = [a_ride(ride, january(2, 9), distance=20.0) for ride in (1, 2, 30, 31)]

    built = featured(a_product(features=(FeatureView("both", (hour, other)),), gates=()), rides(*rows))

    assert built["self"].to_list() == expected


def test_rows_come_out_by_their_event_and_by_their_key_whatever_order_they_come_in():
    rows = [a_ride(ride, january(2, hour)) for ride, hour in ((3, 9), (2, 9), (1, 9), (4, 8))]

    assert featured(a_product(), rides(*rows))["ride"].to_list() == [4, 1, 2, 3]
    assert featured(a_product(), rides(rows[3], *rows[:3]))["ride"].to_list() == [4, 1, 2, 3]


def test_columns_beside_the_request_are_passed_over():
    rows = rides(*(a_ride(ride, january(2, 9)) for ride in range(4))).with_columns(hour=pl.lit("noon"))
    product = a_product(features=(BASKET, HOUR))

    assert build_features(product, rows.lazy(), {"rides": rows.lazy()})["hour"].to_list() == [9.0] * 4


@pytest.mark.parametrize("category", [nw.Categorical, nw.Enum(["EWR", "JFK"])], ids=str)
@pytest.mark.parametrize("waits", [[4.0], []], ids=["known", "of which nothing is known"])
def test_a_lookup_may_have_categories_for_keys(category, waits):
    def by_category(tables: Tables) -> Any:
        return tables["rides"].with_columns(
            nw.col("origin").cast(category), nw.col("told_at").alias(EVENT_TIME), nw.col("told_at").alias(CREATED_TIME)
        )

    told = FeatureView("told", (Feature("waited"),), key=("origin",), lookup=by_category, time_to_live=days(2))
    product = a_product(features=(BASKET, told))
    learned = rides(*(a_ride(1, january(1), waited=wait) for wait in waits))
    rows = rides(a_ride(1, january(2)), a_ride(2, january(2), origin="JFK"))

    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    assert built["waited"].to_list() == [*waits, None, None][:2]


def test_a_feature_in_the_place_of_a_request_column_is_what_it_is_made_of():
    rounded = FeatureView("rounded", (Feature("distance", nw.col("asked_at").dt.hour()),))
    sooner = FeatureView("sooner", (Feature("sooner", nw.col("distance") - 1),))
    rows = [a_ride(number, january(2, 9), distance=20.0) for number in range(4)]

    found = featured(a_product(features=(rounded, sooner), gates=()), rides(*rows))

    assert found.select("distance", "sooner").unique().rows() == [(9.0, 19.0)]


def test_a_feature_that_is_part_of_the_key_is_not_doubled():
    product = a_product(entity_key=("ride", "origin"))

    assert featured(product, rides(a_ride(1, january(2)))).columns == ["ride", "origin", "asked_at", "distance"]


PER_RIDE = nw.col("distance") / nw.col("ride")


def test_a_feature_that_divides_by_zero_is_named_with_a_row():
    product = a_product(features=(BASKET, FeatureView("ratio", (Feature("ratio", PER_RIDE),))))
    built = featured(product, rides(a_ride(0, january(2)), a_ride(2, january(2)), a_ride(0, january(3))))

    with pytest.raises(FeatureNotFinite, match=r"'taxi.ratio' is infinite or NaN in 2 rows, such as ride 0, ratio inf"):
        require_finite(product, built)


def test_a_feature_that_says_what_a_division_by_zero_is_passes():
    guarded = nw.when(nw.col("ride") > 0).then(PER_RIDE)
    product = a_product(features=(BASKET, FeatureView("ratio", (Feature("ratio", guarded),))))
    built = featured(product, rides(a_ride(0, january(2)), a_ride(2, january(2))))

    assert require_finite(product, built)["ratio"].to_list() == [None, 1.0]


@pytest.mark.parametrize(
    "is_told",
    [nw.col("origin").str.slice(0, 1) == "7", nw.col("origin").cast(nw.Int64) > 10, nw.col("origin") < "8"],
    ids=["a part of it", "as a number", "in its order"],
)
def test_a_lookup_may_read_the_text_of_its_key(is_told: nw.Expr):
    def some_waits(tables: Tables) -> Any:
        return waits(tables).filter(is_told)

    view = dataclasses.replace(LAST_WAIT, lookup=some_waits)
    told = rides(*(a_ride(number, january(2, 8), origin=origin) for number, origin in enumerate(("77", "9"))))
    asked = rides(*(a_ride(number, january(2, 12), origin=origin) for number, origin in enumerate(("77", "9"))))

    found = build_features(a_product(features=(BASKET, view)), asked.lazy(), {"rides": told.lazy()})

    assert found.sort("ride")["last_wait"].is_null().to_list() == [False, True]


def test_a_number_may_be_made_of_the_text_that_is_the_key():
    def terminals(tables: Tables) -> Any:
        return waits(tables).with_columns(nw.col("origin").alias("terminal"))

    view = dataclasses.replace(LAST_WAIT, features=(Feature("terminal"),), lookup=terminals)
    told, asked = rides(a_ride(1, january(2, 8), origin="77")), rides(a_ride(2, january(2, 12), origin="77"))

    found = build_features(a_product(features=(BASKET, view)), asked.lazy(), {"rides": told.lazy()})

    assert found["terminal"].to_list() == [77.0]


@pytest.mark.parametrize("name", ["place", "origin"], ids=["a column of its own", "in the place of a column"])
def test_a_lookup_may_go_by_a_text_that_the_request_features_make(name: str):
    def waits_by_place(tables: Tables) -> Any:
        return waits(tables).with_columns(nw.col("origin").str.to_uppercase().alias(name))

    place = FeatureView("place", (Feature(name, nw.col("origin").str.to_uppercase(), FeatureKind.CATEGORICAL),))
    view = dataclasses.replace(LAST_WAIT, lookup=waits_by_place, key=(name,))
    told = rides(a_ride(1, january(2, 8), origin="ewr", waited=4.0))
    asked = rides(a_ride(2, january(2, 12), origin="Ewr"), a_ride(3, january(2, 12), origin="jfk"))

    found = build_features(
        a_product(features=(place, view), gates=()), asked.lazy().drop("waited", "told_at"), {"rides": told.lazy()}
    )

    assert found.sort("ride").select(name, "last_wait").rows() == [("EWR", 4.0), ("JFK", None)]


def test_no_rows_have_no_features():
    product = a_product(features=(LAST_WAIT, BASKET))

    assert featured(product, rides()).shape == (0, 5)


def test_the_newest_value_per_key_is_the_newest_event_that_is_known_by_now():
    frame = rides(
        a_ride(1, january(2, 8), told_at=january(2, 9), waited=4.0),
        a_ride(2, january(2, 7), told_at=january(2, 10), waited=99.0),  # an old event, told late
        a_ride(3, january(2, 8), told_at=january(2, 20), waited=77.0),  # not told yet
        a_ride(4, january(2, 8), told_at=january(2, 12), origin="JFK", waited=6.0),  # told exactly now
    )

    newest = newest_per_key(LAST_WAIT, {"rides": frame.lazy()}, now=january(2, 12))

    assert newest.select("origin", "last_wait").rows() == [("EWR", 4.0), ("JFK", 6.0)]


def test_offline_and_online_agree_on_a_value():
    draw = np.random.default_rng(4)
    frame = rides(
        *(
            a_ride(
                number,
                asked := january(2) + timedelta(minutes=int(draw.integers(0, 600))),
                told_at=asked + timedelta(minutes=int(draw.integers(0, 200))),
                waited=float(number),
                origin=str(draw.choice(["EWR", "JFK"])),
            )
            for number in range(100)
        )
    )
    now = january(2, 6)
    product = a_product(features=(LAST_WAIT, BASKET))
    request = rides(a_ride(1_000, now), a_ride(1_001, now, origin="JFK")).select(product.request)

    offline = build_features(product, request.lazy(), {"rides": frame.lazy()})
    online = newest_per_key(LAST_WAIT, {"rides": frame.lazy()}, now)

    assert offline.sort("origin").select("origin", "last_wait").equals(online.select("origin", "last_wait"))


def flights_and_weather() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two real weeks of January."""
    weeks = [flight_delay.period.at(key) for key in ("2013-01-07", "2013-01-14")]
    source = NycFlights()
    flights = pl.concat([source.read("flights", week) for week in weeks]).collect()
    return flights, pl.concat([source.read("weather", week) for week in weeks]).collect()


def with_another_future(table: pl.DataFrame, event: str, outcomes: list[str], now: datetime) -> pl.DataFrame:
    """Shuffled; every outcome that is told after `now` is another one, and of what happens after it, half is gone."""
    later, told_later = pl.col(event) > now, pl.col("reported_at") > now
    return (
        table.filter(~later | (pl.int_range(pl.len()) % 2 == 0))
        .with_columns(pl.when(told_later).then(pl.lit(0.5)).otherwise(name).alias(name) for name in outcomes)
        .sample(fraction=1, shuffle=True, seed=1)
    )


def test_another_future_does_not_change_a_feature_of_the_flights():
    flights, weather = flights_and_weather()
    now = datetime.fromisoformat("2013-01-16T15:00:00+00:00")
    conditions = ["temperature", "humidity", "wind_speed", "precipitation", "pressure", "visibility"]
    other_flights = with_another_future(flights, "scheduled_departure", ["dep_delay", "arr_delay"], now)
    other_weather = with_another_future(weather, "observed_at", conditions, now)
    rows = flights.lazy().filter(pl.col("scheduled_departure") <= now).select(flight_delay.request)

    first = build_features(flight_delay, rows, {"flights": flights.lazy(), "weather": weather.lazy()})
    second = build_features(flight_delay, rows, {"flights": other_flights.lazy(), "weather": other_weather.lazy()})

    assert first.height == rows.collect().height
    assert first["origin_late_rate"].null_count() < first.height / 4
    for name in first.columns:
        assert first[name].equals(second[name], null_equal=True), name


def test_a_product_without_lookups_needs_no_tables():
    product = dataclasses.replace(a_product(), features=(HOUR,), gates=())

    found = build_features(product, rides(a_ride(1, january(2, 9))).lazy(), {})

    assert found["hour"].to_list() == [9]
