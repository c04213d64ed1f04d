"""Backtest: what a drift policy would have done over history, and what the model would have scored.

Runs the loop on a shadow state that borrows the stored features and labels: the registry, the stores and the champion are
never touched, and the same functions read, decide, train and judge as in the real loop. Only staging is left out.
"""

import json
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.errors import DataError, PlatformError
from mlops_assets.features.golden import Golden
from mlops_assets.inference.batch import predict_period
from mlops_assets.inference.probation import end_probation, read_probation
from mlops_assets.inference.promotion import deploy
from mlops_assets.monitoring.loop import Step, decided_at, is_answered_after, send_back, what_follows
from mlops_assets.monitoring.once import Once
from mlops_assets.monitoring.plans import Plan, calendar, plans_of
from mlops_assets.monitoring.run import (
    challenger_before,
    decide_period,
    read_drift,
    read_performance,
    read_staleness,
)
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.periods import Period
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import Backtest, BacktestPeriod, DriftDecision
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.gates import judge_report
from mlops_assets.testing.run import test_partition
from mlops_assets.training.build import Trained, train
from mlops_assets.training.fit import Fitted
from mlops_assets.training.onset import onset_before
from mlops_assets.training.recipe import current_recipe, leave_development, promote_best, recipe_to_train_by
from mlops_assets.training.register import manifest_of
from mlops_assets.training.search import run_experiment
from mlops_assets.training.window import load_after_shift, load_training_set

BORROWED = ("features", "labels")


@dataclass(frozen=True)
class Models:
    """Every model that some plan trained: a plan that comes to the same recipe and partition takes it from here.

    trained: by partition, recipe and the shift it was split for, with the seconds it took; fresh: what staleness compares with."""

    trained: Once[tuple[str, str, str], tuple[Trained, float]] = field(default_factory=Once)
    fresh: Once[tuple[str, str], Fitted] = field(default_factory=Once)


def run_backtest(
    state: ProductState,
    plan: Plan,
    told: Callable[[str], None] = lambda _: None,
    models: Models | None = None,
) -> Backtest:
    """Replay `plan` over every period that was decided, from the first champion and recipe on.

    Raises DataError: nothing was deployed or decided yet."""
    product = state.product
    deployments = state.ledger.history()
    keys = state.records.keys(DriftDecision)
    if not deployments or not keys:
        raise DataError(
            f"{product.name} has no history to replay in {state.workspace.url}: {len(deployments)} deployments, {len(keys)} decisions. "
            "Name the state of one that has run with --home or --state (the demo's is var/demo), or let it run for some periods."
        )
    first = deployments[0]
    return replay_plan(
        state,
        plan,
        recipe=_first_recipe(state),
        partition=first.partition,
        started_at=first.deployed_at,
        keys=keys,
        told=told,
        models=models,
    )


def equal_budget(product: ModelProduct, result: Backtest) -> Plan | None:
    """The calendar that trains about as many models as this plan did; None where it trained no more than the first."""
    retrainings = result.trained - 1
    if retrainings < 1:
        return None
    every = max(1, round(len(result.periods) / retrainings))
    return calendar(product, f"every {every} periods (budget of {result.plan})", every)


def run_backtests(
    state: ProductState,
    policies: Sequence[str],
    told: Callable[[str], None] = lambda _: None,
    answer_after: int | None = 1,
) -> list[Backtest]:
    """The shipped policy, the `policies` asked for, the two ends, and the calendar that trains as often as the shipped one.

    answer_after: periods after which development answers a rework, None: never. As many plans at once as there are
    processors; what one trained, the others need not."""
    product = state.product
    models = Models()

    def run(plan: Plan) -> Backtest:
        return run_backtest(state, plan, told, models)

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="backtest") as pool:
        running = [pool.submit(run, plan) for plan in plans_of(product, policies, answer_after)]
        rival = equal_budget(product, running[0].result())
        last = [pool.submit(run, rival)] if rival is not None and rival.every != 1 else []
        return [future.result() for future in running + last]


