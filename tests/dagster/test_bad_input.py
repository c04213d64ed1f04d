"""Bad input has a clear outcome, and nothing that was good before is overwritten."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import narwhals as nw
import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.nyc_flights import FLIGHTS, WEATHER, NycFlights
from mlops_assets.products.feature_view import Feature, FeatureView
from mlops_assets.products.gates import at_least
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import PerformanceRecord
from mlops_assets.records.training import Recipe
from mlops_assets.replay.runs import Replay, failure_of
from mlops_assets.sources.file_source import Files
from tests.dagster.builders import (
    FIRST_KEY,
    FIRST_WEEK,
    NEXT_WEEK,
    DamagedFlights,
    a_location,
    a_replay,
    a_small_product,
    an_environment,
    failed_checks,
    file_of,
    materialize,
    materialized,
    newest_metadata,
    serve_from,
)

Damage = Callable[[pl.DataFrame], pl.DataFrame]
DATA = ("raw", "weather", "features", "online_features")
TESTS = ("test_report", "staging_report", "acceptance", "deployment")


def no_rows(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.head(0)


def first_row_twice(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows.head(1)])


def three_at_zero_miles(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(distance=pl.when(pl.int_range(pl.len()) < 3).then(0).otherwise("distance"))


def two_unknown_carriers(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(carrier=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("ZZ")).otherwise("carrier"))


def of_the_next_week(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("scheduled_departure", "reported_at").dt.offset_by("1w"))


def two_columns_less(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("carrier", "distance")


def flight_as_text(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("flight").cast(pl.String))


def report_without_zone(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("reported_at").dt.replace_time_zone(None))


def nobody_landed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(arr_delay=pl.lit(None, pl.Float64))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A home in which the first week was stored as the source really gave it."""
    with a_replay(a_small_product(), tmp_path / "home") as replay:
        replay.at(replay.product.period.at(FIRST_WEEK).end)
        result = materialize(replay, *DATA, key=FIRST_WEEK)
    assert result.success
    return tmp_path / "home"


def error_of(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """What the failed step of this asset says in Dagster's UI, where a person looks first."""
    (event,) = [
        event for event in result.all_events if event.is_step_failure and event.step_key == f"flight_delay__{asset}"
    ]
    error = event.step_failure_data.error
    assert error is not None
    while error.cause is not None:
        error = error.cause
    return error.message.strip()


def files_of(root: Path) -> dict[str, bytes]:
    """Every table that is stored of flights, byte for byte."""
    folder = root / "tables" / "flight_delay"
    found = (path for name in ("raw", "features", "labels", "predictions") for path in (folder / name).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            no_rows,
            "flights: rows: 0 rows break 'at least 1 in 2012-12-31'. If nothing happened in 2012-12-31, declare gaps='allow', "
            'or go on without it: `mlops skip flight_delay 2012-12-31 --reason "…"`.',
        ),
        (first_row_twice, "flights: carrier, flight, origin, scheduled_departure: 2 rows break 'the key is unique'"),
        (three_at_zero_miles, "flights: distance: 3 rows break 'is at least 1 mi'"),
        (
            two_unknown_carriers,
            "flights: carrier: 2 rows break 'is one of 9E, AA, AS, B6, DL, EV, F9, FL, HA, MQ, OO, UA, US, VX, WN, YV'",
        ),
    ],
    ids=["no rows", "duplicate key", "out of range", "unknown category"],
)
def test_rows_that_break_the_contract_fail_its_check_and_stop_everything_downstream(
    stored: Path, damage: Damage, said: str
):
    before = files_of(stored)
    with a_replay(a_small_product(source=DamagedFlights(damage)), stored) as replay:
        result = materialize(replay, *DATA, key=FIRST_WEEK)

        assert not result.success
        assert failed_checks(result) == {"raw.contract": said}
        assert error_of(result, "raw") == f"mlops_assets.errors.ContractBroken: {said}"
        assert materialized(result) == {"weather"}
        assert files_of(stored) == before


