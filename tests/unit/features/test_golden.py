"""Golden rows: a bundle opens as long as the definitions give the values it was trained on, however they are written."""

from typing import Any

import msgspec
import narwhals as nw
import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.features.edge_rows import UNKNOWN_CATEGORY, with_edges
from mlops_assets.features.golden import Golden
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureKind, FeatureView, Tables
from mlops_assets.products.periods import days, hours
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.products.trailing import COUNT, trailing_view
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.workspace import Workspace
from tests.tiny_bundle import tiny_files, tiny_manifest
from tests.unit.training.builders import a_product, a_ride, january, rides

ORIGIN = Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL)
MILES = nw.col("distance")
REAL = rides(
    *(
        a_ride(number, january(2 + number % 3, number % 24, number), waited=number / 4, origin="JFK")
        for number in range(60)
    )
)


def trip(distance: nw.Expr = MILES, origin: Feature = ORIGIN) -> FeatureView:
    return FeatureView("trip", (origin, Feature("distance", distance)))


def told_rides(tables: Tables) -> Any:
    return tables["rides"].with_columns(nw.col("told_at").alias(CREATED_TIME))


def waits(**changes: Any) -> FeatureView:
    usual = {"rows": told_rides, "key": ("origin",), "window": hours(4), "sums": ("waited",)}
    lives = {"time_to_live": hours(6), "lookback": days(1)}
    mean = Feature("mean_wait", nw.col("waited") / nw.col(COUNT))
    return trailing_view("waits", (mean,), **{**usual, **lives, **changes})


def last_ride(tables: Tables) -> Any:
    return tables["rides"].select(
        "origin",
        nw.col("asked_at").alias(EVENT_TIME),
        nw.col("told_at").alias(CREATED_TIME),
        nw.col("waited").alias("last_wait"),
        nw.when(nw.col("waited") > 5).then(nw.lit("long")).otherwise(nw.lit("short")).alias("kind"),
    )


def last_ride_in_other_words(tables: Tables) -> Any:
    # a comment, other line breaks and another name for the frame
    frame = tables["rides"]
    is_long = nw.col("waited") > 5.0
    kind = nw.when(is_long).then(nw.lit("long")).otherwise(nw.lit("short"))
    clocks = [nw.col("asked_at").alias(EVENT_TIME), nw.col("told_at").alias(CREATED_TIME)]
    return frame.with_columns(*clocks, nw.col("waited").alias("last_wait"), kind.alias("kind"))


def last_ride_with_another_mapping(tables: Tables) -> Any:
    return last_ride(tables).with_columns(
        nw.when(nw.col("last_wait") > 6).then(nw.lit("long")).otherwise(nw.lit("short")).alias("kind")
    )


def lately(lookup: Any = last_ride, **changes: Any) -> FeatureView:
    features = (Feature("last_wait"), Feature("kind", kind=FeatureKind.CATEGORICAL))
    lives = {"key": ("origin",), "time_to_live": hours(6), "lookback": days(1)}
    return FeatureView("lately", features, lookup=lookup, **{**lives, **changes})


def declared(*views: FeatureView) -> ModelProduct:
    return a_product(features=views, gates=())


USUAL = declared(trip(), waits(), lately())


def recorded(product: ModelProduct = USUAL) -> Golden:
    """With sixty real rides, which were given the features they have."""
    request = REAL.select(product.request)
    return Golden.record(product, request, request, {"rides": REAL})


def test_there_are_at_least_fifty_rows_with_nulls_extremes_and_the_turns_of_calendars():
    rows = Golden.record(flight_delay).rows

    assert rows.height >= 50
    assert rows["aircraft_year"].null_count() > 0
    distance = flight_delay.source.main.column("distance")
    assert {distance.minimum, distance.maximum} <= set(rows["distance"])
    moments = rows["scheduled_departure"].dt.strftime("%m-%d %H:%M")
    assert {"12-31 23:59", "01-01 00:00", "03-10 07:00", "11-03 06:00"} <= set(moments)


