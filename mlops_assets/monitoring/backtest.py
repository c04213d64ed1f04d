"""Backtest: what a drift policy would have done over history, and what the model would have scored.

Runs the loop on a shadow home that borrows the stored features and labels: the registry, the stores and the champion are
never touched, and the same functions read, decide, train and judge as in the real loop. Only staging is left out.
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

import msgspec
import polars as pl

from mlops_assets.errors import DataError, PlatformError
from mlops_assets.inference.batch import predict_period
from mlops_assets.monitoring.once import Once
from mlops_assets.monitoring.plans import Plan, calendar, plans_of
from mlops_assets.monitoring.run import (
    DATA_DRIFT,
    DECISION,
    PERFORMANCE,
    STALENESS,
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
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import write_bundle
from mlops_assets.testing.gates import judge_report
from mlops_assets.testing.run import test_partition
from mlops_assets.training.build import Trained, train
from mlops_assets.training.fit import Fitted
from mlops_assets.training.recipe import RECIPE, Recipe, promote_best, recipe_key, recipe_to_train_by
from mlops_assets.training.register import MODEL, ModelRecord, manifest_of
from mlops_assets.training.search import run_experiment
from mlops_assets.training.window import load_training_set

BORROWED = ("features", "labels")


class BacktestPeriod(msgspec.Struct, frozen=True):
    """One period under a plan. action: what was carried out; version: champion when the period ended."""

    period: str
    action: Action
    reading: float | None
    score: float | None
    version: int
    reason: str


class Backtest(msgspec.Struct, frozen=True):
    """A plan over history. trained: models that were fitted; deployed: those that passed the gates, the first included.

    fit_seconds: spent on training them; watch_seconds: on the fresh models that staleness compares with. A model that
    another plan had trained already counts with the seconds it took there."""

    plan: str
    metric: str
    periods: tuple[BacktestPeriod, ...]
    trained: int
    deployed: int
    fit_seconds: float
    watch_seconds: float = 0.0

    @property
    def mean_score(self) -> float:
        scores = [item.score for item in self.periods if item.score is not None]
        return sum(scores) / len(scores) if scores else float("nan")


@dataclass(frozen=True)
class Models:
    """Every model that some plan trained: a plan that comes to the same recipe and partition takes it from here.

    trained: by recipe and partition, with the seconds that it took; fresh: those that staleness compares with."""

    trained: Once[tuple[str, str], tuple[Trained, float]] = field(default_factory=Once)
    fresh: Once[tuple[str, str], Fitted] = field(default_factory=Once)


def run_backtest(
    product: ModelProduct,
    home: Home,
    plan: Plan,
    told: Callable[[str], None] = lambda _: None,
    models: Models | None = None,
) -> Backtest:
    """Replay `plan` over every period that was decided in `home`, from the first champion and recipe on.

    Raises DataError: nothing was deployed or decided yet."""
    deployments = home.ledger.history(product.name)
    keys = home.documents.keys(product.name, DECISION)
    if not deployments or not keys:
        raise DataError(
            f"{product.name} has no history to replay in {home.root}: {len(deployments)} deployments, {len(keys)} decisions. "
            "Name the home of one that has run with --home (the demo's is var/demo), or let it run for some periods."
        )
    first = deployments[0]
    return replay_plan(
        product,
        home,
        plan,
        recipe=_first_recipe(product, home),
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
    product: ModelProduct, home: Home, policies: Sequence[str], told: Callable[[str], None] = lambda _: None
) -> list[Backtest]:
    """The shipped policy, the `policies` asked for, the two ends, and the calendar that trains as often as the shipped one.

    As many at once as there are processors; what one plan trained, the others need not."""
    models = Models()

    def run(plan: Plan) -> Backtest:
        return run_backtest(product, home, plan, told, models)

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="backtest") as pool:
        running = [pool.submit(run, plan) for plan in plans_of(product, policies)]
        rival = equal_budget(product, running[0].result())
        last = [pool.submit(run, rival)] if rival is not None and rival.every != 1 else []
        return [future.result() for future in running + last]


def replay_plan(
    product: ModelProduct,
    home: Home,
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

    Needs nothing of `home` but its features and labels. models: what other plans trained on them, added to."""
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        shadow = _Shadow(
            replace(product, drift=plan.policy), _borrow(product, home, Path(folder)), plan, models or Models()
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
            len(shadow.history()),
            shadow.fit_seconds,
            shadow.watch_seconds,
        )


