"""Online store: the newest value per key, never one that was unknown or dead at the asked moment."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureKind, FeatureView
from mlops_assets.stores.online_store import OnlineStore

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
weather = FeatureView(
    "weather",
    (Feature("temperature"), Feature("sky", kind=FeatureKind.CATEGORICAL)),
    key=("origin",),
    lookup=lambda tables: tables["weather"],
    time_to_live=timedelta(hours=6),
)
by_number = FeatureView(
    "by_number",
    (Feature("delay"),),
    key=("origin", "number"),
    lookup=lambda tables: tables["numbers"],
    time_to_live=timedelta(days=1),
)


@pytest.fixture
def store(tmp_path: Path) -> OnlineStore:
    return OnlineStore(tmp_path / "online.sqlite")


def observed(at: datetime, temperature: float | None, *, learned: datetime | None = None) -> pl.DataFrame:
    row = {"origin": "EWR", EVENT_TIME: at, CREATED_TIME: learned or at, "temperature": temperature, "sky": "clear"}
    return pl.DataFrame([row])


def test_a_value_is_found_by_its_key(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    found = store.read("p", weather, ["EWR"], NOON)

    assert (found.state, found.values) == ("found", {"temperature": 70, "sky": "clear"})


@pytest.mark.parametrize(("product", "key"), [("p", "JFK"), ("q", "EWR")])
def test_another_key_or_product_is_missing_with_nulls(store: OnlineStore, product: str, key: str) -> None:
    store.write("p", weather, observed(NOON, 70))

    found = store.read(product, weather, [key], NOON)

    assert (found.state, found.values) == ("missing", {"temperature": None, "sky": None})


def test_an_empty_store_misses_everything_and_has_no_freshness(store: OnlineStore) -> None:
    assert store.read("p", weather, ["EWR"], NOON).state == "missing"
    assert store.freshness("p", weather) is None


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(hours=6), "found"),
        (timedelta(hours=6, microseconds=1), "stale"),
        (-timedelta(microseconds=1), "stale"),  # learned after the moment: nobody knew it then
    ],
)
def test_a_value_holds_from_when_it_is_known_until_its_time_to_live(
    store: OnlineStore, age: timedelta, state: str
) -> None:
    store.write("p", weather, observed(NOON, 70))

    assert store.read("p", weather, ["EWR"], NOON + age).state == state


def test_only_a_newer_event_replaces_a_value(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    older = store.write("p", weather, observed(NOON - timedelta(hours=1), 60, learned=NOON + timedelta(hours=1)))
    newer = store.write("p", weather, observed(NOON + timedelta(hours=1), 80))

    assert (older, newer) == (0, 1)
    assert store.read("p", weather, ["EWR"], NOON + timedelta(hours=2)).values["temperature"] == 80
    assert store.freshness("p", weather) == NOON + timedelta(hours=1)


def test_a_correction_of_the_same_event_replaces_it(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    store.write("p", weather, observed(NOON, 71, learned=NOON + timedelta(minutes=5)))

    assert store.read("p", weather, ["EWR"], NOON + timedelta(minutes=5)).values["temperature"] == 71


def test_a_null_value_that_was_observed_is_found(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, None))

    found = store.read("p", weather, ["EWR"], NOON)

    assert (found.state, found.values["temperature"]) == ("found", None)


def test_long_numbers_in_a_key_stay_apart_and_floats_equal_integers(store: OnlineStore) -> None:
    rows = [
        {"origin": "EWR", "number": number, EVENT_TIME: NOON, CREATED_TIME: NOON, "delay": delay}
        for number, delay in ((12_345_678, 1.0), (12_345_679, 2.0))
    ]
    store.write("p", by_number, pl.DataFrame(rows))

    assert store.read("p", by_number, ["EWR", 12_345_678], NOON).values == {"delay": 1}
    assert store.read("p", by_number, ["EWR", 12_345_679.0], NOON).values == {"delay": 2}


def test_another_process_sees_what_was_written(store: OnlineStore, tmp_path: Path) -> None:
    store.write("p", weather, observed(NOON, 70))

    assert OnlineStore(tmp_path / "online.sqlite").read("p", weather, ["EWR"], NOON).state == "found"
