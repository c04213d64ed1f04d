"""Calibrated probabilities: fitted on later rows, nearer to what happens, in the same order, and applied by the bundle."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import DeclarationError, NothingToLearnFrom
from mlops_assets.products.candidates import dummy, forest, gradient_boosting, lightgbm, linear
from mlops_assets.products.task import Task
from mlops_assets.state.calibration import SOFTENING, Calibration
from mlops_assets.state.encoding import encode
from mlops_assets.state.manifest import MODEL, REFERENCE
from mlops_assets.state.workspace import Workspace
from mlops_assets.testing.report import _calibration_error
from mlops_assets.training.build import train
from mlops_assets.training.calibration import MIN_ROWS, fit_calibration, split_in_time
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import Fitted, estimator_scores, fit, label_codes
from mlops_assets.training.metrics import score
from mlops_assets.training.split import FIT, PERIOD, SPLIT, TEST
from tests.tiny_bundle import tiny_manifest
from tests.unit.training.builders import a_multiclass, a_product, a_regression, a_training_set

PRODUCT = a_product(calibrate=True)
PLAIN = a_product()
ROWS = a_training_set(PRODUCT, fit_days=10, test_days=10, rows=300)
FIT_ROWS, TEST_ROWS = (ROWS.filter(pl.col(SPLIT) == split) for split in (FIT, TEST))
# leaves of single rows: nearly every probability it gives is close to 0 or 1
TOO_SURE = lightgbm("too_sure", n_estimators=40, num_leaves=63, min_child_samples=1, learning_rate=0.5)
FAMILIES = [linear(), gradient_boosting(max_iter=20), lightgbm(n_estimators=20), forest(n_estimators=10), dummy()]


def labels_of(rows: pl.DataFrame) -> Any:
    return label_codes(Task.BINARY, rows[LABEL], ("false", "true"))


def error_of(fitted: Fitted) -> float:
    """Expected calibration error on the test rows."""
    return _calibration_error(labels_of(TEST_ROWS), fitted.scores(TEST_ROWS), TEST_ROWS["asked_at"].dt.date()).value


def bundle_of(workspace: Workspace, fitted: Fitted) -> Any:
    state = workspace.of(PLAIN)
    manifest = msgspec.structs.replace(tiny_manifest(PLAIN), inputs=fitted.inputs, calibration=fitted.calibration)
    files = {MODEL: to_onnx(fitted.estimator, Task.BINARY, len(fitted.inputs)), REFERENCE: b"{}"}
    state.bundles.write(manifest, files)
    return state.bundles.open(1)


@pytest.mark.parametrize(
    ("slope", "intercept", "probability", "calibrated"),
    [
        (1.0, 0.0, 0.25, 0.2505 / 1.001),  # odds of 0.2505 to 0.7505
        (2.0, 0.0, 0.25, 0.10024),  # the odds squared: 0.3338 ** 2 = 0.1114
        (0.0, np.log(3), 0.9, 0.75),  # odds of 3 whatever the model says
        (1.0, 0.0, 0.0, 0.0005 / 1.001),
        (1.0, 0.0, 1.0, 1.0005 / 1.001),
        (1e6, 0.0, 1.0, 1.0),  # far beyond what exp can hold
        (1e6, 0.0, 0.0, 0.0),
    ],
)
def test_slope_and_intercept_act_on_the_log_odds(slope, intercept, probability, calibrated):
    assert SOFTENING == 0.0005

    found = Calibration(slope, intercept).apply(np.array([probability], dtype=np.float32))

    assert found == pytest.approx([calibrated], abs=5e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.01, 50), st.floats(-20, 20))
def test_a_positive_slope_keeps_the_order(probabilities, slope, intercept):
    ordered = np.sort(np.array(probabilities))

    found = Calibration(slope, intercept).apply(ordered)

    assert np.all(np.diff(found) >= 0)
    assert np.all((found >= 0) & (found <= 1))


def test_the_fitted_sigmoid_is_the_one_of_scikit_learn():
    draw = np.random.default_rng(3)
    matrix = draw.normal(size=(4_000, 1))
    labels = (draw.random(4_000) < 1 / (1 + np.exp(-0.5 * matrix[:, 0] - 1))).astype(float)
    too_sure = LogisticRegression().fit(matrix, labels)
    too_sure.coef_, too_sure.intercept_ = np.array([[1.0]]), np.array([0.0])
    theirs = CalibratedClassifierCV(FrozenEstimator(too_sure), method="sigmoid").fit(matrix, labels)

    ours = fit_calibration(too_sure.predict_proba(matrix)[:, 1], labels)

    given_by_ours = ours.apply(too_sure.predict_proba(matrix)[:, 1])
    np.testing.assert_allclose(given_by_ours, theirs.predict_proba(matrix)[:, 1], atol=1e-3)  # theirs is not softened


def test_an_estimator_that_is_too_sure_of_itself_comes_nearer_to_what_happens():
    plain, better = fit(PLAIN, TOO_SURE, FIT_ROWS), fit(PRODUCT, TOO_SURE, FIT_ROWS)

    assert error_of(plain) > 0.08
    assert error_of(better) < error_of(plain) / 2
    worse, less = (
        score("log_loss", Task.BINARY, labels_of(TEST_ROWS), one.scores(TEST_ROWS)) for one in (plain, better)
    )
    assert less < worse


@pytest.mark.parametrize("candidate", [linear(), TOO_SURE], ids=lambda candidate: candidate.name)
def test_the_order_of_the_rows_stays_that_of_the_estimator(candidate):
    fitted = fit(PRODUCT, candidate, FIT_ROWS)
    assert fitted.calibration is not None
    assert fitted.calibration.slope > 0

    before = estimator_scores(fitted.estimator, Task.BINARY, encode(TEST_ROWS, fitted.inputs))

    after = fitted.scores(TEST_ROWS)
    assert not np.allclose(before, after, atol=1e-3)
    ranked = [score("roc_auc", Task.BINARY, labels_of(TEST_ROWS), scores) for scores in (before, after)]
    assert ranked[1] == pytest.approx(ranked[0], abs=1e-6)


@pytest.mark.parametrize("candidate", [*FAMILIES, TOO_SURE], ids=lambda candidate: candidate.name)
def test_the_bundle_answers_the_calibrated_probabilities(workspace, candidate):
    fitted = fit(PRODUCT, candidate, FIT_ROWS)

    answered = bundle_of(workspace, fitted).predict(ROWS)

    assert answered.dtype == np.float32
    np.testing.assert_allclose(answered, fitted.scores(ROWS), atol=1e-5)


def test_it_is_fitted_on_whole_later_periods_and_the_estimator_on_those_before():
    earlier, later = split_in_time(FIT_ROWS)

    assert sorted(later[PERIOD].unique()) == ["2020-01-09", "2020-01-10"]  # two of ten days
    assert sorted(earlier[PERIOD].unique()) == [f"2020-01-{day:02d}" for day in range(1, 9)]


def test_the_test_window_is_not_touched():
    turned = ROWS.with_columns(pl.when(pl.col(SPLIT) == TEST).then(1 - pl.col(LABEL)).otherwise(LABEL).alias(LABEL))

    first, second = (train(PRODUCT, linear(), rows) for rows in (ROWS, turned))

    assert first.files[MODEL] == second.files[MODEL]


def test_labels_of_the_later_periods_move_the_sigmoid_alone():
    later = pl.col(PERIOD) >= "2020-01-09"
    all_late = FIT_ROWS.with_columns(
        pl.when(later & (pl.int_range(pl.len()) % 3 > 0)).then(1.0).otherwise(LABEL).alias(LABEL)
    )

    usual, moved = (fit(PRODUCT, linear(), rows) for rows in (FIT_ROWS, all_late))

    matrix = encode(TEST_ROWS, usual.inputs)
    assert usual.estimator.predict_proba(matrix).tolist() == moved.estimator.predict_proba(matrix).tolist()
    assert usual.calibration is not None
    assert moved.calibration is not None
    assert moved.calibration.intercept > usual.calibration.intercept  # more were late than the estimator says


def test_the_same_rows_give_the_same_bytes_and_the_same_calibration():
    first, again = (train(PRODUCT, lightgbm(n_estimators=15), ROWS) for _ in range(2))

    assert first.files == again.files
    assert first.fitted.calibration == again.fitted.calibration


def test_without_the_declaration_nothing_is_calibrated():
    assert fit(PLAIN, linear(), FIT_ROWS).calibration is None


def test_too_few_rows_of_one_outcome_are_refused_with_what_is_there():
    labels = np.r_[np.ones(MIN_ROWS - 1), np.zeros(101 - MIN_ROWS)]

    with pytest.raises(NothingToLearnFrom, match=f"hold {MIN_ROWS - 1} rows of one outcome, {MIN_ROWS} are needed"):
        fit_calibration(np.full(100, 0.5), labels)


def test_one_period_cannot_be_fitted_on_and_calibrated_on():
    with pytest.raises(
        NothingToLearnFrom, match="the training window holds only one period, and calibration needs another one"
    ):
        split_in_time(FIT_ROWS.filter(pl.col(PERIOD) == "2020-01-01"))


@pytest.mark.parametrize("product", [a_regression(), a_multiclass()], ids=lambda product: product.task)
def test_only_two_classes_have_a_probability_to_calibrate(product):
    with pytest.raises(DeclarationError, match=f"calibrate needs a binary task, and the task is {product.task}"):
        replace(product, calibrate=True)