class _Shadow:
    """The loop of one plan on its own home."""

    def __init__(self, product: ModelProduct, home: Home, plan: Plan, models: Models) -> None:
        self.product, self.home, self.plan, self.models = product, home, plan, models
        self.trained, self.lived = 0, 0
        self.fit_seconds, self.watch_seconds = 0.0, 0.0

    def start(self, partition: str, at: datetime, recipe: Recipe) -> None:
        self.home.documents.save(self.product.name, RECIPE, recipe_key(recipe.version), recipe)
        ReplayClock(self.home.clock_file).set(at)
        self._retrain(partition)

    def history(self) -> list[Deployment]:
        return self.home.ledger.history(self.product.name)

    def live(self, period: Period) -> BacktestPeriod:
        """What happens to a period: it is predicted, read, decided, and the plan carried out."""
        product, home, key = self.product, self.home, period.key
        clock = ReplayClock(home.clock_file)
        clock.set(period.end)
        features = home.offline.read(f"{product.name}/features", [key])
        home.offline.write(f"{product.name}/predictions", key, predict_period(product, features, self.history()))
        home.documents.save(product.name, DATA_DRIFT, key, read_drift(product, home, key))
        clock.set(period.end + product.label.delay)
        performance = read_performance(product, home, key)
        home.documents.save(product.name, PERFORMANCE, key, performance)
        home.documents.save(product.name, STALENESS, key, read_staleness(product, home, key, self._challenger))
        decision = decide_period(product, home, key)
        home.documents.save(product.name, DECISION, key, decision)
        action = decision.action if self.plan.every is None else self._by_calendar()
        reason = decision.reason if self.plan.every is None else f"by calendar; the policy says: {decision.reason}"
        following = product.period.shift(period, 1)
        if product.period.has(following):
            try:
                if action is Action.REWORK:
                    self._rework(following.key)
                elif action is Action.RETRAIN:
                    self._retrain(following.key)
            except PlatformError as error:  # one failed run in the real loop, which goes on
                reason += f"; training failed: {error}"
        return BacktestPeriod(key, action, decision.reading, performance.reading.alone, decision.model_version, reason)

    def _challenger(self, product: ModelProduct, home: Home, candidate: Candidate, key: str) -> Fitted:
        fitted = self.models.fresh(_name(candidate, key), lambda: challenger_before(product, home, candidate, key))
        self.watch_seconds += fitted.seconds
        return fitted

    def _train(self, candidate: Candidate, rows: pl.DataFrame) -> tuple[Trained, float]:
        started = time.perf_counter()
        return train(self.product, candidate, rows), time.perf_counter() - started

    def _by_calendar(self) -> Action:
        self.lived += 1
        return Action.RETRAIN if self.plan.is_due(self.lived) else Action.NONE

    def _rework(self, key: str) -> None:
        """What a team does: run the experiment again and let the best recipe leave development."""
        former = recipe_to_train_by(self.home.documents, self.product, 0)
        board = run_experiment(self.product, key, load_training_set(self.product, self.home.offline, key))
        version = former.version + 1
        recipe = promote_best(self.product, board, version, "backtest", self.home.clock.now(), "")
        self.home.documents.save(self.product.name, RECIPE, recipe_key(version), recipe)
        self._retrain(key)

    def _retrain(self, key: str) -> None:
        """Train by the newest recipe; it serves when it passes the gates of the test report."""
        product, home = self.product, self.home
        recipe = recipe_to_train_by(home.documents, product, 0)
        rows = load_training_set(product, home.offline, key)
        data_version = home.offline.write(f"{product.name}/training_set", key, rows)
        candidate = recipe.as_candidate()
        made, seconds = self.models.trained(_name(candidate, key), lambda: self._train(candidate, rows))
        self.fit_seconds += seconds
        self.trained += 1
        version = self.trained
        manifest = manifest_of(product, made, recipe, version, key, home.clock.now(), data_version)
        folder = home.bundle(product.name, version)
        write_bundle(folder, manifest, made.files)
        home.documents.save(product.name, MODEL, key, ModelRecord(version))
        report = test_partition(product, home, key)
        home.documents.save(product.name, "test_report", key, report)
        results = judge_report(product, report)
        if all(result.passed for result in results):
            home.ledger.append(
                Deployment(product.name, version, key, home.clock.now(), str(folder), "gates passed", "backtest", "")
            )
        elif not self.history():
            failed = "; ".join(result.reason for result in results if not result.passed)
            raise DataError(f"the first model of {product.name} fails its gates: {failed}")


def _name(candidate: Candidate, key: str) -> tuple[str, str]:
    """What decides a model here, where features and labels stay as they are: the recipe and the partition."""
    return key, json.dumps([candidate.name, candidate.estimator, dict(candidate.hyperparameters)], sort_keys=True)


def _borrow(product: ModelProduct, home: Home, folder: Path) -> Home:
    """A home of its own whose source tables, features and labels are links to the stored ones."""
    shadow = Home(folder)
    for name in BORROWED:
        target = shadow.offline.root / product.name / name
        target.mkdir(parents=True)
        for path in (home.offline.root / product.name / name).glob("*.parquet"):
            (target / path.name).symlink_to(path.absolute())
    return shadow


def _first_recipe(product: ModelProduct, home: Home) -> Recipe:
    versions = home.documents.keys(product.name, RECIPE)
    return home.documents.load(product.name, RECIPE, versions[0], Recipe)


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
                **{action.value: actions.count(action) for action in (Action.WATCH, Action.RETRAIN, Action.REWORK)},
                "train s": result.fit_seconds,
                "watch s": result.watch_seconds,
            }
        )
    return rows