def replay_plan(
    state: ProductState,
    plan: Plan,
    *,
    recipe: Recipe,
    partition: str,
    started_at: datetime,
    keys: Sequence[str],
    told: Callable[[str], None] = lambda _: None,
    models: Models | None = None,
) -> Backtest:
    """`plan` over the periods `keys`, from a first model of `partition` by `recipe` that served from `started_at` on.

    Needs nothing of `state` but its features and labels. models: what other plans trained on them, added to."""
    product = state.product
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        shadow = ShadowLoop(
            borrow_tables(state, replace(product, drift=plan.policy), Path(folder)), plan, models or Models()
        )
        shadow.start(partition, started_at, recipe)
        periods = []
        for key in keys:
            periods.append(shadow.live(product.period.at(key)))
            told(f"{plan.name}: {key} {periods[-1].action}")
        return Backtest(
            plan.name,
            product.metric,
            tuple(periods),
            shadow.trained,
            len({item.version for item in shadow.history()}),
            shadow.fit_seconds,
            shadow.watch_seconds,
            shadow.rolled_back,
        )


class ReplayedLoop(ABC):
    """The loop of one plan on a state of its own: the same rules as the real one, carried out at once.

    Who extends it says how a period is observed and measured, and how a version is trained; `live` does the rest."""

    def __init__(self, state: ProductState, plan: Plan) -> None:
        self.state, self.product, self.plan = state, state.product, plan
        self.trained, self.lived, self.rolled_back = 0, 0, 0

    @abstractmethod
    def observe(self, key: str) -> None:
        """Store the predictions and the drift reading of a period that is over."""

    @abstractmethod
    def measure(self, key: str) -> float | None:
        """Store what the labels of a period say, and return the champion's score in this period alone."""

    @abstractmethod
    def look_at_champion(self, key: str) -> ProbationRecord:
        """The champion's probation when the labels of a period are known."""

    @abstractmethod
    def train(self, key: str) -> tuple[int, str]:
        """Train and test a version for `key`: the version, and why it is refused ("" where it is not)."""

    @abstractmethod
    def develop(self, key: str) -> Recipe:
        """What a team does in development for `key`: search anew, and choose."""

    def history(self) -> list[Deployment]:
        return self.state.ledger.history()

    def live(self, period: Period) -> BacktestPeriod:
        """What happens to a period: it is predicted, read, decided, and the plan carried out."""
        state, product, key = self.state, self.product, period.key
        clock = state.workspace.replay_clock
        clock.set(period.end)
        self.observe(key)
        clock.set(decided_at(product, key))
        score = self.measure(key)
        said = self._end_probation(key)
        decision = decide_period(state, key)
        state.records.save(key, decision)
        following = what_follows(product, decision if self.plan.every is None else self._by_calendar(decision))
        reason = decision.reason if self.plan.every is None else f"by calendar; the policy says: {decision.reason}"
        action = decision.action if self.plan.every is None else _ACTION[following.step]
        if following.step is Step.SEND_BACK:
            send_back(state, decision)
        elif following.step is Step.TRAIN:
            said += self._carry_out(lambda: self._retrain(following.partition))
        said += self._answer(period)
        reading = decision.reading
        return BacktestPeriod(key, action, reading, score, decision.model_version, reason, "; ".join(said))

    def _end_probation(self, key: str) -> list[str]:
        _, back = end_probation(self.state, key, self.look_at_champion(key))
        if back is None:
            return []
        self.rolled_back += 1
        return [back.deployment.reason]

    def _by_calendar(self, decision: DriftDecision) -> DriftDecision:
        self.lived += 1
        action = Action.RETRAIN if self.plan.is_due(self.lived) else Action.NONE
        return msgspec.structs.replace(decision, action=action)

    def _answer(self, period: Period) -> list[str]:
        """The team answers an open flag when its time has come: a recipe leaves development, and a version is trained."""
        flag = self.state.ledger.open_flag()
        following = self.product.period.shift(period, 1)
        if flag is None or not self.product.period.has(following):
            return []
        if not is_answered_after(self.product, flag, period.key, self.plan.answer_after):
            return []

        def answer() -> str:
            former = current_recipe(self.state)
            leave_development(self.state, former, self.develop(following.key))
            return self._retrain(following.key)

        return [f"development answers with {following.key}", *self._carry_out(answer)]

    def _carry_out(self, run: Callable[[], str]) -> list[str]:
        try:
            refused = run()
        except PlatformError as error:  # one failed run in the real loop, which goes on
            return [f"training failed: {error}"]
        return [f"refused: {refused}"] if refused else []

    def _retrain(self, key: str) -> str:
        """Train by the newest recipe; it serves when it passes the gates of the test report. Returns why it does not."""
        version, refused = self.train(key)
        if not refused:
            deploy(self.state, version, key, reason="gates passed", by="backtest")
        return refused


_ACTION = {Step.NOTHING: Action.NONE, Step.TRAIN: Action.RETRAIN, Step.SEND_BACK: Action.REWORK}


