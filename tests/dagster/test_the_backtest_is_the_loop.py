"""Whatever is read, a backtest takes the actions of the real loop, in the same periods.

The real side is the drift sensor over a Dagster instance, and the functions that the assets call; its team answers by a rule
of its own, which counts periods. The backtest runs on another state. Readings, probations and the fate of every version are
drawn, so that flags, cooldowns, budgets, rollbacks and refusals meet in orders that nobody thought of.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.inference.probation import end_probation, in_probation
from mlops_assets.inference.promotion import deploy
from mlops_assets.monitoring.load import champion_at_end
from mlops_assets.monitoring.loop import send_back
from mlops_assets.monitoring.performance import without_score
from mlops_assets.monitoring.plans import Plan
from mlops_assets.monitoring.replayed_loop import ReplayedLoop
from mlops_assets.monitoring.run import decide_period
from mlops_assets.monitoring.staleness import without_reading
from mlops_assets.products.periods import weeks
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import BacktestPeriod, DriftDecision
from mlops_assets.records.inference import ProbationRecord, ProbationState
from mlops_assets.records.readings import (
    DriftReading,
    DriftRecord,
    DriftState,
    FeatureReading,
    PerformanceRecord,
    PerformanceState,
    StalenessReading,
    StalenessRecord,
    StalenessState,
)
from mlops_assets.records.training import Recipe
from mlops_assets.replay.runs import Replay
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.recipe import current_recipe, leave_development
from resources.platform import Platform
from tests.dagster.builders import a_location, an_environment, decide, evaluate, launch
from tests.tiny_bundle import tiny_files, tiny_manifest

FIRST = "2013-10-07"
NAME = flight_delay.name
PERIODS = 10  # up to the product's last week but two


@dataclass(frozen=True)
class Draw:
    """What becomes of one period: percent of rows moved in two features, whether a fresh model gains, whether a champion in
    probation fails, and what becomes of a version that is trained then: "passes", "refused" or "fails"."""

    dest: float
    origin: float
    gains: bool
    fails_probation: bool
    fate: str


DRAWS = st.builds(
    Draw,
    dest=st.sampled_from([0.0, 0.0, 3.0, 7.0, 8.0, 14.0, 20.0]),
    origin=st.sampled_from([0.0, 0.0, 6.0, 13.0]),
    gains=st.sampled_from([False, False, False, True]),
    fails_probation=st.sampled_from([False, False, True]),
    fate=st.sampled_from(["passes", "passes", "passes", "refused", "fails"]),
)
POLICIES = st.builds(
    DriftPolicy,
    cooldown=st.sampled_from([weeks(0), weeks(1), weeks(3)]),
    retrainings_per_year=st.sampled_from([1, 2, 26]),
    agreeing_periods=st.sampled_from([1, 2]),
    max_age=st.sampled_from([None, weeks(5)]),
)


class World:
    """What is read and made, as it was drawn: the one thing that both sides share."""

    def __init__(self, state: ProductState, bundles: Path, draws: list[Draw]) -> None:
        self.state, self.product, self.bundles = state, state.product, bundles
        self.draws = dict(zip(keys(), draws, strict=True))
        self.trained = 0

    def store_drift(self, key: str) -> None:
        drawn = self.draws[key]
        features = tuple(
            FeatureReading(
                name, percent, max(0.0, percent - 0.4), percent + 0.4, 2.0, "input", True, "", "values", percent
            )
            for name, percent in (("dest", drawn.dest), ("origin", drawn.origin))
        )
        top = max(features, key=lambda item: item.percent)
        reading = DriftReading(
            DriftState.CONCLUSIVE,
            top.percent,
            top.low,
            top.high,
            top.name if top.percent else "",
            features,
            6_000,
            "drawn",
        )
        self.state.records.save(key, DriftRecord(champion_at_end(self.state, key).version, reading))

    def store_what_labels_say(self, key: str) -> None:
        version = champion_at_end(self.state, key).version
        nothing = without_score("roc_auc", 0.7, PerformanceState.INCONCLUSIVE, "not drawn", pl.DataFrame())
        self.state.records.save(key, PerformanceRecord(version, nothing))
        gained = StalenessReading(StalenessState.CONCLUSIVE, "roc_auc", 2.0, 1.0, 3.0, True, "a fresh model gains")
        none = without_reading(StalenessState.NOT_DUE, "roc_auc", "not drawn")
        self.state.records.save(key, StalenessRecord(version, 1, gained if self.draws[key].gains else none))

    def probation(self, key: str) -> ProbationRecord:
        watched = in_probation(self.product, self.state.ledger.history(), self.product.period.at(key))
        if watched is None or not self.draws[key].fails_probation:
            return ProbationRecord(ProbationState.NONE, "drawn")
        champion, former = watched
        return ProbationRecord(ProbationState.FAILED, "worse beyond noise", champion.version, former.version)

    def train(self, at: str) -> tuple[int, str]:
        """at: the period whose decision asked."""
        fate = self.draws[at].fate
        if fate == "fails":
            raise NothingToLearnFrom("drawn to fail")
        self.take_next_version()
        return self.trained, "drawn to be refused" if fate == "refused" else ""

    def take_next_version(self) -> None:
        self.trained += 1
        folder = self.state.workspace.home / "bundles" / NAME
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(self.trained)).symlink_to(self.bundles / str(self.trained))

    def recipe(self) -> Recipe:
        former = current_recipe(self.state)
        version = former.version + 1 if former else 1
        made = NAME, version, "linear", "linear", {"C": 1.0}
        return Recipe(*made, "team", "drawn", self.state.clock.now(), f"run {version}")


class Backtested(ReplayedLoop):
    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world.state, plan)
        self.world, self.now = world, FIRST

    def observe(self, key: str) -> None:
        self.now = key
        self.world.store_drift(key)

    def measure(self, key: str) -> float | None:
        self.world.store_what_labels_say(key)
        return None

    def read_probation(self, key: str) -> ProbationRecord:
        return self.world.probation(key)

    def train(self, key: str) -> tuple[int, str]:
        return self.world.train(self.now)

    def develop(self, key: str) -> Recipe:
        return self.world.recipe()


class Real:
    """The sensor decides what runs; each run calls what the assets call."""

    def __init__(self, replay: Replay, world: World, answer_after: int | None) -> None:
        self.replay, self.world, self.answer_after = replay, world, answer_after
        self.state, self.product = world.state, world.product
        self.cursor: str | None = None
        self.flagged_in: str | None = None

    def live(self, key: str) -> DriftDecision:
        period = self.product.period.at(key)
        self.replay.at(period.end)
        self.world.store_drift(key)
        self.replay.at(period.end + self.product.label.delay)
        self.world.store_what_labels_say(key)
        end_probation(self.state, key, self.world.probation(key))
        decision = decide_period(self.state, key)
        decide(self.state, self.replay.instance, decision)
        tick = evaluate(self.replay, f"{NAME}_drift", self.cursor)
        self.cursor = tick.cursor or self.cursor
        for asked in tick.run_requests or []:
            self._run(key, asked)
        self._answer(key)
        return decision

    def _run(self, key: str, asked: dg.RunRequest) -> None:
        assert asked.asset_selection is not None
        assert asked.partition_key is not None
        names = {item.path[-1] for item in asked.asset_selection}
        if names == {"rework_brief"}:
            stored = self.state.records.load(DriftDecision, asked.partition_key)
            send_back(self.state, stored)
            self.flagged_in = asked.partition_key
        else:
            assert "deployment" in names
            self._train(key, asked.partition_key)
        launch(self.replay.instance, asked, dg.DagsterRunStatus.SUCCESS)

    def _train(self, decided: str, partition: str) -> None:
        try:
            version, refused = self.world.train(decided)
        except NothingToLearnFrom:
            return
        if not refused:
            deploy(self.state, version, partition, reason="gates passed", by="test")

    def _answer(self, key: str) -> None:
        if self.flagged_in is None or self.answer_after is None:
            return
        waited = keys().index(key) - keys().index(self.flagged_in) + 1
        if waited >= self.answer_after:
            leave_development(self.state, current_recipe(self.state), self.world.recipe())
            self.flagged_in = None
            self._train(key, self.product.period.shift(self.product.period.at(key), 1).key)


def keys() -> list[str]:
    first = flight_delay.period.at(FIRST)
    return [flight_delay.period.shift(first, by).key for by in range(PERIODS)]


def started(product: ModelProduct, root: Path, bundles: Path, draws: list[Draw]) -> World:
    """A state of version 1, trained for the first period by the first recipe."""
    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace(root)
    world = World(workspace.of(product), bundles, draws)
    workspace.replay_clock.set(product.period.at(FIRST).start + product.label.delay)
    leave_development(world.state, None, world.recipe())
    world.take_next_version()
    deploy(world.state, 1, FIRST, reason="first", by="test")
    return world


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle a version: more are never trained than there are periods, twice."""
    root = tmp_path_factory.mktemp("bundles")
    state = Workspace(root).of(flight_delay)
    for version in range(1, 2 * PERIODS + 2):
        state.bundles.write(tiny_manifest(flight_delay, version), tiny_files(flight_delay))
    return root / "bundles" / NAME


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    workspace = Workspace(tmp_path_factory.mktemp("loop") / "real")
    environment = an_environment(workspace)
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = a_location(flight_delay, environment)
        yield Replay(workspace.of(flight_delay), instance, definitions, Platform.of(environment))


