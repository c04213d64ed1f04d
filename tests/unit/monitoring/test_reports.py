"""Rules of the reports: the number that is acted on, a named sample, and a page that needs nothing but itself."""

import base64
import gzip
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.drift.reading import measure_drift
from mlops_assets.drift.reference import build_reference
from mlops_assets.monitoring.performance import measure_performance
from mlops_assets.monitoring.reports import render_drift_report, render_performance_report
from mlops_assets.products.catalog import product_named
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task

PRODUCT = product_named("flight_delay")
TWO_MEGABYTES = 2_000_000


def features(rows: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            feature.name: draw.normal(10, 3, rows)
            if feature.kind is FeatureKind.NUMERIC
            else draw.choice(["EWR", "JFK"], rows)
            for feature in PRODUCT.inputs
        }
    )


def unpacked(path: Path) -> str:
    """The page as the browser unpacks it."""
    packed = re.search(r'atob\("([A-Za-z0-9+/=]+)"\)', path.read_text())
    assert packed, "the page holds no packed page"
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def data_of(page: str) -> str:
    """The part that Evidently filled in, without its script."""
    return page[: page.index("var global = globalThis")]


def test_the_drift_report_shows_the_reading_of_the_sensor_names_its_sample_and_draws_what_can_be_drawn(tmp_path):
    reference = features(6_000, seed=1)
    current = features(3_000, seed=2).drop("wind_speed")
    current = current.with_columns(
        seats=pl.when(pl.int_range(pl.len()) < 180).then(float("inf")).otherwise("seats"),
        distance=pl.lit(7.0),
        humidity=pl.lit(None, dtype=pl.Float64),
        visibility=pl.lit("clear"),
    )
    profile = build_reference(reference, PRODUCT.inputs, pl.Series([str(row % 3) for row in range(6_000)]))
    reading = measure_drift(profile, current, min_rows=1_000)
    path = tmp_path / "drift.html"

    render_drift_report(reference, current, PRODUCT, reading, str(path))

    page = data_of(unpacked(path))
    seats = next(feature for feature in reading.features if feature.name == "seats")
    assert reading.reason in page
    assert f'["seats", "{seats.percent:.1f} %", "{seats.low:.1f} to {seats.high:.1f} %"' in page
    assert "a random sample: 2,000 of 3,000 current rows, 2,000 of 6,000 reference rows" in page
    assert "one side has no values or another type: humidity, wind_speed, visibility" in page
    assert path.stat().st_size < TWO_MEGABYTES
    assert [file.name for file in path.parent.iterdir()] == ["drift.html"]  # no half-written neighbour
    assert os.environ["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize(("name", "metric"), [("flight_delay", "roc_auc"), ("air_time", "mae")])
def test_the_performance_report_shows_the_reading_and_leaves_rows_without_a_label_out(tmp_path, name, metric):
    product = product_named(name)
    draw = np.random.default_rng(3)
    scored = pl.DataFrame({"score": draw.random(2_500)}).with_columns(
        label=pl.Series((draw.random(2_500) < 0.4).astype(float)),
        day=pl.int_range(2_500).floordiv(500).cast(pl.Int32).cast(pl.Date),
    )
    scored = scored.with_columns(label=pl.when(pl.int_range(pl.len()) >= 100).then("label"))
    reading = measure_performance(
        scored, task=product.task, metric=metric, expected=0.5, spread_percent=3.0, min_rows=1_000
    )
    path = tmp_path / "performance.html"

    render_performance_report(scored, scored.head(900), product, reading, str(path))

    page = data_of(unpacked(path))
    assert reading.reason in page
    assert "The reading uses all 2,400 labelled rows of 2,500" in page
    assert "a random sample: 2,000 of 2,400 current rows, 800 of 800 reference rows" in page
    assert path.stat().st_size < TWO_MEGABYTES


def test_a_multiclass_report_is_drawn_from_lists_of_class_probabilities(tmp_path):
    product = replace(PRODUCT, task=Task.MULTICLASS)
    draw = np.random.default_rng(4)
    scored = pl.DataFrame(
        {
            "score": draw.dirichlet([1, 1, 1], 600).tolist(),
            "label": draw.integers(0, 3, 600).astype(float),
            "day": pl.Series([row % 7 for row in range(600)], dtype=pl.Int32).cast(pl.Date),
        }
    )
    reading = measure_performance(
        scored, task=product.task, metric="accuracy", expected=0.5, spread_percent=3.0, min_rows=100
    )

    render_performance_report(scored, None, product, reading, str(tmp_path / "performance.html"))

    page = data_of(unpacked(tmp_path / "performance.html"))
    assert reading.reason in page
    assert "The plots below show 600 of 600 current rows" in page


def test_a_report_without_labels_says_so_and_draws_nothing(tmp_path):
    scored = pl.DataFrame(
        {"score": [0.2, 0.4], "label": [None, None], "day": [None, None]},
        schema={"score": pl.Float64, "label": pl.Float64, "day": pl.Date},
    )
    reading = measure_performance(
        scored, task=PRODUCT.task, metric="roc_auc", expected=0.7, spread_percent=3.0, min_rows=1_000
    )

    render_performance_report(scored, None, PRODUCT, reading, str(tmp_path / "performance.html"))

    page = data_of(unpacked(tmp_path / "performance.html"))
    assert "none of 2 predictions has a label yet" in page
    assert "Not drawn, because one side does not have enough different labels" in page
