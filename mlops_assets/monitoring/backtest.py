"""Backtest: replays drift policies over history, to see what they would have done and what the models would have scored.

The loop runs on a shadow state that reads the stored features and labels. It changes neither the registry nor the stores nor
the champion, and uses the functions of the real loop to measure, decide, train and judge. Only staging is left out.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from mlops_assets.errors import DataError
from mlops_assets.features.golden import Golden
from mlops_assets.inference.batch import predict_period
from mlops_assets.inference.probation import read_probation
from mlops_assets.monitoring.keyed_cache import KeyedCache
from mlops_assets.monitoring.plans import Plan, calendar, plans_of
from mlops_assets.monitoring.replayed_loop import ReplayedLoop
from mlops_assets.monitoring.run import challenger_before, read_drift, read_performance, read_staleness
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import Backtest, DriftDecision
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.gates import judge_report
from mlops_assets.testing.run import test_partition
from mlops_assets.training.build import Trained, train
from mlops_assets.training.fit import Fitted
from mlops_assets.training.onset import onset_before
from mlops_assets.training.recipe import leave_development, promote_best, recipe_to_train_by
from mlops_assets.training.register import manifest_of
from mlops_assets.training.search import run_experiment
from mlops_assets.training.window import load_after_shift, load_training_set

BORROWED = ("features", "labels")


@dataclass(frozen=True)
class Models:
    """Models that plans share: each recipe is trained only once for a partition.

    trained: by partition, recipe and the shift that the set was split for, with the seconds it took. fresh: the challengers of
    staleness readings."""

    trained: KeyedCache[tuple[str, str, str], tuple[Trained, float]] = field(default_factory=KeyedCache)
    fresh: KeyedCache[tuple[str, str], Fitted] = field(default_factory=KeyedCache)


def run_backtest(
    state: ProductState,
    plan: Plan,
    on_progress: Callable[[str], None] = lambda _: None,
    models: Models | None = None,
) -> Backtest:
    """Replay `plan` over every period that has a decision, starting with the first champion and recipe.

    Raises DataError if nothing was deployed or decided yet."""
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
        on_progress=on_progress,
        models=models,
    )


def equal_budget(product: ModelProduct, result: Backtest) -> Plan | None:
    """The calendar that trains about as many models as this plan; None if the plan trained only the first model."""
    retrainings = result.trained - 1
    if retrainings < 1:
        return None
    every = max(1, round(len(result.periods) / retrainings))
    return calendar(product, f"every {every} periods (budget of {result.plan})", every)


def run_backtests(
    state: ProductState,
    policies: Sequence[str],
    on_progress: Callable[[str], None] = lambda _: None,
    answer_after: int | None = 1,
) -> list[Backtest]:
    """Replay the shipped policy, `policies`, never and always retraining, and a calendar that trains as often as the shipped policy.

    answer_after: periods after which development answers a rework, None: never. Plans run in parallel on all processors and
    share the models they train."""
    product = state.product
    models = Models()

    def run(plan: Plan) -> Backtest:
        return run_backtest(state, plan, on_progress, models)

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="backtest") as pool:
        futures = [pool.submit(run, plan) for plan in plans_of(product, policies, answer_after)]
        same_budget = equal_budget(product, futures[0].result())
        if same_budget is not None and same_budget.every != 1:
            futures.append(pool.submit(run, same_budget))
        return [future.result() for future in futures]


def replay_plan(
    state: ProductState,
    plan: Plan,
    *,
    recipe: Recipe,
    partition: str,
    started_at: datetime,
    keys: Sequence[str],
    on_progress: Callable[[str], None] = lambda _: None,
    models: Models | None = None,
) -> Backtest:
    """Replay `plan` over the periods `keys`, with a first model of `partition` by `recipe` that serves from `started_at` on.

    Reads only features and labels of `state`. models: those that other plans trained on them; new ones are added."""
    product = state.product
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        shadow = ShadowLoop(
            borrow_tables(state, replace(product, drift=plan.policy), Path(folder)), plan, models or Models()
        )
        shadow.start(partition, started_at, recipe)
        periods = []
        for key in keys:
            periods.append(shadow.replay_period(product.period.at(key)))
            on_progress(f"{plan.name}: {key} {periods[-1].action}")
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


class ShadowLoop(ReplayedLoop):
    """Replays the loop on stored features and labels, with real readings and models."""

    def __init__(self, state: ProductState, plan: Plan, models: Models) -> None:
        super().__init__(state, plan)
        self.models = models
        self.fit_seconds, self.watch_seconds = 0.0, 0.0

    def start(self, partition: str, at: datetime, recipe: Recipe) -> None:
        """Train and deploy the first model. Raises DataError if it fails its gates, because nothing would serve."""
        leave_development(self.state, None, recipe)
        self.state.workspace.replay_clock.set(at)
        if refusal := self.retrain(partition):
            raise DataError(f"the first model of {self.product.name} fails its gates: {refusal}")

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

    def read_probation(self, key: str) -> ProbationRecord:
        return read_probation(self.state, key)

    def _challenger(self, state: ProductState, candidate: Candidate, key: str) -> Fitted:
        fitted = self.models.fresh(_model_key(candidate, key), lambda: challenger_before(state, candidate, key))
        self.watch_seconds += fitted.seconds
        return fitted

    def develop(self, key: str) -> Recipe:
        former = recipe_to_train_by(self.state, 0)
        board = run_experiment(self.product, key, load_training_set(self.state, key))
        version = former.version + 1
        return promote_best(self.product, board, version, "backtest", self.state.clock.now(), f"backtest {version}")

    def rows_to_train(self, key: str) -> tuple[pl.DataFrame, str]:
        """The training set of `key`, and the first period of the shift that it was split for."""
        return load_after_shift(self.state, key, onset_before(self.state, key))

    def train(self, key: str) -> tuple[int, str]:
        state, product = self.state, self.product
        recipe = recipe_to_train_by(state, 0)
        rows, since = self.rows_to_train(key)
        data_version = state.tables.write("training_set", key, rows)
        candidate = recipe.as_candidate()
        model_key = (*_model_key(candidate, key), since)
        trained, seconds = self.models.trained(model_key, lambda: self._fit(candidate, rows, since))
        self.fit_seconds += seconds
        self.trained += 1
        version = self.trained
        manifest = manifest_of(product, trained, recipe, version, key, state.clock.now(), data_version)
        state.bundles.write(manifest, {**trained.files, GOLDEN: Golden.record(product).pack()})
        state.records.save(key, ModelRecord(version))
        report = test_partition(state, key)
        state.records.save(key, report)
        failed = [result.reason for result in judge_report(product, report) if not result.passed]
        return version, "; ".join(failed)

    def _fit(self, candidate: Candidate, rows: pl.DataFrame, since: str) -> tuple[Trained, float]:
        started = time.perf_counter()
        return train(self.product, candidate, rows, shift_since=since), time.perf_counter() - started


def compare(results: Sequence[Backtest]) -> list[dict[str, object]]:
    """One row per plan: its actions, its mean score and its cost."""
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


def _model_key(candidate: Candidate, key: str) -> tuple[str, str]:
    """Partition and recipe: they determine a model, because features and labels do not change during a backtest."""
    return key, json.dumps([candidate.name, candidate.estimator, dict(candidate.hyperparameters)], sort_keys=True)


def borrow_tables(state: ProductState, product: ModelProduct, folder: Path) -> ProductState:
    """A new state in `folder` that reads source tables, features and labels from `state`."""
    return ProductState(Workspace(folder), product, borrowed=dict.fromkeys(BORROWED, state.workspace.objects))


def _first_recipe(state: ProductState) -> Recipe:
    versions = state.records.keys(Recipe)
    return state.records.load(Recipe, versions[0])
