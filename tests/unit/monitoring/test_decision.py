"""Rules of the decision: bands, agreement, support by the interval, cooldown, budget, rework and model drift."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.monitoring.decision import band_of, decide
from mlops_assets.monitoring.onset import first_whole_period, onset
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import (
    DriftReading,
    DriftState,
    FeatureReading,
    PerformanceReading,
    PerformanceState,
    StalenessReading,
    StalenessState,
)

NOW = datetime(2013, 7, 15, tzinfo=UTC)
POLICY = DriftPolicy(watch=2, retrain=5, rework=10, agreeing_periods=2, cooldown=timedelta(weeks=3), min_rows=1_000)


def a_reading(width: float = 0.4, **percents: float) -> DriftReading:
    """`a_reading(dest=6.1)`: features that act, with intervals of `width` to both sides."""
    features = tuple(
        FeatureReading(
            name, percent, max(0.0, percent - width), percent + width, 2.0, "input", True, "", "values", percent
        )
        for name, percent in percents.items()
    )
    top = max(features, key=lambda feature: feature.percent)
    moved = f"{top.percent:.1f} % of rows moved in {top.name} ({top.low:.1f} to {top.high:.1f})"
    name, reason = (top.name, moved) if top.percent else ("", "no feature moved")
    return DriftReading(DriftState.CONCLUSIVE, top.percent, top.low, top.high, name, features, 6_500, reason)


NOTHING = a_reading(dest=0.0)
TOO_FEW = DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", (), 412, "412 rows, the policy asks for 1000")


def a_loss(percent: float, low: float, high: float, is_actionable: bool = True, periods: int = 2) -> PerformanceReading:
    return PerformanceReading(
        state=PerformanceState.CONCLUSIVE,
        metric="roc_auc",
        value=0.65,
        low=0.64,
        high=0.66,
        expected=0.7,
        loss_percent=percent,
        loss_low=low,
        loss_high=high,
        spread_percent=1.0,
        is_actionable=is_actionable,
        rows=6_500,
        labelled=6_400,
        reason="",
        periods=periods,
    )


def a_gain(percent: float, low: float, high: float, is_actionable: bool = True) -> StalenessReading:
    reason = f"a fresh model gains {percent:.1f} % of roc_auc ({low:.1f} to {high:.1f}) on 4 periods"
    return StalenessReading(StalenessState.CONCLUSIVE, "roc_auc", percent, low, high, is_actionable, reason)


def decide_on(drift: DriftReading, *history: DriftDecision, **changed) -> DriftDecision:
    usual = {
        "period": "2013-07-08",
        "performance": None,
        "policy": POLICY,
        "now": NOW,
        "retrained_at": (),
        "awaiting_rework": False,
        "model_version": 1,
    }
    return decide(drift=drift, history=history, **{**usual, **changed})


def before(drift: DriftReading, model_version: int = 1) -> DriftDecision:
    """The decision of the period before."""
    return decide_on(drift, period="2013-07-01", model_version=model_version)


def test_a_reading_confirmed_by_the_period_before_is_acted_on_with_its_reason():
    decision = decide_on(a_reading(width=0.55, dest=6.14), before(a_reading(dest=7.0)))

    assert decision == DriftDecision(
        period="2013-07-08",
        action=Action.RETRAIN,
        percent=6.14,
        low=pytest.approx(5.59),
        high=pytest.approx(6.69),
        features=("dest",),
        reason="6.1 % of rows moved in dest (5.6 to 6.7), band 5 to 10, confirmed by 2 periods",
        band=Action.RETRAIN,
        reading=6.14,
        by_feature=(("dest", 6.14),),
        model_version=1,
        since="2013-07-01",
    )


def test_the_smaller_of_two_readings_of_the_same_feature_is_acted_on():
    decision = decide_on(a_reading(dest=30.0), before(a_reading(dest=7.0)))

    assert (decision.action, decision.percent) == (Action.RETRAIN, 7.0)
    assert (decision.low, decision.high) == (pytest.approx(6.6), pytest.approx(7.4))  # today's width
    assert (decision.band, decision.reading) == (Action.REWORK, 30.0)


def test_readings_of_different_features_do_not_confirm_each_other():
    decision = decide_on(a_reading(dest=8.0, origin=0.0), before(a_reading(dest=0.0, origin=8.0)))

    assert decision.action is Action.WATCH
    assert decision.band is Action.RETRAIN
    assert decision.features == ("dest",)
    assert decision.reason.endswith("band 5 to 10, not yet confirmed by 2 periods")


def test_the_feature_that_agrees_decides_even_where_another_one_reads_more():
    decision = decide_on(a_reading(dest=40.0, origin=8.0), before(a_reading(dest=0.0, origin=9.0)))

    assert (decision.action, decision.percent, decision.features) == (Action.RETRAIN, 8.0, ("origin",))


def test_the_first_reading_of_a_model_version_is_never_acted_on():
    decision = decide_on(a_reading(dest=50.0), before(a_reading(dest=50.0)), model_version=2)

    assert (decision.action, decision.band) == (Action.WATCH, Action.REWORK)
    assert "not yet confirmed" in decision.reason


def test_after_a_rollback_older_readings_of_the_same_version_are_not_consecutive():
    history = before(a_reading(dest=8.0)), before(a_reading(dest=8.0), model_version=2)

    assert decide_on(a_reading(dest=8.0), *history).action is Action.WATCH


def test_a_policy_of_one_period_acts_at_once():
    decision = decide_on(a_reading(dest=8.0), policy=DriftPolicy(agreeing_periods=1))

    assert decision.action is Action.RETRAIN
    assert decision.reason.endswith("confirmed by 1 period")


def test_a_policy_of_three_periods_needs_all_three():
    three = DriftPolicy(agreeing_periods=3)
    two_before, one_before = before(a_reading(dest=6.0)), before(a_reading(dest=9.0))

    assert decide_on(a_reading(dest=8.0), one_before, policy=three).action is Action.WATCH
    assert decide_on(a_reading(dest=8.0), two_before, one_before, policy=three).percent == 6.0


def test_an_inconclusive_period_holds_no_reading_and_is_passed_over():
    decision = decide_on(a_reading(dest=8.0), before(a_reading(dest=7.0)), before(TOO_FEW))

    assert (decision.action, decision.percent) == (Action.RETRAIN, 7.0)


@pytest.mark.parametrize(
    ("percent", "action"),
    [
        (0.0, Action.NONE),
        (1.49, Action.NONE),
        (1.5, Action.WATCH),  # rounds to 2
        (4.49, Action.WATCH),
        (4.5, Action.RETRAIN),  # rounds to 5
        (10.49, Action.RETRAIN),
        (10.5, Action.REWORK),  # rounds to 11
        (100.0, Action.REWORK),
    ],
)
def test_bands_meet_readings_rounded_to_whole_percent(percent, action):
    exact = a_reading(width=0.0, dest=percent)

    assert band_of(percent, POLICY) is action
    assert decide_on(exact, before(exact)).action is action


@pytest.mark.parametrize(
    ("percent", "width", "action"),
    [
        (12.0, 2.5, Action.REWORK),  # down to 9.5, which rounds to 10
        (12.0, 2.6, Action.RETRAIN),
        (6.0, 1.5, Action.RETRAIN),  # down to 4.5, which rounds to 5
        (6.0, 1.6, Action.WATCH),
        (6.0, 5.0, Action.NONE),
    ],
)
def test_an_action_that_the_interval_does_not_support_steps_down(percent, width, action):
    unsure = a_reading(width=width, dest=percent)

    decision = decide_on(unsure, before(unsure))

    assert decision.action is action
    assert ("the interval supports no more than" in decision.reason) is (action is not decision.band)


def test_nothing_moved_is_no_action():
    decision = decide_on(NOTHING, before(NOTHING))

    assert (decision.action, decision.percent, decision.features) == (Action.NONE, 0.0, ())
    assert decision.reason == "no feature moved"


def test_a_decision_for_nothing_names_what_moved_without_triggering_an_action():
    reason = "no feature that triggers an action moved; 6.0 % of rows moved in dest (blind below 7 %)"
    shown_only = msgspec.structs.replace(NOTHING, feature="", reason=reason)

    decision = decide_on(shown_only, before(shown_only))

    assert (decision.action, decision.reason) == (Action.NONE, reason)


def test_a_watched_reading_needs_no_confirmation():
    decision = decide_on(a_reading(dest=3.2), before(NOTHING))

    assert (decision.action, decision.percent, decision.features) == (Action.WATCH, 3.2, ("dest",))
    assert decision.reason == "3.2 % of rows moved in dest (2.8 to 3.6), band 2 to 5"


def test_too_few_rows_are_inconclusive_and_not_zero():
    decision = decide_on(TOO_FEW, before(a_reading(dest=8.0)))

    assert (decision.action, decision.band) == (Action.INCONCLUSIVE, Action.INCONCLUSIVE)
    assert (decision.percent, decision.reading, decision.by_feature) == (None, None, ())
    assert decision.reason == "inconclusive: 412 rows, the policy asks for 1000"


@pytest.mark.parametrize(("days_ago", "action"), [(20, Action.WATCH), (21, Action.RETRAIN)])
def test_no_retraining_before_the_cooldown_is_over(days_ago, action):
    drifted, retrained = a_reading(dest=8.0), NOW - timedelta(days=days_ago)

    decision = decide_on(drifted, before(drifted), retrained_at=[retrained])

    assert decision.action is action
    assert decision.reason.endswith("cooldown until 2013-07-16") is (action is Action.WATCH)


def test_a_cooldown_does_not_hold_back_a_rework():
    drifted = a_reading(dest=20.0)

    assert decide_on(drifted, before(drifted), retrained_at=[NOW]).action is Action.REWORK


@pytest.mark.parametrize(("oldest", "action"), [(364, Action.WATCH), (365, Action.RETRAIN)])
def test_a_used_up_budget_of_the_last_year_is_watched(oldest, action):
    drifted, twice_a_year = a_reading(dest=8.0), DriftPolicy(retrainings_per_year=2)
    retrained = [NOW - timedelta(days=oldest), NOW - timedelta(days=100)]

    decision = decide_on(drifted, before(drifted), policy=twice_a_year, retrained_at=retrained)

    assert decision.action is action
    assert decision.reason.endswith("the budget of 2 retrainings a year is used up") is (action is Action.WATCH)


@pytest.mark.parametrize("percent", [8.0, 20.0])
def test_a_version_flagged_for_rework_waits_for_a_new_recipe(percent):
    drifted = a_reading(dest=percent)

    decision = decide_on(drifted, before(drifted), awaiting_rework=True)

    assert decision.action is Action.WATCH
    assert decision.reason.endswith(
        "flagged for rework: automatic retraining is off until a new recipe leaves development"
    )


@pytest.mark.parametrize(
    ("loss", "action"),
    [
        (a_loss(6.0, 5.2, 7.0), Action.RETRAIN),
        (a_loss(14.0, 11.0, 17.0), Action.REWORK),
        (a_loss(14.0, 9.4, 18.0), Action.RETRAIN),  # the interval does not reach above 10
        (a_loss(3.0, 2.0, 4.0), Action.WATCH),
    ],
)
def test_model_drift_pooled_over_two_periods_goes_through_the_same_bands(loss, action):
    decision = decide_on(NOTHING, performance=loss)

    assert decision.action is action
    assert decision.percent == loss.loss_percent
    assert "% of roc_auc lost" in decision.reason
    assert decision.band is Action.NONE  # of the data


def test_a_loss_of_one_period_is_watched_until_a_second_one_is_pooled_with_it():
    decision = decide_on(NOTHING, performance=a_loss(14.0, 11.0, 17.0, periods=1))

    assert decision.action is Action.WATCH
    assert decision.reason.endswith("above 10, not yet confirmed by 2 periods")


def test_a_pooled_loss_says_over_how_many_periods():
    decision = decide_on(NOTHING, performance=a_loss(6.0, 5.2, 7.0, periods=5))

    assert decision.reason == "6.0 % of roc_auc lost (5.2 to 7.0), band 5 to 10, pooled over 5 periods"


def test_a_loss_that_may_be_chance_is_not_acted_on():
    assert decide_on(NOTHING, performance=a_loss(14.0, 11.0, 17.0, is_actionable=False)).action is Action.NONE


def test_the_more_serious_of_data_drift_and_model_drift_wins():
    drifted, former = a_reading(dest=8.0), before(a_reading(dest=8.0))

    assert decide_on(drifted, former, performance=a_loss(14.0, 11.0, 17.0)).action is Action.REWORK
    assert decide_on(drifted, former, performance=a_loss(3.0, 2.0, 4.0)).percent == 8.0


def test_model_drift_acts_where_data_drift_is_inconclusive():
    assert decide_on(TOO_FEW, performance=a_loss(6.0, 5.2, 7.0)).action is Action.RETRAIN


def test_a_cooldown_holds_back_model_drift_too():
    decision = decide_on(NOTHING, performance=a_loss(6.0, 5.2, 7.0), retrained_at=[NOW])

    assert (decision.action, decision.percent) == (Action.WATCH, 6.0)


def test_a_stale_champion_is_retrained_though_nothing_moved():
    decision = decide_on(NOTHING, staleness=a_gain(2.0, 0.9, 3.1))

    assert (decision.action, decision.percent, decision.fresh_gain) == (Action.RETRAIN, 2.0, 2.0)
    assert decision.reason == "a fresh model gains 2.0 % of roc_auc (0.9 to 3.1) on 4 periods"


def test_a_gain_that_does_not_act_is_recorded_and_changes_nothing():
    decision = decide_on(NOTHING, staleness=a_gain(0.4, -0.2, 1.0, is_actionable=False))

    assert (decision.action, decision.fresh_gain) == (Action.NONE, 0.4)


def test_however_much_a_fresh_model_gains_it_is_a_retraining_and_a_rework_outweighs_it():
    drifted, gained = a_reading(dest=20.0), a_gain(30.0, 25.0, 35.0)

    assert decide_on(NOTHING, staleness=gained).action is Action.RETRAIN
    assert decide_on(drifted, before(drifted), staleness=gained).action is Action.REWORK


def test_a_cooldown_holds_back_a_stale_champion_too():
    decision = decide_on(NOTHING, staleness=a_gain(2.0, 0.9, 3.1), retrained_at=[NOW])

    assert decision.action is Action.WATCH
    assert "cooldown until" in decision.reason


@pytest.mark.parametrize(("days", "action"), [(55, Action.NONE), (56, Action.RETRAIN)])
def test_a_champion_that_saw_nothing_for_so_long_is_retrained_whatever_was_read(days, action):
    aged = replace(POLICY, max_age=timedelta(weeks=8))

    decision = decide_on(NOTHING, policy=aged, trained_until=NOW - timedelta(days=days))

    assert decision.action is action
    if action is Action.RETRAIN:
        assert decision.reason == "no retraining for 56 days, the policy asks for one after 56 days"


def test_a_retraining_that_was_asked_for_counts_though_its_model_was_not_deployed():
    aged = replace(POLICY, max_age=timedelta(weeks=8), cooldown=timedelta(0))
    old = NOW - timedelta(weeks=20)

    assert decide_on(NOTHING, policy=aged, trained_until=old).action is Action.RETRAIN
    asked = [NOW - timedelta(weeks=7)]
    assert decide_on(NOTHING, policy=aged, trained_until=old, retrained_at=asked).action is Action.NONE


def test_no_age_asks_for_a_retraining_unless_the_policy_says_so():
    assert decide_on(NOTHING, trained_until=NOW - timedelta(days=3_000)).action is Action.NONE


def test_an_aged_champion_is_retrained_though_nothing_could_be_read_and_goes_back_where_a_rework_is_due():
    aged = replace(POLICY, max_age=timedelta(weeks=8))
    drifted, old = a_reading(dest=20.0), NOW - timedelta(weeks=9)

    assert decide_on(TOO_FEW, policy=aged, trained_until=old).action is Action.RETRAIN
    assert decide_on(drifted, before(drifted), policy=aged, trained_until=old).action is Action.REWORK
    flagged = decide_on(NOTHING, policy=aged, trained_until=old, awaiting_rework=True)
    assert flagged.action is Action.WATCH


def week_by_week(policy: DriftPolicy, *percents: float) -> DriftDecision:
    """The last decision of these weeks of one feature."""
    history: list[DriftDecision] = []
    for week, percent in enumerate(percents):
        history.append(decide_on(a_reading(dest=percent), *history, policy=policy, period=f"week {week}"))
    return history[-1]


@pytest.mark.parametrize(
    ("percents", "action"),
    [
        ((8.0, 0.0, 8.0), Action.RETRAIN),  # two of the last three agree
        ((8.0, 0.0, 0.0, 8.0), Action.WATCH),  # the first is too long ago
        ((8.0, 8.0, 0.0), Action.NONE),  # nothing moved in this week
        ((8.0,), Action.WATCH),
        ((8.0, 7.0), Action.RETRAIN),
    ],
)
def test_two_of_the_last_three_readings_may_be_asked_to_agree(percents, action):
    policy = DriftPolicy(agreeing_periods=2, of_periods=3)

    assert week_by_week(policy, *percents).action is action


def test_the_sentence_names_how_many_of_how_many_agree():
    decision = week_by_week(DriftPolicy(agreeing_periods=2, of_periods=3), 8.0, 0.0, 7.0)

    assert decision.percent == 7.0
    assert decision.reason.endswith("confirmed by 2 periods of 3")


def test_windows_that_share_days_do_not_confirm_each_other():
    drifted = a_reading(dest=8.0)
    days = [decide_on(drifted, period=f"day {day}") for day in range(6)]

    early = decide_on(drifted, *days, periods_in_window=7)
    week_later = decide_on(drifted, *days, days[0], periods_in_window=7)

    assert (early.action, week_later.action) == (Action.WATCH, Action.RETRAIN)


def test_a_decision_keeps_the_data_versions_of_what_it_rests_on():
    decision = decide_on(NOTHING, read_from={"performance": "b2", "data_drift": "a1"})

    assert decision.read_from == (("data_drift", "a1"), ("performance", "b2"))


def test_deciding_twice_gives_the_same_decision_also_from_stored_history():
    first = before(a_reading(dest=8.0))
    stored = msgspec.json.decode(msgspec.json.encode(first), type=DriftDecision)

    assert stored == first
    assert decide_on(a_reading(dest=9.0), stored) == decide_on(a_reading(dest=9.0), first)


# --- since when


def weeks_of(*percents: float) -> list[tuple[str, float]]:
    return [(f"2013-07-{1 + number:02d}", percent) for number, percent in enumerate(percents)]


@pytest.mark.parametrize(
    ("readings", "percent", "since"),
    [
        ((0, 0, 6, 6), 6, "2013-07-03"),
        ((0, 6, 2, 6), 6, "2013-07-02"),  # 6 - 3 outweighs 2 - 3
        ((0, 6, 0, 0, 6), 6, "2013-07-05"),  # 6 - 3 does not outweigh twice 0 - 3
        (
            (0, 6, 0, 6),
            6,
            "2013-07-04",
        ),  # where both are as likely, the later one: it holds fewer rows that did not move
        ((0, 3, 6), 6, "2013-07-03"),  # exactly half tells nothing
        ((6, 6, 2), 6, "2013-07-01"),  # one low reading is noise
        ((6, 2, 0), 6, ""),  # it has gone
        ((), 6, ""),
    ],
)
def test_a_shift_began_where_the_stretch_begins_that_exceeds_half_of_it_most(readings, percent, since):
    assert onset(weeks_of(*readings), percent) == since


@given(
    before=st.lists(st.floats(0, 2.9), max_size=8),
    after=st.lists(st.floats(6.1, 20), min_size=1, max_size=8),
)
def test_a_clean_step_is_found_where_it_is(before, after):
    readings = weeks_of(*before, *after)

    assert onset(readings, 6) == readings[len(before)][0]


def test_a_confirmed_shift_is_dated_by_the_feature_that_is_acted_on():
    older = decide_on(a_reading(dest=0.0, origin=9.0), period="2013-06-24")
    newer = decide_on(a_reading(dest=7.0, origin=0.0), older, period="2013-07-01")

    assert decide_on(a_reading(dest=6.1, origin=9.0), older, newer).since == "2013-07-01"


def test_what_another_version_read_dates_nothing():
    former = before(a_reading(dest=7.0), model_version=1)
    own = [decide_on(a_reading(dest=7.0), former, period="2013-07-08", model_version=2)]

    decision = decide_on(a_reading(dest=7.0), former, *own, period="2013-07-15", model_version=2)

    assert (decision.action, decision.since) == (Action.RETRAIN, "2013-07-08")


def test_a_loss_is_dated_by_the_scores_of_the_single_periods():
    def lost(percent: float, period: str, *history: DriftDecision) -> DriftDecision:
        # of an expected 0.7, the period alone lost so much; pooled over both, 6 % are lost
        loss = msgspec.structs.replace(a_loss(6.0, 5.5, 6.5), unpooled_value=0.7 * (1 - percent / 100))
        return decide_on(NOTHING, *history, period=period, performance=loss)

    usual = lost(0.0, "2013-06-24")
    first = lost(7.0, "2013-07-01", usual)

    assert first.unpooled_loss == pytest.approx(7.0)
    assert lost(5.0, "2013-07-08", usual, first).since == "2013-07-01"


@pytest.mark.parametrize(
    ("readings", "low", "since"),
    [
        ((0, 5.6, 7.9), 7.0, 3),  # less than moves now: it began within the second
        ((0, 7.0, 7.9), 7.0, 2),  # exactly the lower end: it may have moved whole
        ((0, 6.9, 7.9), 7.0, 3),
        ((0, 0, 7.9), 7.0, 3),  # the newest is never moved past
        ((0, 5.0, 6.0, 7.9), 7.0, 3),  # only the period of the onset is one that it began in
        ((0, 0, 0), 0.0, None),
    ],
)
def test_a_shift_lasts_since_the_first_period_that_lies_wholly_after_its_onset(readings, low, since):
    weeks = weeks_of(*readings)

    assert first_whole_period(weeks, 6, low) == (weeks[since - 1][0] if since else "")


def test_a_shift_that_began_within_a_week_is_learned_from_the_next_week_on():
    """8.0 (7.6 to 8.4) percent move now, and 5.5 did in the week before."""
    half_a_week = before(a_reading(dest=5.5))

    waits = decide_on(a_reading(dest=8.0), half_a_week, newest_learnable=half_a_week.period)

    assert (waits.action, waits.percent) == (Action.WATCH, 5.5)
    assert waits.since == waits.period > half_a_week.period


def test_what_asks_for_no_retraining_has_no_onset_and_what_is_held_back_keeps_its_own():
    assert decide_on(a_reading(dest=3.0), before(a_reading(dest=3.0))).since == ""
    stale = decide_on(NOTHING, staleness=a_gain(2.0, 1.0, 3.0))
    assert (stale.action, stale.since) == (Action.RETRAIN, "")
    held = decide_on(a_reading(dest=7.0), before(a_reading(dest=7.0)), retrained_at=[NOW - timedelta(days=1)])
    assert (held.action, held.since) == (Action.WATCH, "2013-07-01")


@pytest.mark.parametrize(("newest_learnable", "action"), [("2013-07-01", Action.RETRAIN), ("2013-06-24", Action.WATCH)])
def test_a_retraining_waits_until_it_can_hold_the_shift(newest_learnable, action):
    """The shift began on 1 July."""
    decision = decide_on(a_reading(dest=7.0), before(a_reading(dest=7.0)), newest_learnable=newest_learnable)

    assert (decision.action, decision.since) == (action, "2013-07-01")
    waits = "waits until more of the shift since 2013-07-01 is known: a version could not learn it yet"
    assert decision.reason.endswith(waits) is (action is Action.WATCH)


def test_a_rework_and_a_retraining_without_a_shift_wait_for_nothing():
    moved = a_reading(dest=20.0)
    assert decide_on(moved, before(moved), newest_learnable="2013-06-24").action is Action.REWORK
    stale = decide_on(NOTHING, staleness=a_gain(2.0, 1.0, 3.0), newest_learnable="2013-06-24")
    assert stale.action is Action.RETRAIN