def both(
    watched: Replay, bundles: Path, policy: DriftPolicy, answer_after: int | None, draws: list[Draw]
) -> tuple[list[DriftDecision], World, list[BacktestPeriod], World]:
    product = replace(flight_delay, drift=policy)
    with dg.DagsterInstance.ephemeral() as instance:  # one that has seen no run of another example
        real_world = started(product, watched.state.workspace.home, bundles, draws)
        real = Real(replace(watched, state=real_world.state, instance=instance), real_world, answer_after)
        decisions = [real.live(key) for key in keys()]
    shadow_world = started(product, watched.state.workspace.home.parent / "shadow", bundles, draws)
    loop = Backtested(shadow_world, Plan("shipped", policy, answer_after=answer_after))
    return decisions, real_world, [loop.replay_period(product.period.at(key)) for key in keys()], shadow_world


def what_served(world: World) -> list[tuple[int, str, datetime]]:
    return [(item.version, item.partition, item.deployed_at) for item in world.state.ledger.history()]


def flags(world: World) -> list[tuple[int, datetime, datetime | None]]:
    return [(item.version, item.flagged_at, item.cleared_at) for item in world.state.ledger.flags()]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=POLICIES,
    answer_after=st.sampled_from([1, 2, 3, None]),
    draws=st.lists(DRAWS, min_size=PERIODS, max_size=PERIODS),
)
def test_whatever_is_read_both_decide_serve_and_flag_the_same(watched, bundles, policy, answer_after, draws):
    decisions, real, periods, shadow = both(watched, bundles, policy, answer_after, draws)

    assert [(item.period, item.action, item.reason, item.model_version) for item in decisions] == [
        (item.period, item.action, item.reason, item.version) for item in periods
    ]
    assert what_served(real) == what_served(shadow)
    assert flags(real) == flags(shadow)


