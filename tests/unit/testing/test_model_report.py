"""The test report of a small bundle, its numbers worked out by hand."""

import msgspec
import numpy as np
import polars as pl
import pytest

from mlops_assets.data.labels import LABEL
from mlops_assets.products.gates import not_worse_than_champion, slice_gap
from mlops_assets.products.task import metrics_of
from mlops_assets.records import testing as reports
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.parity import Parity
from mlops_assets.testing.report import test_model as measure_model
from tests.tiny_bundle import tiny_files
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, a_regression, january

# the score rises with the distance, the origin is the same wherever nothing else is said
DISTANCES = [-3.0, -2.0, 1.0, 2.0] * 5
LATE = [0.0, 0.0, 1.0, 1.0] * 5


def rows(labels=LATE, distances=DISTANCES, origins=("EWR",) * 20) -> pl.DataFrame:
    """Rides of five days."""
    days = [january(7 + number // 4) for number in range(len(labels))]
    return pl.DataFrame({"origin": origins, "distance": distances, "asked_at": days, LABEL: labels})


def report_on(state: ProductState, frame: pl.DataFrame, champion=None, **model: float) -> reports.TestReport:
    bundle = a_bundle(state, 7, **{"weight": 1.0, **model})
    return measure_model(state.product, bundle, Parity(frame.height, 0.0, 0), champion, frame, None)


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(a_product())


def test_a_model_that_orders_every_pair_has_a_roc_auc_of_one(state):
    report = report_on(state, rows())

    assert (report.product, report.version, report.partition, report.rows) == ("taxi", 7, "2013-04-22", 20)
    assert tuple(item.metric for item in report.scores) == metrics_of(a_product().task)
    assert report.value_of("roc_auc") == 1
    assert report.value_of("accuracy") == 1  # the sigmoid of 1 and 2 is above one half, that of -2 and -3 below
    assert report.onnx_difference == 0
    assert report.comparisons == ()


def test_the_report_holds_the_parity_of_the_bundle(state):
    bundle = a_bundle(state, 7, weight=1.0)

    report = measure_model(a_product(), bundle, Parity(31, 0.25, 2), None, rows(), None)

    assert (report.parity_rows, report.onnx_difference, report.flipped_labels) == (31, 0.25, 2)


def test_a_champion_is_compared_on_the_same_rows(state):
    champion = a_bundle(state, 2, weight=-1.0)  # orders every pair the wrong way round

    comparison = report_on(state, rows(), champion=champion).against_champion("roc_auc")

    assert comparison is not None
    assert (comparison.champion_version, comparison.metric) == (2, "roc_auc")
    assert (comparison.gain, comparison.low, comparison.high) == (1, 1, 1)
    assert comparison.confidence == pytest.approx(0.9)  # both sides of a one-sided bound at 95 %


def test_a_model_does_not_gain_on_itself(state):
    champion = a_bundle(state, 2, weight=1.0)

    comparison = report_on(state, rows(), champion=champion).against_champion("roc_auc")

    assert comparison is not None
    assert (comparison.gain, comparison.low, comparison.high) == (0, 0, 0)


def test_each_gate_is_compared_on_its_own_metric_at_its_own_confidence(workspace):
    gates = (not_worse_than_champion("roc_auc", 0.01, 0.9), not_worse_than_champion("accuracy", 0.01, 0.99))
    state = workspace.of(a_product(gates=gates))

    report = report_on(state, rows(), champion=a_bundle(state, 2))

    compared = {item.metric: item.confidence for item in report.comparisons}
    assert compared == {"roc_auc": pytest.approx(0.8), "accuracy": pytest.approx(0.98)}


def test_a_slice_with_one_outcome_only_is_named_and_not_scored(state):
    origins = ["EWR", "EWR", "EWR", "JFK"] * 5  # of JFK only late ones

    report = report_on(state, rows(origins=origins))

    assert report.slices == (
        reports.Slice("origin", "EWR", 15, "roc_auc", 1.0, 0.0),
        reports.Slice("origin", "JFK", 5, "roc_auc", None, None),
    )


def test_the_gap_of_a_slice_is_what_it_loses_against_the_whole(workspace):
    labels = [*[0.0, 1.0] * 5, *[1.0, 0.0] * 5]
    distances = [*[1.0, 2.0] * 5, *[1.0, 2.0] * 5]  # right in EWR, the wrong way round in LGA
    origins = [*["EWR"] * 10, *["LGA"] * 10]
    state = workspace.of(a_product(gates=(slice_gap("origin", "accuracy", 0.5),)))

    report = report_on(state, rows(labels, distances, origins), bias=-1.5)

    # EWR (code 0): -0.5 and 0.5 are on the right sides. LGA (code 2): 1.5 and 2.5 both say late, half is right
    by_accuracy = [item for item in report.slices if item.metric == "accuracy"]
    assert {item.category: (item.metric, item.value, item.gap) for item in by_accuracy} == {
        "EWR": ("accuracy", 1.0, pytest.approx(-0.25)),
        "LGA": ("accuracy", 0.5, pytest.approx(0.25)),
    }


def test_rows_without_a_category_are_in_no_slice(state):
    report = report_on(state, rows(origins=[None, *["EWR"] * 19]))

    assert [(item.category, item.rows) for item in report.slices] == [("EWR", 19)]


def test_calibration_is_what_was_predicted_beside_what_was_observed_in_ten_bins(state):
    calibration = report_on(state, rows()).calibration

    assert [item.rows for item in calibration] == [2] * 10
    assert [item.observed for item in calibration] == [0] * 5 + [1] * 5
    assert calibration[0].predicted == pytest.approx(1 / (1 + np.exp(3)))
    assert calibration[-1].predicted == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error(state):
    # everything scored one half, and in each bin of two rows of one day one is late
    report = report_on(state, rows(labels=[0.0, 1.0] * 10), weight=0.0)

    assert report.calibration_error is not None
    assert report.calibration_error.value == pytest.approx(0, abs=1e-6)
    assert {item.predicted for item in report.calibration} == {0.5}


def test_the_calibration_error_is_the_mean_distance_over_the_bins(state):
    # every row is late, and scored one half
    report = report_on(state, rows(labels=[1.0] * 19 + [0.0]), weight=0.0)

    # nine bins are off by 1/2, the one that holds the row that was not late by 0
    assert report.calibration_error is not None
    assert report.calibration_error.value == pytest.approx(0.45)


def test_rows_are_counted_by_true_and_answered_class_at_one_half(state):
    labels = [0.0, 1.0, 0.0, 1.0] * 5  # scores: below, below, above, above one half

    confusion = report_on(state, rows(labels=labels)).confusion

    assert confusion == reports.Confusion(("false", "true"), ((5, 5), (5, 5)), 0.5)


def test_a_score_exactly_on_the_threshold_is_answered_with_the_second_class(state):
    confusion = report_on(state, rows(), weight=0.0).confusion

    assert confusion is not None
    assert confusion.counts == ((0, 10), (0, 10))


def test_a_report_says_what_the_bundle_weighs(state):
    report = report_on(state, rows())

    assert report.bundle_bytes == sum(map(len, tiny_files(state.product, weight=1.0).values()))


def test_an_input_that_decides_matters_and_one_that_is_always_the_same_does_not(state):
    importance = report_on(state, rows()).importance

    assert list(importance) == ["distance", "origin"]
    assert importance["distance"] > 0.1
    assert importance["origin"] == 0


def test_a_regression_has_no_calibration_and_is_scored_in_its_unit(workspace):
    frame = rows(labels=[distance + 3 for distance in DISTANCES])

    report = report_on(workspace.of(a_regression()), frame, weight=1.0, bias=1.0)  # always two minutes short

    assert report.value_of("mae") == pytest.approx(2)
    assert report.value_of("rmse") == pytest.approx(2)
    assert report.calibration == ()
    assert (report.calibration_error, report.confusion) == (None, None)
    assert [(item.category, item.metric) for item in report.slices] == [("EWR", "mae")]


def test_a_report_survives_being_stored_as_json(state):
    report = report_on(state, rows())

    assert msgspec.json.decode(msgspec.json.encode(report), type=reports.TestReport) == report