class ShadowLoop(ReplayedLoop):
    """The loop on stored features and labels, with real readings and models."""

    def __init__(self, state: ProductState, plan: Plan, models: Models) -> None:
        super().__init__(state, plan)
        self.models = models
        self.fit_seconds, self.watch_seconds = 0.0, 0.0

    def start(self, partition: str, at: datetime, recipe: Recipe) -> None:
        """Raises DataError: the first model fails its gates, so nothing would serve."""
        leave_development(self.state, None, recipe)
        self.state.workspace.replay_clock.set(at)
        if refused := self._retrain(partition):
            raise DataError(f"the first model of {self.product.name} fails its gates: {refused}")

    def observe(self, key: str) -> None:
        state = self.state
        features = state.tables.read("features", [key])
        state.tables.write("predictions", key, predict_period(state, features, self.history()))
        state.records.save(key, read_drift(state, key))

    def measure(self, key: str) -> float | None:
        state = self.state
        performance = read_performance(state, key)
        state.records.save(key, performance)
        state.records.save(key, read_staleness(state, key, self._challenger))
        return performance.reading.unpooled_value

    def look_at_champion(self, key: str) -> ProbationRecord:
        return read_probation(self.state, key)

    def _challenger(self, state: ProductState, candidate: Candidate, key: str) -> Fitted:
        fitted = self.models.fresh(_name(candidate, key), lambda: challenger_before(state, candidate, key))
        self.watch_seconds += fitted.seconds
        return fitted

    def develop(self, key: str) -> Recipe:
        former = recipe_to_train_by(self.state, 0)
        board = run_experiment(self.product, key, load_training_set(self.state, key))
        version = former.version + 1
        return promote_best(self.product, board, version, "backtest", self.state.clock.now(), f"backtest {version}")

    def rows_to_train(self, key: str) -> tuple[pl.DataFrame, str]:
        """The training set of `key`, and the first period of the shift that it was split for."""
        onset = onset_before(self.state, key)
        return load_after_shift(self.state, key, onset)

    def train(self, key: str) -> tuple[int, str]:
        state, product = self.state, self.product
        recipe = recipe_to_train_by(state, 0)
        rows, since = self.rows_to_train(key)
        data_version = state.tables.write("training_set", key, rows)
        candidate = recipe.as_candidate()
        made, seconds = self.models.trained((*_name(candidate, key), since), lambda: self._fit(candidate, rows, since))
        self.fit_seconds += seconds
        self.trained += 1
        version = self.trained
        manifest = manifest_of(product, made, recipe, version, key, state.clock.now(), data_version)
        state.bundles.write(manifest, {**made.files, GOLDEN: Golden.record(product).pack()})
        state.records.save(key, ModelRecord(version))
        report = test_partition(state, key)
        state.records.save(key, report)
        failed = [result.reason for result in judge_report(product, report) if not result.passed]
        return version, "; ".join(failed)

    def _fit(self, candidate: Candidate, rows: pl.DataFrame, since: str) -> tuple[Trained, float]:
        started = time.perf_counter()
        return train(self.product, candidate, rows, shift_since=since), time.perf_counter() - started


def _name(candidate: Candidate, key: str) -> tuple[str, str]:
    """What decides a model here, where features and labels stay as they are: the recipe and the partition."""
    return key, json.dumps([candidate.name, candidate.estimator, dict(candidate.hyperparameters)], sort_keys=True)


def borrow_tables(state: ProductState, product: ModelProduct, folder: Path) -> ProductState:
    """A state of its own in `folder`, which reads source tables, features and labels where they are stored."""
    return ProductState(Workspace(folder), product, borrowed=dict.fromkeys(BORROWED, state.workspace.objects))


def _first_recipe(state: ProductState) -> Recipe:
    versions = state.records.keys(Recipe)
    return state.records.load(Recipe, versions[0])


def compare(results: Sequence[Backtest]) -> list[dict[str, object]]:
    """One row a plan: what it did and its mean score."""
    rows: list[dict[str, object]] = []
    for result in results:
        actions = [item.action for item in result.periods]
        rows.append(
            {
                "plan": result.plan,
                result.metric: result.mean_score,
                "trained": result.trained,
                "deployed": result.deployed,
                "rolled back": result.rolled_back,
                **{action.value: actions.count(action) for action in (Action.WATCH, Action.RETRAIN, Action.REWORK)},
                "train s": result.fit_seconds,
                "watch s": result.watch_seconds,
            }
        )
    return rows