def test_a_failed_contract_shows_the_rows_that_broke_it(tmp_path: Path):
    with a_replay(a_small_product(source=DamagedFlights(three_at_zero_miles)), tmp_path) as replay:
        result = materialize(replay, "raw", key=FIRST_WEEK)

        (check,) = result.get_asset_check_evaluations()
        shown = str(check.metadata["violations"].value)
        assert shown.count("'distance': 0") == 3
        # the first departures of 2013: United to Houston at 5:15 and 5:29, American to Miami at 5:40
        assert [f"'flight': {flight}," in shown for flight in (1545, 1714, 1141)] == [True, True, True]
        assert check.blocking


def test_a_week_of_another_week_is_refused(stored: Path):
    before = files_of(stored)
    with a_replay(a_small_product(source=DamagedFlights(of_the_next_week)), stored) as replay:
        result = materialize(replay, *DATA, key=FIRST_WEEK)

        assert "break 'lies in [2012-12-31, 2013-01-07)'" in failed_checks(result)["raw.contract"]
        assert files_of(stored) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (two_columns_less, "flights: missing: carrier, distance. The source has: flight, "),
        (flight_as_text, "flights: flight is String, not integer. "),
        (
            report_without_zone,
            "flights: reported_at is Datetime(time_unit='us', time_zone=None), not timestamp. ",
        ),
    ],
    ids=["missing columns", "wrong type", "timestamp without zone"],
)
def test_columns_that_are_missing_or_of_the_wrong_type_fail_the_check_and_are_named(
    stored: Path, damage: Damage, said: str
):
    before = files_of(stored)
    with a_replay(a_small_product(source=DamagedFlights(damage)), stored) as replay:
        result = materialize(replay, *DATA, key=FIRST_WEEK)

        assert not result.success
        assert list(failed_checks(result)) == ["raw.contract"]
        assert failed_checks(result)["raw.contract"].startswith(said)
        assert error_of(result, "raw") == f"mlops_assets.errors.ContractBroken: {failed_checks(result)['raw.contract']}"
        assert materialized(result) == {"weather"}
        assert files_of(stored) == before


def test_columns_of_another_name_are_listed_where_a_declared_one_is_missing(tmp_path: Path):
    delivered = NycFlights().read("flights", a_small_product().period.at(FIRST_WEEK)).collect()
    delivered.rename({"distance": "distnace"}).write_parquet(tmp_path / "flights.parquet")
    source = Files(
        FLIGHTS, {"flights": str(tmp_path / "flights.parquet"), "weather": str(tmp_path / "unused.csv")}, (WEATHER,)
    )
    with a_replay(a_small_product(source=source), tmp_path / "home") as replay:
        replay.at(replay.product.period.at(FIRST_WEEK).end)
        (tmp_path / "unused.csv").touch()

        result = materialize(replay, "raw", key=FIRST_WEEK)

    assert "flights: missing: distance. The source has: " in error_of(result, "raw")
    assert ", distnace. Is 'distance' called 'distnace' there? " in error_of(result, "raw")


def test_a_misspelt_column_of_the_label_is_said_before_a_row_is_stored(tmp_path: Path):
    misspelt = replace(flight_delay.label, expression=nw.col("arr_dely") > 15)
    with a_replay(a_small_product(label=misspelt), tmp_path) as replay:
        result = materialize(replay, "raw", "labels", key=FIRST_WEEK)

    said = error_of(result, "raw")
    assert said.startswith(
        "mlops_assets.errors.DeclarationError: flight_delay: the label 'late' cannot be computed from flights: "
    )
    assert "(did you mean 'arr_delay'?)" in said
    assert "\n" not in said
    assert materialized(result) == set()


def test_a_period_that_is_not_over_is_not_stored(stored: Path):
    before = files_of(stored)
    with a_replay(a_small_product(), stored) as replay:
        replay.at(replay.product.period.at("2013-01-14").start - timedelta(minutes=1))

        result = materialize(replay, *DATA, key="2013-01-07")

        assert failure_of(result).startswith(
            "mlops_assets.errors.NotArrived: flight_delay: the period 2013-01-07 has not wholly arrived at 2013-01-13 23:59: it ends "
            "2013-01-14. "
        )
        assert materialized(result) == set()
        assert files_of(stored) == before