MOVED = Draw(dest=20.0, origin=0.0, gains=False, fails_probation=False, fate="passes")


@pytest.mark.parametrize(
    ("answer_after", "actions", "answers"),
    [
        # two periods agree; the answer's version has a reference of its own, so that two more have to agree
        (1, "watch rework watch rework watch rework watch rework watch rework", 5),
        (3, "watch rework watch watch watch rework watch watch watch rework", 2),
        (None, "watch rework watch watch watch watch watch watch watch watch", 0),
    ],
)
def test_a_flag_stops_the_loop_until_development_answers(watched, bundles, answer_after, actions, answers):
    policy = DriftPolicy(agreeing_periods=2)

    decisions, real, periods, shadow = both(watched, bundles, policy, answer_after, [MOVED] * PERIODS)

    assert [item.action for item in periods] == [item.action for item in decisions] == actions.split()
    assert len([item for item in periods if item.outcome.startswith("development answers")]) == answers
    assert len([flag for flag in flags(shadow) if flag[2] is not None]) == answers
    assert what_served(real) == what_served(shadow)


def test_a_champion_that_fails_its_probation_is_rolled_back_in_a_backtest(watched, bundles):
    policy = DriftPolicy(agreeing_periods=1, cooldown=weeks(3))
    moved = replace(MOVED, dest=7.0)
    still = replace(MOVED, dest=0.0)
    draws = [moved, moved, replace(still, fails_probation=True), *[still] * (PERIODS - 3)]

    _, _, periods, shadow = both(watched, bundles, policy, None, draws)

    # the first week of the shift is too little to learn from
    assert [item.action for item in periods[:4]] == [Action.WATCH, Action.RETRAIN, Action.NONE, Action.NONE]
    assert [version for version, _, _ in what_served(shadow)] == [1, 2, 1]
    assert periods[2].outcome == "rolled back from version 2: worse beyond noise"
    assert [item.version for item in periods[:4]] == [1, 1, 2, 1]
