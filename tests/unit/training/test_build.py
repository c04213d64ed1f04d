"""Training a version: the files of its bundle, its scores on the test split, its natural spread."""

import dataclasses
import re
from datetime import UTC, datetime

import msgspec
import numpy as np
import polars as pl
import pytest

from mlops_assets.data.labels import LABEL
from mlops_assets.drift.reference import ReferenceProfile
from mlops_assets.errors import NotConvertible
from mlops_assets.products.candidates import Candidate, lightgbm, linear
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import metrics_of
from mlops_assets.state.manifest import ESTIMATOR, MODEL, REFERENCE, Input
from mlops_assets.training.build import baseline_row, score_later_periods, train
from mlops_assets.training.fit import estimator_scores, label_codes
from mlops_assets.training.metrics import score
from mlops_assets.training.split import FIT, SPLIT, TEST
from tests.tiny_bundle import tiny_manifest
from tests.unit.training.builders import a_multiclass, a_product, a_regression, a_training_set, january

BLIND = Candidate("blind", "tests.unit.training.builders:always_the_same")


@pytest.mark.parametrize("product", [a_product(), a_multiclass(), a_regression()], ids=lambda product: product.task)
def test_a_trained_version_is_a_bundle_that_scores_like_its_estimator(product, workspace):
    rows = a_training_set(product)
    test = rows.filter(pl.col(SPLIT) == TEST)

    trained = train(product, lightgbm(n_estimators=15), rows)

    assert set(trained.files) == {MODEL, REFERENCE, ESTIMATOR}
    manifest = msgspec.structs.replace(
        tiny_manifest(a_product()), task=product.task, inputs=trained.fitted.inputs, classes=trained.fitted.classes
    )
    state = workspace.of(product)
    state.bundles.write(manifest, trained.files)
    scores = state.bundles.open(1).predict(test)
    np.testing.assert_allclose(scores, trained.fitted.scores(test), atol=1e-5)
    labels = label_codes(product.task, test[LABEL], trained.fitted.classes)
    assert trained.metrics[product.metric] == score(product.metric, product.task, labels, trained.fitted.scores(test))
    assert set(trained.metrics) == set(metrics_of(product.task))


def test_a_version_is_fitted_and_profiled_on_the_fit_split_alone():
    product = a_product()
    rows = a_training_set(product)
    other = rows.with_columns(pl.when(pl.col(SPLIT) == TEST).then(pl.lit("SWF")).otherwise("origin").alias("origin"))

    trained, again = train(product, linear(), rows), train(product, linear(), other)

    profile = msgspec.json.decode(trained.files[REFERENCE], type=ReferenceProfile)
    assert (profile.rows, profile.windows, trained.rows) == (6 * 60, 1, 6 * 60)  # six days make one week
    assert trained.files[MODEL] == again.files[MODEL]
    assert trained.files[REFERENCE] == again.files[REFERENCE]


def test_the_estimator_in_the_bundle_is_the_fitted_one():
    import skops.io

    product = a_regression()
    rows = a_training_set(product)
    trained = train(product, linear(), rows)

    content = trained.files[ESTIMATOR]
    kept = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))

    matrix = np.array([[0, 2.5], [-1, np.nan]], dtype=np.float32)
    expected = estimator_scores(trained.fitted.estimator, product.task, matrix)
    assert estimator_scores(kept, product.task, matrix).tolist() == expected.tolist()


def test_what_is_being_done_is_told():
    product = a_product()
    told: list[str] = []

    train(product, linear(), a_training_set(product), told.append)

    first, last = told
    assert first == "fitting linear on 360 rows, and measuring how much the score varies from week to week"
    assert re.fullmatch(r"fitted in \d+\.\d s; converting to ONNX", last)


def test_an_estimator_without_onnx_form_is_not_trained():
    with pytest.raises(NotConvertible, match="AlwaysTheSame cannot become ONNX"):
        train(a_product(candidates=(BLIND,)), BLIND, a_training_set(a_product()))


def of_days(*minutes: float) -> pl.DataFrame:
    """One ride a day that was waited for so long."""
    days = [datetime(2020, 1, day, tzinfo=UTC) for day in range(1, len(minutes) + 1)]
    return pl.DataFrame(
        {
            **{"origin": "EWR", "distance": 2.0, "asked_at": days, LABEL: minutes, SPLIT: FIT},
            "period": [f"{day:%Y-%m-%d}" for day in days],
        }
    )


def test_the_natural_spread_is_the_deviation_of_the_later_periods_in_percent_of_their_mean():
    # predicted is always 0, so the error of a day is its wait: 8, 10 and 12 in the later half; mean 10, deviation 2
    assert score_later_periods(
        a_regression(candidates=(BLIND,)), BLIND, of_days(1, 1, 1, 8, 10, 12)
    ).spread_percent == pytest.approx(20)


def test_fewer_than_three_later_periods_have_no_spread():
    assert score_later_periods(a_regression(candidates=(BLIND,)), BLIND, of_days(1, 1, 8, 12)).spread_percent == 0


def test_what_a_shift_does_to_the_score_is_no_spread():
    shifted = of_days(1, 1, 1, 1, 8, 10, 12, 90)

    assert score_later_periods(
        a_regression(candidates=(BLIND,)), BLIND, shifted, "2020-01-08"
    ).spread_percent == pytest.approx(20)


def test_a_version_says_what_it_was_fitted_on_and_tested_on():
    trained = train(a_product(), linear(), a_training_set(a_product()), shift_since="2020-01-05")

    # six days of rides at seven past midnight to fit, two to test
    assert trained.shift_since == "2020-01-05"
    assert (trained.fitted_until, trained.tested_from) == (january(6, 0, 7), january(7, 0, 7))


def test_periods_with_one_outcome_only_say_nothing_about_the_spread():
    rows = a_training_set(a_product(), fit_days=8)
    one_sided = rows.with_columns(
        pl.when(pl.col("period") == "2020-01-07").then(1.0).otherwise(LABEL).alias(LABEL)
    ).filter(pl.col(SPLIT) == FIT)

    spread = score_later_periods(a_product(), linear(), one_sided).spread_percent

    without = one_sided.filter(pl.col("period") != "2020-01-07")
    earlier = without.filter(pl.col("period") < "2020-01-05")["period"].unique()
    assert len(earlier) == 4
    assert 0 < spread < 50


def test_a_seed_of_ones_own_is_kept():
    product = dataclasses.replace(a_product(), seed=8)

    trained = train(product, lightgbm(n_estimators=3), a_training_set(product))

    assert trained.fitted.estimator.get_params()["random_state"] == 8


def test_the_baseline_row_holds_medians_and_the_code_of_the_most_frequent_category() -> None:
    inputs = (
        Input("distance", FeatureKind.NUMERIC),
        Input("origin", FeatureKind.CATEGORICAL, "", ("EWR", "JFK")),
        Input("gone", FeatureKind.NUMERIC),
    )
    rows = pl.DataFrame(
        {
            "distance": [1.0, 5.0, None, 100.0],
            "origin": ["JFK", "EWR", "JFK", None],
            "gone": pl.Series([None] * 4, dtype=pl.Float64),
        }
    )

    assert baseline_row(rows, inputs) == (5.0, 1.0, None)