def test_features_in_a_run_of_their_own_need_the_table_that_was_refused(tmp_path: Path):
    with a_replay(a_small_product(source=DamagedFlights(no_rows)), tmp_path) as replay:
        materialize(replay, *DATA, key=FIRST_WEEK)

        result = materialize(replay, "features", key=FIRST_WEEK)

        assert "flight_delay/raw has no stored partition for 2012-12-31" in failure_of(result)


def test_a_feature_that_divides_by_zero_leaves_the_old_partition_and_works_when_it_is_mended(stored: Path):
    def with_ratio(per: nw.Expr) -> tuple[FeatureView, ...]:
        ratio = Feature("miles_per_seat_over_20", nw.col("distance") / per)
        return (*flight_delay.features, FeatureView("ratio", (ratio,)))

    over_20 = nw.col("seats") - 20  # some regional jets are stored with exactly 20 seats
    before = files_of(stored)
    with a_replay(a_small_product(features=with_ratio(over_20)), stored) as replay:
        result = materialize(replay, "features", key=FIRST_WEEK)

        assert "'flight_delay.miles_per_seat_over_20' is infinite or NaN in " in failure_of(result)
        assert files_of(stored) == before

    mended = nw.when(over_20 != 0).then(over_20)
    with a_replay(a_small_product(features=with_ratio(mended)), stored) as replay:
        assert materialize(replay, "features", key=FIRST_WEEK).success
        built = replay.state.tables.read("features", [FIRST_WEEK])
        assert built["miles_per_seat_over_20"].is_not_null().any()


def test_labels_that_never_come_are_a_state_with_a_name_and_not_a_score_of_zero(replay: Replay):
    never = replay_with(replay, source=DamagedFlights(nobody_landed, week=NEXT_WEEK))
    week = never.product.period.at(NEXT_WEEK)
    never.at(week.end)
    arrived = never.tick("new_data")
    never.at(week.end + never.product.label.delay)

    labelled = never.tick("labels")

    assert [result.success for result in (*arrived, *labelled)] == [True, True]
    reading = never.state.records.load(PerformanceRecord, NEXT_WEEK).reading
    assert (reading.state, reading.value, reading.labelled) == ("no_labels", None, 0)
    decision = never.state.records.load(DriftDecision, NEXT_WEEK)
    assert decision.model_loss is None
    assert decision.action is not Action.RETRAIN
    rows = pl.read_parquet(file_of(never.state, "labels", NEXT_WEEK))
    assert rows["label"].null_count() == rows.height > 0


def test_a_training_set_with_a_period_missing_names_it(replay: Replay):
    for week in ("2013-01-14", "2013-02-04"):
        file_of(replay.state, "labels", week).unlink()

    result = materialize(replay, "training_set", "model", key=FIRST_KEY)

    assert failure_of(result) == (
        "mlops_assets.errors.PartitionMissing: flight_delay/labels has no stored partition for 2013-01-14, 2013-02-04. "
        "Materialise it for those partitions first."
    )
    assert materialized(result) == set()


def test_a_model_needs_a_recipe(replay: Replay):
    for version in replay.state.records.keys(Recipe):
        replay.state.records.remove(Recipe, version)

    result = materialize(replay, "model", key=FIRST_KEY)

    assert failure_of(result) == (
        "mlops_assets.errors.DataError: no recipe of flight_delay has left development. "
        "Materialise flight_delay/experiment and flight_delay/recipe first."
    )