def test_rows_of_a_table_come_with_what_its_contract_permits_at_the_edges():
    table = Table(
        "taxis",
        (
            Column("taxi", Kind.STRING),
            Column("seats", Kind.INTEGER, minimum=2, maximum=8, nullable=True),
            Column("kind", Kind.STRING, choices=("cab", "van")),
            Column("seen_at", Kind.TIMESTAMP),
        ),
        key=("taxi",),
        event_timestamp="seen_at",
        created_timestamp="seen_at",
    )
    real = pl.DataFrame({"taxi": ["a"], "seats": [4], "kind": ["van"], "seen_at": [january(3)]})

    rows = with_edges(table, real.cast({"seen_at": pl.Datetime("us", "UTC")}), january(1))

    assert rows["taxi"].to_list() == ["a", UNKNOWN_CATEGORY, "a", "a", "a", "a", "a"]
    assert rows["seats"].to_list() == [4, 4, 2, 8, None, 4, 4]
    assert rows["kind"].to_list() == ["van", "van", "van", "van", "van", "cab", "van"]
    assert set(rows["seen_at"]) == {january(3)}


def test_the_same_rows_have_the_same_bytes_and_come_back_as_they_were():
    content = recorded().pack()

    again = Golden.unpack(content, "version 1")

    assert recorded().pack() == content
    assert again.rows.equals(recorded().rows)
    assert again.lookups == recorded().lookups
    assert again.first_difference(USUAL) is None


@pytest.mark.parametrize(
    "product",
    [
        declared(trip(), waits(), lately(last_ride_in_other_words)),
        declared(trip(MILES * 2 / 2), waits(), lately()),
        declared(trip(MILES + 1e-10), waits(), lately()),
        declared(trip(origin=Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL, description="in words"))),
    ],
    ids=["comments and line breaks", "another way to compute it", "rounding", "words"],
)
def test_what_gives_the_same_values_is_the_same(product):
    golden = recorded(declared(trip())) if len(product.features) == 1 else recorded()

    assert golden.first_difference(product) is None


@pytest.mark.parametrize(
    ("product", "difference"),
    [
        (
            declared(trip(MILES + 1e-8), waits(), lately()),
            "feature 'distance' was 2.0 and is 2.00000001 now (ride=0, asked_at=",
        ),
        (declared(trip(MILES.fill_null(0)), waits(), lately()), "feature 'distance' was None and is 0.0 now (ride="),
        (
            declared(trip(), waits(window=hours(5)), lately()),
            "feature 'mean_wait' of view 'waits' was ",
        ),
        (
            declared(trip(), waits(), lately(last_ride_with_another_mapping)),
            "feature 'kind' of view 'lately' was 'long' and is 'short' now (origin=JFK, event_time=2020-01-",
        ),
        (
            declared(
                trip(),
                waits(),
                lately(lambda tables: last_ride(tables).filter(~(nw.col("last_wait") == 14.75).fill_null(False))),
            ),
            "feature 'last_wait' of view 'lately' was 14.75 and is 'absent' now (origin=JFK, event_time=2020-01-04T11:59",
        ),
        (declared(trip(), waits(), lately(time_to_live=hours(5))), "time_to_live of view 'lately' was "),
        (declared(trip(), waits(), lately(lookback=days(2))), "lookback of view 'lately' was "),
        (declared(trip(), waits()), "view 'lately' was True and is False now (its declaration)"),
    ],
    ids=["value", "null", "window", "mapping", "rows", "time to live", "lookback", "view"],
)
def test_what_gives_other_values_is_named_with_feature_row_and_both_values(product, difference):
    assert difference in str(recorded().first_difference(product))


