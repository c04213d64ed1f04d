"""Before months of readings say nothing, `mlops check` says what they would need, from the rows that the source holds."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from mlops_assets.data.checking import check_product
from mlops_assets.products.periods import days, weekly
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import ModelProduct
from mlops_assets.sources.file_source import Files
from tests.unit.training.builders import RIDES, InMemory, a_product, a_ride, january, rides

WEEKS = 13
NOW = january(6) + timedelta(weeks=WEEKS)


def weeks_of(rows: int, *, origins: int = 3, days_with_rows: int = 7) -> pl.DataFrame:
    """Thirteen weeks of so many rides each, evenly over the first days of the week."""
    draw = np.random.default_rng(1)
    step = timedelta(days=days_with_rows) / rows
    return rides(
        *(
            a_ride(
                week * rows + number,
                january(6) + timedelta(weeks=week) + number * step,
                origin=f"stop {draw.integers(origins)}",
                distance=float(draw.gamma(2, 3)),
                waited=float(draw.integers(0, 10)),
            )
            for week in range(WEEKS)
            for number in range(rows)
        )
    )


def a_weekly_product(frame: pl.DataFrame, **policy: int) -> ModelProduct:
    return a_product(
        source=InMemory(frame),
        period=weekly(start="2020-01-06"),
        training_window=days(70),
        test_window=days(14),
        drift=DriftPolicy(**policy),
    )


def warnings_of(product: ModelProduct) -> list[str]:
    return [finding.seen for finding in check_product(product, NOW) if not finding.is_well]


def test_a_product_with_rows_enough_is_warned_of_nothing():
    assert warnings_of(a_weekly_product(weeks_of(2_000))) == []


def test_rows_below_min_rows_are_said_with_what_would_hold_them():
    drift, score = warnings_of(a_weekly_product(weeks_of(100)))

    assert drift == (
        "data drift of 2020-03-30 would be inconclusive: 100 rows, the policy asks for 1000: a period has to be 10 times as long, or "
        "min_rows lower"
    )
    # eight periods are pooled at most, and ten hold 1,000 rows
    assert score == (
        "a score of 2020-03-30 would be inconclusive: 100 labelled rows, the policy asks for min_rows=1,000, which 10 such periods "
        "hold. Declare DriftPolicy(pooled_periods=10), longer periods, or a lower min_rows."
    )


def test_rows_that_pass_min_rows_and_are_too_few_to_see_a_shift_are_said_with_how_many_it_takes():
    (drift,) = warnings_of(a_weekly_product(weeks_of(100), min_rows=50))

    assert drift.startswith(
        "data drift of 2020-03-30 would be inconclusive: no feature can trigger an action: all are seasonal, "
    )
    assert "% of 100 rows: about " in drift
    assert " rows in a window would show 5 %, " in drift
    assert " times as many: declare longer periods. If the 8 windows of the training_window differ" in drift


def test_labels_of_too_few_days_are_said():
    (score,) = warnings_of(a_weekly_product(weeks_of(2_000, days_with_rows=2)))

    # two periods are pooled, as two readings must agree, and as eight days take two weeks
    assert score == (
        "a score of 2020-03-30 would be inconclusive: 2 days with labels in a period, the policy asks for min_blocks=8, and 2 periods "
        "are pooled. Declare longer periods, or DriftPolicy(min_blocks=4)."
    )


def test_a_feature_of_very_many_categories_is_said_with_their_number():
    said = warnings_of(a_weekly_product(weeks_of(1_500, origins=100_000)))

    (many,) = [sentence for sentence in said if "categories in" in sentence]
    assert many.startswith("origin has ")
    assert "Group them, or leave the column out if it identifies rows." in many


def test_files_of_one_period_each_are_looked_at_too(tmp_path: Path):
    frame = weeks_of(100)
    product = a_weekly_product(frame, min_rows=50)
    for period in product.period.ended_by(NOW):
        of_period = frame.filter(pl.col("asked_at") >= period.start, pl.col("asked_at") < period.end)
        of_period.write_parquet(tmp_path / f"{period.key}.parquet")
    source = Files(RIDES, {"rides": f"{tmp_path}/{{period}}.parquet"})

    assert warnings_of(replace(product, source=source)) == warnings_of(product)
