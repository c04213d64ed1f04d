"""Probation: a new champion that is worse than the former one beyond noise goes back, and nobody else does."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.inference.probation import in_probation, judge_probation, read_probation
from mlops_assets.products.candidates import linear
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.probation import Probation
from mlops_assets.products.task import Task
from mlops_assets.records.inference import ProbationState
from mlops_assets.state.ledger import Deployment
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, january

PRODUCT = a_product(drift=DriftPolicy(min_rows=400), probation=Probation(periods=2, confidence=0.95, error_rate=0.01))
DAYS = pl.Series([date(2020, 1, 1) + timedelta(days=number // 50) for number in range(500)])


def judged(new_noise: float, old_noise: float, *, rows: int = 500, errors: int = 0, seed: int = 1):
    """Two models that see the truth through noise of their own."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 500).astype(float)
    new, old = (labels + draw.normal(0, noise, 500) for noise in (new_noise, old_noise))
    return judge_probation(PRODUCT, labels[:rows], new[:rows], old[:rows], DAYS[:rows], errors=errors)


def test_a_champion_that_is_clearly_worse_fails():
    record = judged(new_noise=3.0, old_noise=0.5)

    assert record.state is ProbationState.FAILED
    assert record.gain is not None
    assert record.gain < -0.2
    assert record.high is not None
    assert record.high < 0
    assert record.reason.endswith("rows, a loss of more than 0.005 beyond noise")


def test_a_champion_that_is_better_passes():
    assert judged(new_noise=0.5, old_noise=3.0).state is ProbationState.PASSING


def test_two_champions_that_are_alike_seldom_send_each_other_back():
    failed = sum(judged(1.0, 1.0, seed=seed).state is ProbationState.FAILED for seed in range(40))

    # at 2.5 % a look (5 % over two), more than 5 of 40 come in 1 of 1,000 cases
    assert failed <= 5


def test_too_few_labels_are_inconclusive_and_no_failure():
    record = judged(3.0, 0.5, rows=399)

    assert (record.state, record.gain) == (ProbationState.INCONCLUSIVE, None)
    assert record.reason == "399 labelled rows, 400 are needed"


def of_errors(new: float, old: float, margin: float | None = None, metric: str = "mae"):
    """Every label is 0 and every prediction the same number, so that the interval is the difference itself."""
    rule = Probation(periods=2, margin=margin)
    candidates = (linear(),)
    product = a_product(
        task=Task.REGRESSION, metric=metric, candidates=candidates, gates=(), probation=rule, drift=PRODUCT.drift
    )
    return judge_probation(product, np.zeros(500), np.full(500, new), np.full(500, old), DAYS, errors=0)


@pytest.mark.parametrize(
    ("new", "old", "margin", "state"),
    [
        (1.25, 1.0, 0.25, ProbationState.PASSING),  # exactly the margin
        (1.375, 1.0, 0.25, ProbationState.FAILED),
        (1.125, 1.0, 0.0, ProbationState.FAILED),
        (1.0, 1.0, 0.0, ProbationState.PASSING),
        (101.0, 100.0, None, ProbationState.PASSING),  # 1 % of the former champion's error, exactly
        (101.5, 100.0, None, ProbationState.FAILED),
        (0.015, 0.01, None, ProbationState.FAILED),  # half as much again, however small the unit makes it
        (99.0, 100.0, None, ProbationState.PASSING),
    ],
)
@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_an_error_may_grow_by_the_margin_and_no_more(new, old, margin, state, metric):
    assert of_errors(new, old, margin, metric).state is state


