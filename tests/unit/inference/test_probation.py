"""Probation: a new champion that is worse than the former one beyond noise goes back, and nobody else does."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.inference.probation import ProbationState, in_probation, judge_probation, read_probation
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.probation import Probation
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
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
    assert "below it beyond noise" in record.reason


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


@pytest.mark.parametrize(("errors", "state"), [(5, ProbationState.PASSING), (6, ProbationState.FAILED)])
def test_rows_it_cannot_score_are_allowed_up_to_the_rate(errors, state):
    record = judged(0.5, 3.0, errors=errors)

    # 5 of 505 are 0.99 %, 6 of 506 are 1.19 %
    assert (record.state, record.errors) == (state, errors)


def at(version: int, day: int) -> Deployment:
    return Deployment("taxi", version, f"2020-01-{day:02}", january(day), "", "", "", "")


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


def test_the_stored_predictions_of_the_new_champion_are_compared_with_what_the_former_would_have_said(tmp_path):
    product = replace(PRODUCT, drift=DriftPolicy(min_rows=50))
    home = Home(tmp_path)
    a_bundle(home, product, 1, weight=1.0)  # the farther the later, which is so
    a_bundle(home, product, 2, weight=-1.0)
    for version, day in ((1, 2), (2, 4)):
        folder = str(home.bundle("taxi", version))
        home.ledger.append(Deployment("taxi", version, "", january(day), folder, "", "", ""))
    draw = np.random.default_rng(3)
    for day in (4, 5):
        distance = draw.normal(0, 3, 200)
        moments = pl.Series([january(day, number % 24) for number in range(200)], dtype=pl.Datetime("us", "UTC"))
        rows = pl.DataFrame({"ride": range(200), "asked_at": moments, "origin": "EWR", "distance": distance})
        late = pl.Series("label", distance + draw.normal(0, 1, 200) > 0)
        key = f"2020-01-{day:02}"
        home.offline.write("taxi/features", key, rows)
        home.offline.write("taxi/labels", key, rows.select("ride").with_columns(late.cast(pl.Float64)))
        home.offline.write("taxi/predictions", key, rows.select("ride", score=-pl.col("distance"), model_version=2))

    record = read_probation(product, home, "2020-01-05")

    assert (record.state, record.version, record.former, record.rows) == (ProbationState.FAILED, 2, 1, 400)
    assert record.gain is not None
    assert record.gain < -0.8
    assert read_probation(product, home, "2020-01-06").state is ProbationState.NONE


@pytest.mark.parametrize("wrong", [{"periods": -1}, {"confidence": 0.5}, {"error_rate": 1.1}])
def test_a_probation_that_cannot_be_is_refused(wrong):
    with pytest.raises(DeclarationError, match="probation: "):
        Probation(**wrong)
