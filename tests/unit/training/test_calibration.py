"""Calibrated probabilities: fitted on later rows, nearer to what happens, in the same order, and the same in ONNX."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import skops.io

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import DeclarationError, NothingToLearnFrom
from mlops_assets.products.candidates import dummy, forest, gradient_boosting, lightgbm, linear
from mlops_assets.products.task import Task
from mlops_assets.stores.model_bundle import ESTIMATOR, MODEL, encode
from mlops_assets.testing.report import _calibration_error
from mlops_assets.training.build import train
from mlops_assets.training.calibration import LEAST, calibrated, parts_of, split_in_time
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import Fitted, estimator_scores, fit, label_codes
from mlops_assets.training.metrics import score
from mlops_assets.training.split import FIT, PERIOD, SPLIT, TEST
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


def onnx_probabilities(fitted: Fitted, rows: pl.DataFrame) -> Any:
    session = onnxruntime.InferenceSession(to_onnx(fitted.estimator, Task.BINARY, len(fitted.inputs)))
    (found,) = session.run(["scores"], {"inputs": encode(rows, fitted.inputs)})
    return found


def test_an_estimator_that_is_too_sure_of_itself_comes_nearer_to_what_happens():
    plain, better = fit(PLAIN, TOO_SURE, FIT_ROWS), fit(PRODUCT, TOO_SURE, FIT_ROWS)

    assert error_of(plain) > 0.08
    assert error_of(better) < error_of(plain) / 2
    worse, less = (
        score("log_loss", Task.BINARY, labels_of(TEST_ROWS), one.scores(TEST_ROWS)) for one in (plain, better)
    )
    assert less < worse


@pytest.mark.parametrize("candidate", [linear(), TOO_SURE], ids=lambda candidate: candidate.name)
def test_the_order_of_the_rows_stays_that_of_the_estimator_inside(candidate):
    fitted = fit(PRODUCT, candidate, FIT_ROWS)
    parts = parts_of(fitted.estimator)
    assert parts is not None
    inside, slope, _ = parts
    assert slope > 0

    before = estimator_scores(inside, Task.BINARY, encode(TEST_ROWS, fitted.inputs))

    after = fitted.scores(TEST_ROWS)
    assert not np.allclose(before, after, atol=1e-3)
    ranked = [score("roc_auc", Task.BINARY, labels_of(TEST_ROWS), scores) for scores in (before, after)]
    assert ranked[1] == pytest.approx(ranked[0], abs=1e-6)


@pytest.mark.parametrize("candidate", [*FAMILIES, TOO_SURE], ids=lambda candidate: candidate.name)
def test_the_converted_model_ends_in_the_same_sigmoid(candidate):
    fitted = fit(PRODUCT, candidate, FIT_ROWS)

    converted = onnx_probabilities(fitted, ROWS)

    assert converted.dtype == np.float32
    np.testing.assert_allclose(converted[:, 1], fitted.scores(ROWS), atol=1e-5)
    np.testing.assert_allclose(converted.sum(axis=1), 1, atol=1e-6)


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

    usual, moved = (parts_of(fit(PRODUCT, linear(), rows).estimator) for rows in (FIT_ROWS, all_late))

    assert usual is not None
    assert moved is not None
    matrix = encode(TEST_ROWS, fit(PRODUCT, linear(), FIT_ROWS).inputs)
    assert usual[0].predict_proba(matrix).tolist() == moved[0].predict_proba(matrix).tolist()
    assert moved[2] > usual[2]  # more of them were late than the estimator says


def test_the_same_rows_give_the_same_bytes_and_the_file_at_rest_opens_as_what_it_was():
    first, again = (train(PRODUCT, lightgbm(n_estimators=15), ROWS) for _ in range(2))

    assert first.files == again.files
    content = first.files[ESTIMATOR]
    opened = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    matrix = encode(TEST_ROWS, first.fitted.inputs)
    assert estimator_scores(opened, Task.BINARY, matrix).tolist() == first.fitted.scores(TEST_ROWS).tolist()


def test_without_the_declaration_nothing_is_calibrated():
    assert parts_of(fit(PLAIN, linear(), FIT_ROWS).estimator) is None


def test_too_few_rows_of_one_outcome_are_refused_with_what_is_there():
    matrix, labels = np.zeros((100, 2), dtype=np.float32), np.r_[np.ones(LEAST - 1), np.zeros(101 - LEAST)]

    with pytest.raises(NothingToLearnFrom, match=f"hold {LEAST - 1} rows of one outcome, {LEAST} are needed"):
        calibrated(None, matrix, labels)


def test_one_period_cannot_be_fitted_on_and_calibrated_on():
    with pytest.raises(NothingToLearnFrom, match="one period cannot be fitted on and calibrated on"):
        split_in_time(FIT_ROWS.filter(pl.col(PERIOD) == "2020-01-01"))


@pytest.mark.parametrize("product", [a_regression(), a_multiclass()], ids=lambda product: product.task)
def test_only_two_classes_have_a_probability_to_calibrate(product):
    with pytest.raises(
        DeclarationError, match=f"calibrate is for probabilities of two classes, and the task is {product.task}"
    ):
        replace(product, calibrate=True)