def of_accuracy(wrong_a_day: int, margin: float | None = None):
    """The former champion is always right, the new one wrong about so many of the 200 rows of each of ten days."""
    rule = Probation(periods=2, margin=margin)
    product = replace(PRODUCT, metric="accuracy", probation=rule, drift=DriftPolicy(min_rows=400))
    days = pl.Series([date(2020, 1, 1) + timedelta(days=number // 200) for number in range(2_000)])
    labels = np.arange(2_000) % 2.0
    is_wrong = np.arange(2_000) % 200 < wrong_a_day
    return judge_probation(product, labels, np.where(is_wrong, 1 - labels, labels), labels, days, errors=0)


@pytest.mark.parametrize(
    ("wrong_a_day", "margin", "state"),
    [
        (0, None, ProbationState.PASSING),
        (2, 0.011, ProbationState.PASSING),  # 2 of 200 are 0.01
        (2, 0.009, ProbationState.FAILED),
        (2, None, ProbationState.FAILED),
        (1, 0.006, ProbationState.PASSING),  # 1 of 200 is 0.005
        (1, 0.004, ProbationState.FAILED),
    ],
)
def test_a_score_may_fall_by_the_margin_and_no_more(wrong_a_day, margin, state):
    assert of_accuracy(wrong_a_day, margin).state is state


def test_a_loss_that_nobody_would_notice_sends_nobody_back():
    """Beyond noise, but of 0.0016 of ROC AUC or so."""
    labels = np.tile(np.arange(50) % 2.0, 10)
    old = labels.copy()
    new = np.where(np.arange(500) % 50 == 0, 0.5, labels)  # one of 25 zeros a day is less sure, and below every one
    new = np.where(np.arange(500) % 50 == 1, 0.49, new)  # one of 25 ones is just below it: 1 of 625 pairs is wrong

    record = judge_probation(PRODUCT, labels, new, old, DAYS, errors=0)

    assert record.gain == pytest.approx(-1 / 625)
    assert (record.high, record.state) == (pytest.approx(-1 / 625), ProbationState.PASSING)
    assert record.reason.endswith("on 500 rows, not a loss of more than 0.005 beyond noise")
    strict = replace(PRODUCT, probation=Probation(periods=2, margin=0))
    assert judge_probation(strict, labels, new, old, DAYS, errors=0).state is ProbationState.FAILED


@pytest.mark.parametrize(("errors", "state"), [(5, ProbationState.PASSING), (6, ProbationState.FAILED)])
def test_rows_it_cannot_score_are_allowed_up_to_the_rate(errors, state):
    record = judged(0.5, 3.0, errors=errors)

    # 5 of 505 are 0.99 %, 6 of 506 are 1.19 %
    assert (record.state, record.errors) == (state, errors)


def at(version: int, day: int) -> Deployment:
    return Deployment(day, version, f"2020-01-{day:02}", january(day), "", "")


@pytest.mark.parametrize(
    ("history", "day", "watched"),
    [
        ([], 5, None),
        ([at(1, 2)], 2, None),  # nobody to go back to
        ([at(1, 2), at(2, 4)], 3, None),  # the day before it served
        ([at(1, 2), at(2, 4)], 4, (2, 1)),
        ([at(1, 2), at(2, 4)], 5, (2, 1)),
        ([at(1, 2), at(2, 4)], 6, None),  # its two days are over
        ([at(1, 2), at(2, 4), at(1, 5)], 5, None),  # came back: it is not new
        ([at(1, 1), at(2, 2), at(1, 3), at(3, 4)], 4, (3, 1)),
    ],
)
def test_a_new_champion_is_watched_in_its_first_periods_beside_the_one_before(history, day, watched):
    found = in_probation(PRODUCT, history, PRODUCT.period.at(f"2020-01-{day:02}"))

    assert (found and (found[0].version, found[1].version)) == watched


def test_no_periods_are_no_probation():
    product = replace(PRODUCT, probation=Probation(periods=0))

    assert in_probation(product, [at(1, 2), at(2, 4)], product.period.at("2020-01-04")) is None


def test_the_stored_predictions_of_the_new_champion_are_compared_with_what_the_former_would_have_said(workspace):
    state = workspace.of(replace(PRODUCT, drift=DriftPolicy(min_rows=50)))
    a_bundle(state, 1, weight=1.0)  # the farther the later, which is so
    a_bundle(state, 2, weight=-1.0)
    for version, day in ((1, 2), (2, 4)):
        state.ledger.deploy(version, "", january(day), reason="", by="", after=version - 1)
    draw = np.random.default_rng(3)
    for day in (4, 5):
        distance = draw.normal(0, 3, 200)
        moments = pl.Series([january(day, number % 24) for number in range(200)], dtype=pl.Datetime("us", "UTC"))
        rows = pl.DataFrame({"ride": range(200), "asked_at": moments, "origin": "EWR", "distance": distance})
        late = pl.Series("label", distance + draw.normal(0, 1, 200) > 0)
        key = f"2020-01-{day:02}"
        state.tables.write("features", key, rows)
        state.tables.write("labels", key, rows.select("ride").with_columns(late.cast(pl.Float64)))
        state.tables.write("predictions", key, rows.select("ride", score=-pl.col("distance"), model_version=2))

    record = read_probation(state, "2020-01-05")

    assert (record.state, record.version, record.former, record.rows) == (ProbationState.FAILED, 2, 1, 400)
    assert record.gain is not None
    assert record.gain < -0.8
    assert read_probation(state, "2020-01-06").state is ProbationState.NONE


@pytest.mark.parametrize(
    "wrong", [{"periods": -1}, {"confidence": 0.5}, {"error_rate": 1.1}, {"margin": -0.001}, {"margin": float("nan")}]
)
def test_a_probation_that_cannot_be_is_refused(wrong):
    with pytest.raises(DeclarationError, match="probation: "):
        Probation(**wrong)
