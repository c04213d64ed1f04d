"""A decision that looks back as far as it has to is the one that looks back at everything."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.monitoring.decision import decide
from mlops_assets.monitoring.loop import LoopState, decided_at, oldest_relevant_period
from mlops_assets.monitoring.run import decisions_before
from mlops_assets.products.periods import weekly
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.product import ModelProduct
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
from mlops_assets.state.ledger import ReworkFlag
from mlops_assets.state.workspace import Workspace

LOOP = replace(flight_delay, period=weekly(start="2010-01-04"))


@dataclass
class Life:
    """The loop over weeks, with everything it ever decided. carried_out: does a retraining pass its gates, and how many weeks
    does a flag for rework wait to be raised, and to be answered?"""

    product: ModelProduct
    version: int = 1
    partition: str = "2010-01-04"
    decisions: list[DriftDecision] = field(default_factory=list)
    flags: list[ReworkFlag] = field(default_factory=list)

    def decide(self, key: str, history: list[DriftDecision], week: "Week") -> DriftDecision:
        now = decided_at(self.product, key)
        known = LoopState(history, [flag for flag in self.flags if flag.flagged_at <= now])
        return decide(
            period=key,
            drift=week.drift,
            performance=week.performance,
            staleness=week.staleness,
            history=history,
            policy=self.product.drift,
            now=now,
            retrained_at=known.retrained_at(self.product),
            awaiting_rework=known.awaits_rework(self.product, now),
            model_version=self.version,
            trained_until=self.product.period.at(self.partition).start,
        )

    def carry_out(self, decision: DriftDecision, week: "Week") -> None:
        self.decisions.append(decision)
        now = decided_at(self.product, decision.period)
        following = self.product.period.shift(self.product.period.at(decision.period), 1).key
        if decision.action is Action.REWORK:
            raised = now + timedelta(weeks=week.lag)
            self.flags.append(ReworkFlag(self.version, raised, "", raised + timedelta(weeks=week.answer)))
        if (decision.action is Action.RETRAIN and week.passes) or week.replaced:
            self.version, self.partition = self.version + 1, following


@dataclass(frozen=True)
class Week:
    """What is read in one week, and what comes of it. replaced: development deploys a version, whatever was decided."""

    drift: DriftReading
    performance: PerformanceReading | None
    staleness: StalenessReading | None
    passes: bool
    lag: int
    answer: int
    replaced: bool


def a_drift(percent: float | None) -> DriftReading:
    if percent is None:
        return DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", (), 10, "10 rows")
    feature = FeatureReading("dest", percent, percent, percent, 2.0, "input", True, "", "values", percent)
    return DriftReading(
        DriftState.CONCLUSIVE, percent, percent, percent, "dest", (feature,), 6_000, f"{percent} % moved"
    )


def a_loss(percent: float | None) -> PerformanceReading | None:
    if percent is None:
        return None
    value, numbers = 0.7 * (1 - percent / 100), (percent, percent, percent, 1.0)
    facts = (PerformanceState.CONCLUSIVE, "roc_auc", value, value, value, 0.7, *numbers)
    return PerformanceReading(*facts, percent > 2, 6_000, 6_000, "", periods=2, unpooled_value=value)


def a_gain(percent: float | None) -> StalenessReading | None:
    if percent is None:
        return None
    return StalenessReading(StalenessState.CONCLUSIVE, "roc_auc", percent, percent, percent, True, f"gains {percent} %")


rarely = st.sampled_from([True] + [False] * 19)
weeks = st.builds(
    Week,
    drift=st.sampled_from([None, 0.0, 0.0, 1.0, 3.0, 6.0, 7.0, 14.0]).map(a_drift),
    performance=st.sampled_from([None, None, -1.0, 0.0, 1.0, 4.0, 7.0, 13.0]).map(a_loss),
    staleness=st.sampled_from([None] * 9 + [2.0]).map(a_gain),
    passes=st.booleans(),
    lag=st.integers(0, 3),
    answer=st.integers(0, 8),
    replaced=rarely,
)
policies = st.builds(
    DriftPolicy,
    agreeing_periods=st.integers(1, 3),
    of_periods=st.sampled_from([0, 4]),
    cooldown=st.sampled_from([timedelta(0), timedelta(weeks=3), timedelta(weeks=70)]),
    retrainings_per_year=st.integers(0, 6),
    max_age=st.none() | st.integers(1, 80).map(lambda number: timedelta(weeks=number)),
)


@settings(max_examples=150, deadline=None)
@given(
    policy=policies,
    pattern=st.lists(weeks, min_size=1, max_size=25),
    length=st.sampled_from([30, 70, 130]),
    delay=st.sampled_from([0, 2, 10]),
)
def test_it_is_the_same_to_the_letter(policy: DriftPolicy, pattern: list[Week], length: int, delay: int) -> None:
    life = Life(replace(LOOP, drift=policy, label=replace(LOOP.label, delay=timedelta(days=delay))))
    period = life.product.period.first

    for number in range(length):
        week = pattern[number % len(pattern)]
        since = oldest_relevant_period(life.product, period.key, life.partition)
        recent = [item for item in life.decisions if item.period >= since]
        decision = life.decide(period.key, life.decisions, week)

        assert life.decide(period.key, recent, week) == decision
        life.carry_out(decision, week)
        period = life.product.period.shift(period, 1)


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        # 365 days before is a Sunday, in the week of 27 December, and the week before that
        ("2011-12-26", "2010-12-20"),
        # the champion learned until two days before its partition, and the week before that
        ("2010-06-07", "2010-05-24"),
    ],
)
def test_it_looks_back_a_year_or_as_long_as_the_champion_has_served(partition: str, expected: str) -> None:
    assert oldest_relevant_period(LOOP, "2012-01-02", partition) == expected


def test_older_decisions_are_not_even_read(workspace: Workspace) -> None:
    state = workspace.of(LOOP)
    at = LOOP.period.at("2011-12-26").start
    state.ledger.deploy(1, "2011-12-26", at, reason="a test", by="test", after=0)
    for number in count():
        key = LOOP.period.shift(LOOP.period.first, number).key
        if key > "2012-01-16":
            break
        if key < "2010-12-20":
            workspace.objects.put(f"records/{LOOP.name}/drift_decision/{key}.json", b"unreadable")
        else:
            state.records.save(key, a_quiet_decision(key))

    keys = [decision.period for decision in decisions_before(state, "2012-01-02")]

    assert (keys[0], keys[-1], len(keys)) == ("2010-12-20", "2011-12-26", 54)


def a_quiet_decision(key: str) -> DriftDecision:
    return DriftDecision(key, Action.NONE, 0.0, 0.0, 0.0, (), "no feature moved", Action.NONE, 0.0, (), 1)


def test_a_rework_that_nobody_flagged_is_remembered_for_a_year() -> None:
    now = datetime.fromisoformat("2012-01-11T00:00+00:00")
    sent_back = msgspec.structs.replace(a_quiet_decision("2010-12-20"), action=Action.REWORK)
    since = oldest_relevant_period(LOOP, "2012-01-02", "2011-12-26")

    assert LoopState([sent_back], []).awaits_rework(LOOP, now)
    assert sent_back.period >= since
    assert oldest_relevant_period(LOOP, "2012-01-09", "2011-12-26") > sent_back.period