def test_a_failed_gate_stops_staging_acceptance_and_deployment(replay: Replay):
    strict = replay_with(replay, gates=(at_least("roc_auc", 0.99),))
    before = strict.state.ledger.history()

    result = materialize(strict, *TESTS, key=FIRST_KEY)

    assert not result.success
    assert list(failed_checks(result)) == ["test_report.roc_auc_at_least_0_99"]
    assert failed_checks(result)["test_report.roc_auc_at_least_0_99"].endswith(" < 0.99")
    assert materialized(result) == {"test_report"}
    assert strict.state.ledger.history() == before


def test_a_run_of_the_deployment_alone_reads_the_gates_again(replay: Replay):
    strict = replay_with(replay, gates=(at_least("roc_auc", 0.99),))
    before = strict.state.ledger.history()

    result = materialize(strict, "deployment", key=FIRST_KEY)

    assert failure_of(result).startswith(
        "mlops_assets.errors.GateFailed: version 1 of flight_delay is not accepted: failed: roc_auc 0."
    )
    assert failure_of(result).endswith(" < 0.99. The champion stays.")
    assert strict.state.ledger.history() == before


def test_a_deployment_is_refused_when_a_report_changed_since_it_was_accepted(replay: Replay):
    report = replay.state.workspace.home / "records" / "flight_delay" / "test_report" / f"{FIRST_KEY}.json"
    # the same facts, other bytes
    report.write_bytes(report.read_bytes() + b" ")

    result = materialize(replay, "deployment", key=FIRST_KEY)

    assert failure_of(result) == (
        "mlops_assets.errors.GateFailed: the reports or the bundle of version 1 of flight_delay changed after it was accepted. "
        "The champion stays. Materialise flight_delay/acceptance for 2013-02-25 again."
    )


def test_a_deployment_is_refused_when_its_bundle_was_tampered_with(replay: Replay):
    model = replay.state.workspace.home / "bundles" / "flight_delay" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    before = replay.state.ledger.history()

    result = materialize(replay, "deployment", key=FIRST_KEY)

    assert failure_of(result).startswith("mlops_assets.errors.BundleError: ")
    assert "model.onnx" in failure_of(result)
    assert replay.state.ledger.history() == before


def test_predictions_before_any_champion_say_that_nothing_is_deployed(stored: Path):
    with a_replay(a_small_product(), stored) as replay:
        result = materialize(replay, "predictions", "data_drift", key=FIRST_WEEK)

        assert "NoChampion: no champion of 'flight_delay' is deployed yet" in failure_of(result)
        assert materialized(result) == set()


def test_of_a_period_before_the_first_deployment_it_is_said_what_was_deployed_first(stored: Path):
    with a_replay(a_small_product(), stored) as replay:
        serve_from(replay.state, replay.product.period.at(FIRST_KEY).start)

        predicted = materialize(replay, "predictions", key=FIRST_WEEK)
        watched = materialize(replay, "data_drift", key=FIRST_WEEK)

    said = "NoChampion: no champion of 'flight_delay' served at that time: version 1 was the first, at 2013-02-25 00:00 UTC, "
    assert [said in failure_of(result) for result in (predicted, watched)] == [True, True]


def test_a_deployment_fills_an_online_store_that_is_empty_and_leaves_one_that_is_not(replay: Replay):
    product, state = replay.product, replay.state
    (state.workspace.home / "online.sqlite").unlink()
    assert [state.online.freshness(product.name, view) for view in product.lookups] == [None] * len(product.lookups)

    first = materialize(replay, "deployment", key=FIRST_KEY)
    filled = newest_metadata(replay, "deployment")
    again = materialize(replay, "deployment", key=FIRST_KEY)

    assert [first.success, again.success] == [True, True]
    assert None not in [state.online.freshness(product.name, view) for view in product.lookups]
    assert filled["values put into the empty online store"] > 0
    assert "values put into the empty online store" not in newest_metadata(replay, "deployment")


def replay_with(copied: Replay, **changes: object) -> Replay:
    """The same home and instance, with another declaration of the product."""
    product = replace(copied.product, **changes)  # type: ignore[arg-type]
    workspace = copied.state.workspace
    return replace(copied, state=workspace.of(product), definitions=a_location(product, an_environment(workspace)))
