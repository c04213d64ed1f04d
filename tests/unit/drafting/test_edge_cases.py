"""Tables that are not as one would like them: each ends in a product, or in a sentence that says what to do."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.data.contract import check_contract, conform
from mlops_assets.drafting.draft import Draft
from mlops_assets.drafting.questions import Remarks
from mlops_assets.drafting.windows import choose_windows
from mlops_assets.errors import PlatformError, SourceError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.periods import days
from mlops_assets.products.task import Task
from tests.unit.drafting.orders import FIRST, HOURS, draft, draft_of, orders

AT = pl.col("ordered_at")


def first_day(made: Draft) -> pl.DataFrame:
    """The first period, read through the source of the product that was written, after its contract."""
    main = made.product.source.main
    first = made.product.period.first
    result = check_contract(main, first, conform(main, made.product.source.read(main.name, first)))
    assert result.kept, result.reason
    return result.accepted


def refused(rows: pl.DataFrame | str, place: Path, sentence: str, **wishes: Any) -> None:
    with pytest.raises(PlatformError, match=sentence):
        draft(rows, place, **wishes)


def test_a_table_without_a_key_is_one_series(tmp_path: Path):
    made = draft(orders(), tmp_path, label="late")

    assert made.product.entity_key == ("ordered_at",)
    assert "key=" not in made.text
    assert first_day(made).height == 24


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_to_be_delivered_whole(tmp_path: Path, text: str):
    refused(text, tmp_path, r"orders\.csv is empty\. Deliver it whole, or name another file")


def test_a_file_of_nothing_but_its_header_holds_no_rows(tmp_path: Path):
    refused("ordered_at,late\n", tmp_path, r"orders\.csv has no rows\. Deliver some")
    refused(orders().clear(), tmp_path, r"orders\.parquet has no rows")


def test_one_column_is_too_few(tmp_path: Path):
    refused(
        orders().select("ordered_at"),
        tmp_path,
        "has one column, 'ordered_at'. A product needs at least a time column and",
    )


def test_a_label_of_one_class_teaches_nothing(tmp_path: Path):
    rows = orders().with_columns(late=pl.lit(False))

    refused(
        rows, tmp_path, "--label late: every row has the same label, False, so there is nothing to learn", label="late"
    )


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"label": "lat"}, r"no column 'lat' for --label\. Known: .*Did you mean 'late'\?"),
        ({"time": "orderd_at"}, r"no column 'orderd_at' for --time\. Known: .*Did you mean 'ordered_at'\?"),
        ({"key": ["regoin"]}, r"no column 'regoin' for --key\. Known: .*Did you mean 'region'\?"),
        ({"task": "binry"}, r"no task 'binry'\. .*Did you mean 'binary'\?"),
        ({"zone": "Europa/Berlin"}, r"no time zone 'Europa/Berlin'\. Did you mean 'Europe/Berlin'\?"),
        ({"known_after": "soon"}, r"--known-after 'soon' is not a duration\. Write it as 30m, 6h or 2d"),
        (
            {"time": "region"},
            r"--time region: it contains 'west', .*which cannot be read as timestamps\. Known: ISO 8601",
        ),
        ({"label": "ordered_at"}, r"--label ordered_at: it contains timestamps\. Name a column of numbers or classes"),
        (
            {"label": "region", "task": "regression"},
            r"--label region is string, which is not a number\. Leave --task out",
        ),
        ({"label": "weight", "task": "binary"}, r"--task binary: weight has [\d,]+ values\. Name a column of two"),
    ],
)
def test_a_wrong_option_is_said_with_what_there_is(tmp_path: Path, wishes: dict[str, Any], sentence: str):
    rows = orders().with_columns(AT.dt.replace_time_zone(None))

    refused(rows, tmp_path, sentence, **{"label": "late", **wishes})


def test_no_column_of_time_is_said_with_what_to_add(tmp_path: Path):
    refused(
        orders().drop("ordered_at"),
        tmp_path,
        r"no column of the table says when a row happened: it has region, weight, late\.",
    )


def test_a_time_that_is_null_belongs_to_no_period(tmp_path: Path):
    rows = orders().with_columns(ordered_at=pl.when(AT > FIRST).then(AT))

    refused(
        rows,
        tmp_path,
        r"ordered_at is null in 1 rows, which then belong to no period\. Leave those rows out",
        time="ordered_at",
    )


def test_rows_that_are_there_twice_have_no_key(tmp_path: Path):
    rows = pl.concat([orders(), orders().head(3)])

    refused(
        rows,
        tmp_path,
        r"no columns identify a row: 3 rows have the same ordered_at, region as another one.*--key",
        label="late",
    )
    refused(
        rows,
        tmp_path,
        r"--key region: [\d,]+ rows have the key of another one, such as region",
        label="late",
        key=["region"],
    )


def test_rows_of_one_moment_are_told_apart_by_what_they_are_about(tmp_path: Path):
    rows = pl.concat([orders().with_columns(shop=pl.lit(name)) for name in ("a", "b")])

    made = draft(rows, tmp_path, label="late")

    assert made.product.entity_key == ("shop", "ordered_at")
    assert first_day(made).height == 48


def test_a_column_named_for_it_identifies_a_row_and_goes_on(tmp_path: Path):
    made = draft(orders(order_id=range(HOURS)), tmp_path, label="late")

    order = made.product.source.main.column("order_id")
    assert made.product.entity_key == ("order_id",)
    assert (order.minimum, order.maximum) == (0, None)  # tomorrow's numbers are higher
    assert "order_id" not in made.product.feature_names


def test_a_number_that_counts_the_rows_is_no_feature_and_has_no_end(tmp_path: Path):
    rows = orders().with_row_index("row", offset=7)

    made = draft(rows, tmp_path, label="late")

    assert "row" not in made.product.feature_names
    assert not made.product.source.main.has("row")
    assert any("left out: row (a running number" in warning for warning in made.remarks.warnings)


def test_a_label_with_nulls_is_learned_from_where_it_is_known(tmp_path: Path):
    made = draft(orders().with_columns(late=pl.when(AT.dt.hour() > 0).then("late")), tmp_path, label="late")

    assert made.product.task is Task.BINARY
    assert (
        "60 rows without late are not used for training",
        "their outcome is not known yet, or never will be",
    ) in made.remarks.assumed
    assert first_day(made)["late"].null_count() == 1


def test_texts_beside_numbers_are_left_out_with_examples(tmp_path: Path):
    mixed = pl.when(AT.dt.hour() == 5).then(pl.lit("about 3")).otherwise(pl.col("weight").cast(pl.String))

    made = draft(orders().with_columns(weight=mixed), tmp_path, label="late")

    assert made.product.feature_names == ("region", "hour", "weekday")
    assert any(
        re.match(r"left out: weight \(it contains texts and numbers \(60 texts, such", line)
        for line in made.remarks.warnings
    )


def test_words_for_null_among_numbers_are_declared(tmp_path: Path):
    weight = pl.when(AT.dt.hour() == 5).then(pl.lit("n/a")).otherwise(pl.col("weight").cast(pl.String))

    made = draft(orders().with_columns(weight=weight).write_csv(), tmp_path, label="late")

    assert 'null_values=("", "n/a")' in made.text
    assert first_day(made)["weight"].null_count() == 1


def test_semicolons_and_decimal_commas_are_found(tmp_path: Path):
    weight = pl.col("weight").cast(pl.String).str.replace(".", ",", literal=True)

    made = draft(orders().with_columns(weight=weight).write_csv(separator=";"), tmp_path, label="late")

    assert (made.product.source.separator, made.product.source.decimal) == (";", ",")
    assert first_day(made)["weight"].to_list() == orders()["weight"].head(24).to_list()


@pytest.mark.parametrize(
    ("written", "format"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", ""),
        ("%Y-%m-%d %H:%M:%S", ""),
        ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M"),
        ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M"),
        ("%Y-%m-%d %H:%M:%S+00", ""),
        ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S UTC"),
        ("%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M"),
        ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M:%S %p"),
        ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M"),
        ("%d.%m.%y %H:%M", "%d.%m.%y %H:%M"),
        ("%b %d %Y %H:%M", "%B %d %Y %H:%M"),
        ("%-d %B %Y %H:%M", "%d %B %Y %H:%M"),
        ("%s", "epoch seconds"),
        ("%s000", "epoch milliseconds"),
    ],
)
def test_moments_are_read_as_they_are_written(tmp_path: Path, written: str, format: str):
    made = draft(orders().with_columns(AT.dt.strftime(written)).write_csv(), tmp_path, label="late", zone="UTC")

    assert made.product.source.main.column("ordered_at").format == format
    assert first_day(made)["ordered_at"].to_list() == [FIRST + timedelta(hours=hour) for hour in range(24)]


@pytest.mark.parametrize(
    ("written", "first", "format"),
    [
        (lambda number: 20260101 + number // 31 % 12 * 100 + number % 28, FIRST, "%Y%m%d"),
        (lambda number: 1900 + number // 10, datetime(1900, 1, 1, tzinfo=UTC), "%Y"),
        (lambda number: f"{1980 + number // 12}-{1 + number % 12:02}", datetime(1980, 1, 1, tzinfo=UTC), "%Y-%m"),
    ],
)
def test_days_months_and_years_may_be_numbers(
    tmp_path: Path, written: Callable[[int], object], first: datetime, format: str
):
    rows = orders(600, season=[written(number) for number in range(600)], order_id=range(600)).drop("ordered_at")

    made = draft(rows, tmp_path, label="late", time="season")

    assert made.product.source.main.column("season").format == format
    assert first_day(made)["season"].min() == first


def test_years_are_the_time_only_where_nothing_else_is(tmp_path: Path):
    built = [1990 + number % 30 for number in range(HOURS)]

    assert draft(orders(year=built), tmp_path, label="late").product.event_timestamp == "ordered_at"
    alone = orders(year=built, order_id=range(HOURS)).drop("ordered_at")
    assert draft(alone, tmp_path, label="late").product.event_timestamp == "year"


def test_seconds_are_the_time_whatever_their_name_where_nothing_else_is(tmp_path: Path):
    rows = orders().with_columns(AT.dt.epoch("s")).rename({"ordered_at": "clicked"})

    made = draft(rows, tmp_path, label="late")

    assert made.product.source.main.column("clicked").format == "epoch seconds"


@pytest.mark.parametrize("name", ["hour", "weekday"])
def test_a_time_named_as_a_part_of_it_is_no_feature(tmp_path: Path, name: str):
    made = draft(orders().rename({"ordered_at": name}), tmp_path, label="late")

    assert made.product.event_timestamp == name
    assert name not in made.product.feature_names


def test_days_that_may_be_read_both_ways_are_read_in_the_order_of_the_rows(tmp_path: Path):
    # the first twelve days of twelve months: every one of them is a day in either order
    days_of_month = [
        FIRST.replace(month=month, day=day, hour=hour)
        for month in range(1, 13)
        for day in range(1, 13)
        for hour in range(24)
    ]
    written = [f"{moment:%d/%m/%Y %H:%M}" for moment in days_of_month]

    made = draft(orders(len(written), ordered_at=written).write_csv(), tmp_path, label="late", zone="UTC")

    assert made.product.source.main.column("ordered_at").format == "%d/%m/%Y %H:%M"


def test_a_wall_clock_is_taken_as_utc_and_said_so(tmp_path: Path):
    made = draft(orders().with_columns(AT.dt.replace_time_zone(None)), tmp_path, label="late")

    assert 'zone="UTC"' in made.text


def test_a_zone_whose_clocks_never_show_a_time_is_refused(tmp_path: Path):
    # in Berlin, 2026-03-29 02:00 to 03:00 is skipped
    rows = orders(100 * 24).with_columns(AT.dt.replace_time_zone(None))

    refused(
        rows,
        tmp_path,
        r"Europe/Berlin has 1 of these times never or twice",
        zone="Europe/Berlin",
        label="late",
    )


def test_names_that_clients_cannot_write_are_changed_and_kept_as_source_names(tmp_path: Path):
    renamed = {"region": "class", "weight": "Größe in cm", "late": 'Späte "Lieferung"'}

    made = draft(orders().rename(renamed), tmp_path, label='Späte "Lieferung"')

    assert made.product.request == ("ordered_at", "class_", "groesse_in_cm")
    assert made.product.label.name == "spaete_lieferung"
    assert first_day(made)["groesse_in_cm"].to_list() == orders()["weight"].head(24).to_list()


@pytest.mark.parametrize("taken", ["label", "period", "split", "prediction_id", "score"])
def test_names_that_the_platform_needs_are_changed(tmp_path: Path, taken: str):
    made = draft(orders().rename({"weight": taken}), tmp_path, label="late")

    assert f"{taken}_" in made.product.feature_names


def test_of_2000_columns_the_most_predictive_ones_are_kept(tmp_path: Path):
    draw = np.random.default_rng(1)
    noise = pl.DataFrame({f"noise_{number}": draw.normal(size=HOURS).round(3) for number in range(2_000)})

    made = draft(pl.concat([orders(), noise], how="horizontal"), tmp_path, label="late")

    assert len(made.product.source.main.columns) <= 103
    assert {"weight", "region"} <= set(made.product.feature_names)
    assert any("columns, which predict less than the other 100" in line for line in made.remarks.warnings)


def test_columns_that_tell_the_label_by_themselves_are_left_out(tmp_path: Path):
    minutes = pl.col("late").cast(pl.Int64) * 40 + AT.dt.minute()

    made = draft(orders(minutes_late=minutes, fine=minutes * 2.5), tmp_path, label="late")

    assert not {"minutes_late", "fine"} & set(made.product.feature_names)
    (said,) = [line for line in made.remarks.warnings if "alone predict" in line]
    assert said.startswith("left out: minutes_late (1.00 of 1), fine (1.00 of 1) each alone predict late, as a part")


def test_a_column_that_told_the_label_in_a_part_of_the_past_is_left_out(tmp_path: Path):
    # the first training, days 0 to 34, would be refused by the gate; from day 35 on the column says nothing
    noise = pl.Series(np.random.default_rng(1).integers(0, 2, HOURS))
    fined = pl.when((AT - FIRST).dt.total_days() < 35).then(pl.col("late").cast(pl.Int64)).otherwise(noise)

    made = draft(orders(fined=fined), tmp_path, label="late")

    assert "fined" not in made.product.feature_names
    assert any(line.startswith("left out: fined (1.00 of 1) alone predicts late") for line in made.remarks.warnings)


def test_a_candidate_that_fails_in_a_part_of_the_past_is_not_drafted(tmp_path: Path):
    # the test of the first training, days 28 to 34, holds weights in another unit: a line goes on to where they are
    unit = pl.when((AT - FIRST).dt.total_days().is_between(27, 34)).then(30.0).otherwise(1.0)
    minutes = 100 * (pl.col("region") == "north").cast(pl.Float64) + pl.col("weight")

    made = draft(orders(minutes=minutes, weight=pl.col("weight") * unit).drop("late"), tmp_path, label="minutes")

    assert [candidate.name for candidate in made.product.candidates] == ["lightgbm"]
    assert (
        "without the candidate linear",
        "a constant answer beats it in some window of the past",
    ) in made.remarks.assumed


def test_constant_columns_and_long_texts_are_left_out(tmp_path: Path):
    rows = orders(
        country=pl.lit("DE"), note=pl.int_range(pl.len()).cast(pl.String) + " was ordered", empty=pl.lit(None, pl.Int64)
    )

    made = draft(rows, tmp_path, label="late")

    assert made.product.feature_names == ("region", "weight", "hour", "weekday")
    assert [line.partition(" (")[0] for line in made.remarks.warnings] == [
        "left out: country",
        "left out: note",
        "left out: empty",
    ]


def test_days_without_rows_are_allowed_and_the_period_that_is_tried_has_some(tmp_path: Path):
    made = draft(orders().filter(AT.dt.day() != 2), tmp_path, label="late")  # the second day of all is without rows

    assert 'gaps="allow"' in made.text
    assert not [line for line in made.remarks.warnings if "breaks the contract" in line]


def test_a_few_days_of_many_rows_are_cut_into_hours(tmp_path: Path):
    minutes = [FIRST + timedelta(minutes=number) for number in range(3 * 24 * 60)]

    made = draft(orders(len(minutes), ordered_at=minutes), tmp_path, label="late", known_after="1h")

    assert 'period=ml.hourly(start="2026-01-01T00:00")' in made.text
    # 70 % of 72 hours are trained on; the test is 12 of them and the wait
    assert "training_window=ml.hours(50)" in made.text
    assert "test_window=ml.hours(13)" in made.text
    assert (
        "hours rather than days",
        "3 days are too few to train on some and to test on others",
    ) in made.remarks.assumed
    assert any("until 8 days have arrived, its readings are inconclusive" in line for line in made.remarks.warnings)


def test_rows_of_one_day_in_a_year_are_cut_into_years(tmp_path: Path):
    days_of_june = [datetime(1900 + number // 10, 6, 1, tzinfo=UTC) for number in range(600)]
    rows = orders(600, ordered_at=days_of_june, order_id=range(600))

    made = draft(rows, tmp_path, label="late")

    assert 'period=ml.cron("0 0 1 1 *", start="1900-01-01")' in made.text
    # 300 rows are thirty years of ten; the next ten years are tested on, after the year in which the first day's wait ends
    assert made.product.period.in_window(made.product.training_window) >= 40
    assert first_day(made).height == 10


def test_periods_without_rows_are_not_counted_among_those_that_are_fitted():
    every_fifth_year = pl.Series([datetime(1900 + 5 * (number // 100), 1, 1, tzinfo=UTC) for number in range(2_000)])

    windows = choose_windows(every_fifth_year, timedelta(days=1), Remarks())

    # six years with rows are 26 years at least; three of them would be rows enough
    assert windows.training - windows.test - 1 >= 26


def test_four_hundred_years_of_months_are_divided_in_seconds():
    months = pl.Series([datetime(1600 + number // 12, 1 + number % 12, 1, tzinfo=UTC) for number in range(4_800)])

    started = process_time()
    windows = choose_windows(months, timedelta(days=1), Remarks())

    assert (windows.every, windows.rows) == ("monthly", 1)
    assert windows.training >= 400  # 300 rows to fit and 100 to test
    assert process_time() - started < 20  # ten minutes, where every window is summed anew


def test_too_little_history_is_said_with_what_is_needed(tmp_path: Path):
    refused(
        orders(300),
        tmp_path,
        r"300 labelled rows over 12 days are too few: every training needs 300 rows to fit, 100 later ones to test, .*"
        r"besides those whose outcome is not known yet \(1 day; --known-after\)",
        label="late",
    )
    refused(orders(100), tmp_path, r"100 rows have a late, and a training needs 250", label="late")


def test_three_classes_are_multiclass_and_few_numbers_may_be(tmp_path: Path):
    assert draft(orders(), tmp_path, label="region").product.task is Task.MULTICLASS
    stars = orders(stars=(pl.col("weight") > 2).cast(pl.Int64) + (pl.col("weight") > 5).cast(pl.Int64)).drop("weight")

    assert draft(stars, tmp_path, label="stars").product.task is Task.MULTICLASS
    assert draft(stars, tmp_path, label="stars", task="regression").product.task is Task.REGRESSION


def test_a_text_of_two_values_is_binary_and_says_which_is_predicted(tmp_path: Path):
    answers = pl.col("late").replace_strict({True: "yes", False: "no"}, return_dtype=pl.String)

    made = draft(orders().with_columns(late=answers), tmp_path, label="late")

    assert 'ml.nw.col("late") == "yes"' in made.text
    assert ("binary: the probability of 'yes' in late is predicted", "the other value is 'no'") in made.remarks.assumed


def test_a_column_that_says_when_the_outcome_was_learned_is_the_created_timestamp(tmp_path: Path):
    made = draft(orders(reported_at=AT + timedelta(hours=5)), tmp_path, label="late", time="ordered_at")

    assert made.product.created_timestamp == "reported_at"
    assert made.product.label.delay == timedelta(hours=5)
    assert "reported_at" not in made.product.request


def test_labels_wait_until_nearly_all_outcomes_are_known(tmp_path: Path):
    # every tenth one takes 50 hours, the others 5, and one of them a month
    number = pl.int_range(pl.len())
    hours_taken = pl.when(number == 5).then(720).when(number % 10 == 0).then(50).otherwise(5)
    made = draft(orders(reported_at=AT + pl.duration(hours=hours_taken)), tmp_path, label="late", time="ordered_at")

    assert made.product.label.delay == days(3)
    assert ("labels are read 3 days after a row", "99% are known by then") in made.remarks.assumed


def test_the_wait_for_the_outcome_is_the_label_delay(tmp_path: Path):
    assert draft(orders(), tmp_path, label="late").product.label.delay == days(1)
    assert draft(orders(), tmp_path, label="late", known_after="12h").product.label.delay == timedelta(hours=12)


def test_limits_of_whole_numbers_are_whole(tmp_path: Path):
    flag = draft(orders(flag=(pl.col("weight") > 4).cast(pl.Int64)), tmp_path, label="late").product.source.main

    assert (flag.column("flag").minimum, flag.column("flag").maximum) == (0, 1)


def test_numbers_of_many_digits_make_a_gate_that_has_a_name(tmp_path: Path):
    made = draft(orders(revenue=pl.col("weight") * 1e8).drop("late", "weight"), tmp_path, label="revenue")

    assert re.search(r'ml\.at_most\("mae", \d{3}_000_000\)', made.text)
    assert re.fullmatch(r"mae_at_most_\d(_\d)?e08", made.product.gates[0].name)


def test_texts_are_categories_and_numbers_are_numbers(tmp_path: Path):
    made = draft(orders(), tmp_path, label="late")

    kinds = {feature.name: feature.kind for feature in made.product.inputs}
    assert kinds["region"] is FeatureKind.CATEGORICAL
    assert kinds["weight"] is FeatureKind.NUMERIC


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("data", r"data is a folder\. Name its files, as in data/\*\.parquet, or data/\*\*/\*\.parquet with those"),
        ("orders.xlsx", r"orders\.xlsx has no known format\. Known: csv, json.*Save its sheet as CSV in UTF-8"),
        ("orders.csv.gz", r"orders\.csv\.gz has no known format\. .* Unpack it, or write Parquet"),
        ("orders.tsv", r"orders\.tsv has no known format\. .* Name it \.csv: its separator may be a tab"),
        ("orders.feather", r"orders\.feather has no known format\. .* Write it as Parquet"),
        ("https://a.b/orders.csv", r"https://a\.b/orders\.csv cannot be read\. Known: files on disk, s3://"),
        ("mysql://ana:secret@db/a?table=b", r"^mysql://db/a cannot be read\. Known: .* Copy the table to one of them"),
        ("orders.csv", r"no file matches .*orders\.csv; .* contains data/\. Correct the path"),
        ("orders.db?table=a", r"no file matches .*orders\.db; .*Correct the path"),
    ],
)
def test_a_source_that_is_not_there_is_said_with_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str
):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SourceError, match=sentence):
        draft_of(source)


def test_the_last_line_of_a_report_is_named_and_not_the_good_ones(tmp_path: Path):
    rows = orders().with_columns(AT.dt.strftime("%d.%m.%Y %H:%M"))

    refused(
        rows.write_csv() + "Total,,4321.5,\n",
        tmp_path,
        r"--time ordered_at: 'Total' cannot be read as '01\.01\.2026 00:00' is\. Leave such rows out",
        time="ordered_at",
    )


def test_a_file_without_a_header_is_not_drafted_from_the_values_of_its_first_line(tmp_path: Path):
    rows = orders(300).with_columns(AT.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))

    refused(
        rows.write_csv(include_header=False),
        tmp_path,
        r"orders\.csv has no header: its first line is 2026-01-01T00:00:00Z, .*Write the names of the columns",
    )


@pytest.mark.parametrize("before", ["# made by our shop\n# on Monday\n", "Orders of the shop\n\n", "sep=,\n"])
def test_lines_before_the_header_are_named(tmp_path: Path, before: str):
    said = before.partition("\n")[0]

    refused(
        before + orders(300).write_csv(),
        tmp_path,
        rf"its first line, '{said}', is no header, .*Remove what stands before the header",
    )


def test_blanks_after_the_separators_are_to_be_removed(tmp_path: Path):
    text = orders(300).with_columns(AT.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv().replace(",", ", ")

    refused(text, tmp_path, r"has blanks around the values of ' region', such as ' \w+'\. Remove them, as in: sed")


@pytest.mark.parametrize("written", ["11,18", "1,234.5", "1 234", "$12.00", "12 %", "€3", " 7.5"])
def test_numbers_with_signs_are_left_out_with_the_way_to_write_them(tmp_path: Path, written: str):
    price = pl.when(AT.dt.hour() == 0).then(pl.lit(written)).otherwise(pl.format("{} %", AT.dt.hour()))
    rows = orders(price=price).with_columns(AT.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))

    made = draft(rows.write_csv(), tmp_path, label="late")

    assert "price" not in made.product.feature_names
    assert (
        f"left out: price (it contains numbers written as {written!r}; write them plainly, as 1234.5)"
        in made.remarks.warnings
    )


@pytest.mark.parametrize("written", ["1.2.3", "10-20", "A12", "00123", "B 7"])
def test_codes_with_digits_are_categories(tmp_path: Path, written: str):
    code = pl.when(AT.dt.hour() > 3).then(pl.lit(written)).otherwise(pl.lit("none"))

    assert "code" in draft(orders(code=code).write_csv(), tmp_path, label="late", zone="UTC").product.feature_names


def test_a_word_for_null_beside_yes_and_no_is_no_third_class(tmp_path: Path):
    late = (
        pl.when(AT.dt.hour() == 5).then(pl.lit("NA")).when(pl.col("late")).then(pl.lit("yes")).otherwise(pl.lit("no"))
    )

    made = draft(orders().with_columns(late=late).write_csv(), tmp_path, label="late")

    assert made.product.task is Task.BINARY
    assert 'null_values=("", "NA")' in made.text
    assert first_day(made)["late"].null_count() == 1


def test_capitals_are_true_and_false_too(tmp_path: Path):
    rows = orders().with_columns(pl.col("late").cast(pl.String).str.to_uppercase())

    made = draft(rows.write_csv(), tmp_path, label="late")

    assert 'ml.Column("late", ml.Kind.BOOLEAN, nullable=True)' in made.text
    assert first_day(made)["late"].to_list() == orders()["late"].head(24).to_list()


def test_a_csv_of_very_many_rows_is_read_in_part_and_said_to_be_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.drafting.origin.MOST_ROWS", HOURS - 1)

    made = draft(orders().write_csv(), tmp_path, label="late")

    assert ("one of 2 rows was read", "there are about 1,440") in made.remarks.assumed
    assert any(
        "from its first line to its last: Parquet would be much faster" in line for line in made.remarks.warnings
    )


def test_a_column_without_a_name_is_left_out(tmp_path: Path):
    header, _, lines = orders().with_row_index("n", offset=7).write_csv().partition("\n")

    made = draft(f"{header.removeprefix('n')}\n{lines}", tmp_path, label="late")

    assert made.product.source.main.delivered[0].name == "ordered_at"
    assert "left out: '' (it has no name in the header)" in made.remarks.warnings


@pytest.mark.parametrize("wrong", [datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_time_that_stands_for_no_time_is_named(tmp_path: Path, wrong: datetime):
    rows = orders().with_columns(ordered_at=pl.when(AT > FIRST).then(AT).otherwise(pl.lit(wrong)))

    # one of 1,440 hours from 2026-01-01 to 2026-03-01 is wrong
    refused(
        rows,
        tmp_path,
        rf"a few rows are far from the others, such as {wrong:%Y-%m-%d}: 98 of 100 lie between 2026-01-01 and 2026-03-01",
        label="late",
    )


@pytest.mark.parametrize("is_late", [AT.dt.ordinal_day() < 4, AT.dt.month() == 3])
def test_an_outcome_that_occurs_in_one_part_of_the_history_alone_is_refused(tmp_path: Path, is_late: pl.Expr):
    refused(
        orders().with_columns(late=is_late),
        tmp_path,
        r"have the same label, and no other part of the history can be trained on\. Add history in which each outcome",
        label="late",
    )


def test_numbers_above_the_largest_integer_are_left_out(tmp_path: Path):
    rows = orders(order_id=pl.int_range(pl.len()).cast(pl.UInt64) + 2**63)

    made = draft(rows, tmp_path, label="late")

    assert "left out: order_id (it contains numbers above 2^63, which fit no integer; write them as texts)" in (
        made.remarks.warnings
    )


def test_decimals_without_digits_after_the_point_are_whole_numbers(tmp_path: Path):
    rows = orders(order_id=pl.int_range(pl.len()).cast(pl.Decimal(12, 0)))

    made = draft(rows, tmp_path, label="late")

    assert made.product.entity_key == ("order_id",)
    assert first_day(made)["order_id"].to_list() == list(range(24))


def test_numbers_that_no_float32_holds_are_no_label(tmp_path: Path):
    refused(
        orders().with_columns(weight=pl.col("weight") * 1e300),
        tmp_path,
        r"--label weight: it contains infinite values, or numbers beyond 3\.4e38",
        label="weight",
    )


def test_braces_and_quotes_in_a_class_stay_as_they_are(tmp_path: Path):
    odd = 'it\'s {col} "late"\n'
    late = pl.when(pl.col("late")).then(pl.lit(odd)).otherwise(pl.lit("in time"))

    made = draft(orders().with_columns(late=late), tmp_path, label="late")

    assert made.product.task is Task.BINARY
    assert set(first_day(made)["late"]) == {odd, "in time"}


def test_a_line_of_another_length_is_named(tmp_path: Path):
    refused(
        "at,late\n2026-01-01,true\n2026-01-02\n",
        tmp_path,
        r"orders\.csv is broken: line 3 has 1 fields, the header has 2",
    )


def test_an_sqlite_table_is_drafted_and_read(tmp_path: Path):
    import sqlite3

    rows = orders().with_columns(AT.dt.strftime("%Y-%m-%d %H:%M:%S"), pl.col("late").cast(pl.Int64))
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (ordered_at text, region text, weight real, late integer)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows.rows())
        connection.execute("CREATE TABLE others (a integer)")
    connection.close()

    with pytest.raises(SourceError, match=r"has the tables orders, others\. Name one: …\?table=orders"):
        draft_of(f"{tmp_path}/shop.db")
    with pytest.raises(SourceError, match=r"has no table 'order'\. Known: orders, others\. Did you mean 'orders'\?"):
        draft_of(f"sqlite://{tmp_path}/shop.db?table=order")
    made = draft_of(f"{tmp_path}/shop.db?table=orders", label="late")
    assert made.product.task is Task.BINARY
    assert first_day(made).height == 24


def test_a_draft_of_fifteen_columns_has_at_most_forty_lines(tmp_path: Path):
    # each set of twelve values would fill fifteen lines
    wordy = {f"wordy_{n}": pl.format("a rather long name of {}", AT.dt.hour() % 12) for n in range(5)}
    numbers = {f"number_{n}": AT.dt.hour() * n + pl.col("weight") for n in range(6)}

    made = draft(orders(**wordy, **numbers).write_csv(), tmp_path, label="late", zone="UTC")

    assert len(made.product.source.main.columns) == 15
    assert len(made.text.splitlines()) <= 40
    assert made.product.source.main.column("region").choices == ("north", "south", "west")
    assert made.product.source.main.column("wordy_0").choices == ()


def test_too_many_classes_are_refused(tmp_path: Path):
    code = pl.int_range(pl.len()).mod(60).cast(pl.String)

    refused(
        orders(code=code),
        tmp_path,
        "--label code has 60 different values, and a model may have at most 50 classes",
        label="code",
    )
