"""A retraining that answers a shift learns rows of after it, and is tested on later ones."""

from datetime import timedelta

import polars as pl
import pytest

from mlops_assets.data.labels import KNOWN_AT, LABEL
from mlops_assets.products.periods import days
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.onset import newest_onset, onset_before
from mlops_assets.training.split import EMBARGO, FIT, SPLIT, TEST
from mlops_assets.training.window import load_after_shift, load_training_set
from tests.unit.training.builders import a_product, january

# daily periods, labels a day later; of eighteen days the last eight are tested on
PRODUCT = a_product(training_window=days(18), test_window=days(8))
KEY = "2020-01-20"


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(PRODUCT)


def found(period: str, version: int, since: str = "") -> DriftDecision:
    action = Action.RETRAIN
    return DriftDecision(period, action, 6.0, 5.6, 6.7, (), "it moved", action, 6.0, (), version, since=since)


@pytest.mark.parametrize(
    ("decisions", "since"),
    [
        ([], ""),
        ([found("01", 1), found("02", 1)], ""),
        ([found("01", 1), found("02", 1, "01")], "01"),
        ([found("02", 1, "01"), found("03", 1)], "01"),  # the shift is not answered yet
        ([found("02", 1, "01"), found("03", 1, "02")], "02"),
        ([found("02", 1, "01"), found("03", 2)], ""),  # the champion that serves since is the answer
    ],
)
def test_a_shift_that_was_found_of_the_champion_that_serves_is_the_one_to_learn(decisions, since):
    assert newest_onset(decisions) == since


def test_decisions_before_the_partition_and_in_its_window_are_asked(state):
    def decided(period: str, since: str) -> None:
        state.records.save(period, found(period, 1, since))

    decided("2020-01-01", "2019-12-30")  # before the window
    assert onset_before(state, KEY) == ""
    decided("2020-01-19", "2020-01-12")
    decided("2020-01-20", "2020-01-13")  # of the partition itself: it is not over when the training set is made
    assert onset_before(state, KEY) == "2020-01-12"


def store_rides(state: ProductState, late: int = 2) -> None:
    """Rides at noon of eighteen days, of both outcomes, whose labels are known a day later; from the 16th on every `late`-th
    one is late."""
    for day in range(2, 20):
        rides = list(range(1_000 * day, 1_000 * day + 60))
        event = pl.Series([january(day, 12)] * 60, dtype=pl.Datetime("us", "UTC"))
        features = pl.DataFrame({"ride": rides, "asked_at": event, "origin": "EWR", "distance": 2.0})
        known = pl.DataFrame(
            {
                "ride": rides,
                LABEL: [float(ride % (late if day > 15 else 2) == 0) for ride in rides],
                KNOWN_AT: event + timedelta(days=1),
            }
        )
        state.tables.write("features", f"2020-01-{day:02d}", features)
        state.tables.write("labels", f"2020-01-{day:02d}", known)


def days_of(rows: pl.DataFrame, split: str) -> list[int]:
    return rows.filter(pl.col(SPLIT) == split)["asked_at"].dt.day().unique().sort().to_list()


def test_the_earlier_half_since_the_shift_is_fitted_on_and_the_later_one_tested(state):
    store_rides(state)

    rows, since = load_after_shift(state, KEY, "2020-01-12")

    # eight days since the 12th: four to either side, less the day that a label takes
    assert since == "2020-01-12"
    assert days_of(rows, FIT) == list(range(2, 15))
    assert days_of(rows, EMBARGO) == [15]
    assert days_of(rows, TEST) == [16, 17, 18]


@pytest.mark.parametrize("onset", ["", "2020-01-17", "2020-01-02"])
def test_without_a_shift_that_can_be_halved_the_split_is_the_usual_one(state, onset):
    store_rides(state)

    rows, since = load_after_shift(state, KEY, onset)

    assert since == ""
    assert rows.equals(load_training_set(state, KEY))
    assert days_of(rows, TEST) == list(range(12, 19))


def test_halves_that_cannot_be_learned_from_leave_the_usual_split(state):
    store_rides(state, late=1)  # every ride of the later half is late

    rows, since = load_after_shift(state, KEY, "2020-01-12")

    assert (since, days_of(rows, TEST)) == ("", list(range(12, 19)))