def test_only_the_sums_that_the_window_reaches_differ():
    found = recorded().first_difference(declared(trip(), waits(window=hours(5)), lately()))

    assert found is not None
    assert isinstance(found.recorded, float)
    assert isinstance(found.now, float)
    assert abs(found.recorded - found.now) > 0.01
    assert "origin=JFK" in found.row


def test_a_definition_that_fails_on_the_golden_rows_is_a_difference_too():
    def fails(tables: Tables) -> Any:
        return last_ride(tables).with_columns(nw.col("no_such_column"))

    found = recorded().first_difference(declared(trip(), waits(), lately(fails)))

    assert "computing the features was 'possible' and is 'ColumnNotFoundError: " in str(found)
    assert "no_such_column" in str(found)


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    """Version 1 was trained on the usual definitions."""
    product = declared(trip())
    workspace.of(product).bundles.write(tiny_manifest(product), tiny_files(product))
    return workspace


def test_a_bundle_opens_for_the_definitions_it_was_trained_on(trained):
    product = declared(trip(MILES * 1))

    assert open_bundle(trained.of(product), 1).manifest.version == 1


def test_a_bundle_of_other_values_is_refused_with_what_to_do(trained):
    product = declared(trip(MILES * 2))

    with pytest.raises(BundleError) as refused:
        open_bundle(trained.of(product), 1)

    assert (
        "version 1 of taxi was trained on other feature values than the code now computes: feature 'distance' was "
        in str(refused.value)
    )
    assert "Retrain it, or restore the definitions that it was trained with." in str(refused.value)


def test_a_version_that_opened_lets_no_other_one_open_whose_golden_rows_differ(trained):
    state, other = trained.of(declared(trip())), declared(trip(MILES * 2))
    files = {**tiny_files(other), GOLDEN: Golden.record(other).pack()}
    state.bundles.write(msgspec.structs.replace(tiny_manifest(other), version=2), files)
    open_bundle(state, 1)

    with pytest.raises(BundleError, match="version 2 of taxi was trained on other feature values"):
        open_bundle(state, 2)

    assert open_bundle(state, 1).manifest.version == 1


def test_a_feature_that_was_renamed_is_refused_by_both_names(trained):
    product = declared(FeatureView("trip", (ORIGIN, Feature("miles", MILES))))

    with pytest.raises(BundleError, match=r"distance \(numeric\) before, and miles \(numeric\) now"):
        open_bundle(trained.of(product), 1)


def test_golden_rows_that_were_changed_are_refused_by_their_checksum(trained):
    product = declared(trip(MILES * 2))
    trained.objects.put(f"bundles/taxi/1/{GOLDEN}", Golden.record(product).pack())

    with pytest.raises(BundleError, match=r"golden\.zip is damaged"):
        open_bundle(trained.of(product), 1)


def test_a_bundle_without_golden_rows_is_not_opened_for_a_product(workspace):
    product = declared(trip())
    files = {name: content for name, content in tiny_files(product).items() if name != GOLDEN}
    workspace.of(product).bundles.write(tiny_manifest(product), files)

    assert workspace.of(product).bundles.open(1).manifest.version == 1
    with pytest.raises(BundleError, match=r"has no golden.zip, so its features cannot be compared"):
        open_bundle(workspace.of(product), 1)


@pytest.mark.parametrize("content", [b"", b"no archive", recorded().pack()[:-30]])
def test_golden_rows_that_cannot_be_read_are_an_error_of_the_bundle(content):
    with pytest.raises(BundleError, match="version 1: its golden rows cannot be read"):
        Golden.unpack(content, "version 1")


def test_a_lookup_that_fails_on_what_the_contract_permits_is_an_error_of_the_declaration():
    def fails(tables: Tables) -> Any:
        return tables["rides"].with_columns(nw.col("no_such_column"))

    with pytest.raises(
        DeclarationError, match=r"taxi: the features cannot be computed from rows that the source's declaration"
    ):
        Golden.record(declared(trip(), lately(fails)))
