"""The rework brief: since when, what moved most, and how to clear the flag."""

import msgspec
import pytest

from mlops_assets.monitoring.rework import as_markdown, write_brief
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision, ReworkBrief, SliceFall
from mlops_assets.records.readings import (
    DriftReading,
    DriftState,
    FeatureReading,
    PerformanceReading,
    PerformanceState,
    StalenessReading,
    StalenessState,
)
from tests.unit.training.builders import january


def a_decision(period: str, band: Action, action: Action = Action.REWORK) -> DriftDecision:
    return DriftDecision(
        period, action, 12.0, 11.0, 13.0, ("seats",), "12.0 % of rows moved in seats", band, 12.0, (), 4
    )


def a_feature(name: str, percent: float) -> FeatureReading:
    return FeatureReading(name, percent, percent - 0.5, percent + 0.5, 2.0, "input", True, "", "values", percent)


DRIFT = DriftReading(
    *(DriftState.CONCLUSIVE, 12.0, 11.5, 12.5, "seats"),
    (a_feature("dest", 3.0), a_feature("carrier", 0.0), a_feature("seats", 12.0)),
    *(6_500, "12.0 % of rows moved in seats"),
)
PERFORMANCE = PerformanceReading(
    *(PerformanceState.NO_LABELS, "roc_auc", None, None, None, 0.7),
    *(None, None, None, 1.0, False, 6_500, 0, "none of 6,500 predictions has a label yet"),
)


def brief_of(*bands: str, drift: DriftReading = DRIFT) -> ReworkBrief:
    """The brief of the last of these weeks; the others are its history."""
    *history, last = (a_decision(f"2020-01-{7 * week + 6:02}", Action(band)) for week, band in enumerate(bands))
    return write_brief("taxi", last, history, drift, PERFORMANCE, january(31))


@pytest.mark.parametrize(
    ("bands", "since"),
    [
        (["rework"], "2020-01-06"),
        (["watch", "rework"], "2020-01-13"),
        (["retrain", "rework"], "2020-01-06"),
        (["rework", "none", "retrain", "rework"], "2020-01-20"),
        (["rework", "inconclusive", "rework"], "2020-01-20"),
        (["retrain", "retrain", "rework"], "2020-01-06"),
    ],
)
def test_a_brief_says_since_which_of_the_consecutive_periods_more_than_watching_was_asked_for(bands, since):
    assert brief_of(*bands).since == since


def test_a_brief_names_what_moved_the_most_first_and_leaves_out_what_did_not_move():
    brief = brief_of("rework")

    assert [(item.feature, item.percent, item.low, item.high) for item in brief.moved] == [
        ("seats", 12.0, 11.5, 12.5),
        ("dest", 3.0, 2.5, 3.5),
    ]
    assert (brief.product, brief.period, brief.model_version, brief.flagged_at) == (
        "taxi",
        "2020-01-06",
        4,
        january(31),
    )


def test_a_brief_reads_as_a_page_that_says_how_to_clear_the_flag():
    page = as_markdown(brief_of("retrain", "rework"))

    assert page == (
        "## Rework taxi, version 4\n\n"
        "12.0 % of rows moved in seats, since 2020-01-06.\n\n"
        "| feature | % of rows moved | interval |\n"
        "|---|---|---|\n"
        "| seats | 12.0 | 11.5 to 12.5 |\n"
        "| dest | 3.0 | 2.5 to 3.5 |\n\n"
        "Performance: none of 6,500 predictions has a label yet.\n\n"
        "To try:\n\n"
        "- Leave out `seats` or make it coarser: 12.0 % of its rows moved.\n"
        "- Leave out `dest` or make it coarser: 3.0 % of its rows moved.\n\n"
        "Automatic retraining is off until a new recipe clears the flag. Change the product's features, windows or candidates, then "
        "run `mlops experiment taxi --finalise` and `mlops train taxi`. In Dagster, materialise `taxi/experiment` and `taxi/recipe`, "
        "then the newest partition from `training_set` to `deployment`."
    )


def test_a_brief_of_lost_performance_alone_says_that_no_feature_moved():
    still = msgspec.structs.replace(DRIFT, features=(a_feature("carrier", 0.0),))

    assert "| none | | |" in as_markdown(brief_of("none", drift=still))


def test_a_brief_says_what_to_try_from_what_was_read_and_where_to_look():
    fallen = [SliceFall("origin", f"airport {place}", 500, 0.7, 0.6, 10.0 + place) for place in range(7)]
    gained = StalenessReading(StalenessState.CONCLUSIVE, "mae", 2.0, 1.0, 3.0, True, "a fresh model gains 2.0 % of mae")

    brief = write_brief(
        "taxi",
        a_decision("2020-01-06", Action.REWORK),
        [],
        DRIFT,
        PERFORMANCE,
        january(31),
        staleness=gained,
        slices=fallen,
        candidates=["linear", "lightgbm"],
        links={"drift report": "http://127.0.0.1:8000/reports/taxi"},
    )

    assert [item.category for item in brief.slices] == [f"airport {place}" for place in (6, 5, 4, 3, 2)]
    assert brief.experiments[0] == "Leave out `seats` or make it coarser: 12.0 % of its rows moved."
    assert "Add features that describe `origin = airport 6` better: it lost 16.0 %." in brief.experiments
    assert brief.experiments[-2].endswith(
        "a fresh model gains 2.0 % of mae, so newer rows help, whatever else is changed."
    )
    assert brief.experiments[-1] == "Compare `linear`, which serves now, with `lightgbm` again on the newest folds."
    page = as_markdown(brief)
    assert "| origin = airport 6 | 500 | 0.7 | 0.6 | 16.0 |" in page
    assert page.endswith("[drift report](http://127.0.0.1:8000/reports/taxi)")


def test_newer_rows_that_gain_nothing_are_said_not_to_help():
    tried = StalenessReading(
        StalenessState.CONCLUSIVE, "mae", 0.1, -1.0, 1.2, False, "a fresh model gains 0.1 % of mae"
    )

    brief = write_brief(
        "taxi", a_decision("2020-01-06", Action.REWORK), [], DRIFT, PERFORMANCE, january(31), staleness=tried
    )

    assert brief.experiments[-1].endswith("so newer rows by themselves do not help.")


def test_a_brief_survives_being_stored_as_json():
    brief = brief_of("rework")

    assert msgspec.json.decode(msgspec.json.encode(brief), type=ReworkBrief) == brief
