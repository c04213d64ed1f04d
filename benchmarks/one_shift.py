"""One permanent shift, one retraining that contains it? Simulated shops, whose customers change once, through the loop.

Each case is a shop: twelve weeks of history, a first champion, and a change that begins on some day of some
week and stays (`transient` goes away after three weeks, `none` never comes). The shipped policy lives through it in a backtest.
Ways to split the retraining that answers:

    before  the last two weeks are tested on, as in any retraining: they are the weeks that confirmed the shift
    now     what came since the shift is halved: the earlier half is fitted on, the later one tested on; a shift of which too
            little is known waits
    blocks  the days since the shift go to both sides in turn
    refit   as before, and when the gates have passed the same recipe is fitted anew on all rows, which nobody tests

`--all` adds the last two. Last line: one JSON object. `--quick` ends within a minute: fewer cases, and no false promotions.
"""

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a case is one process, and they are small

import msgspec
import narwhals as nw
import numpy as np
import polars as pl

from mlops_assets.data.labels import KNOWN_AT, LABEL
from mlops_assets.monitoring import run
from mlops_assets.monitoring.backtest import Models, ShadowLoop, borrow_tables
from mlops_assets.monitoring.plans import Plan
from mlops_assets.products.candidates import lightgbm
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.gates import at_least, not_worse_than_champion
from mlops_assets.products.periods import days, weekly, weeks
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.search import Search
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.products.task import Task
from mlops_assets.records.training import Recipe
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.bootstrap import paired_gain
from mlops_assets.training.build import train
from mlops_assets.training.onset import onset_before
from mlops_assets.training.recipe import recipe_to_train_by
from mlops_assets.training.register import manifest_of
from mlops_assets.training.split import EMBARGO, FIT, SPLIT, TEST
from mlops_assets.training.window import load_training_set

START = datetime(2020, 1, 6, tzinfo=UTC)
HISTORY, LIVED = 12, 12  # weeks
ROWS_A_DAY = 450
KINDS = ("mix", "new category", "location", "concept", "mix of 15 %", "transient", "none")
PERMANENT = KINDS[:5]
WAYS = ("before", "now", "blocks", "refit")
CHANNELS = np.array(["shop", "phone", "app", "web", "kiosk"])

VISITS = Table(
    "visits",
    columns=(
        Column("visit", Kind.INTEGER),
        Column("channel", Kind.STRING),
        Column("amount", Kind.FLOAT),
        Column("age", Kind.FLOAT),
        Column("at", Kind.TIMESTAMP),
        Column("told_at", Kind.TIMESTAMP),
        Column("returned", Kind.FLOAT),
    ),
    key=("visit",),
    event_timestamp="at",
    created_timestamp="told_at",
)
BASKET = FeatureView(
    "basket",
    (
        Feature("channel", nw.col("channel"), FeatureKind.CATEGORICAL),
        Feature("amount", nw.col("amount")),
        Feature("age", nw.col("age")),
    ),
)


class Stored:
    """The tables are written by `a_state`: nothing is read from a source."""

    main = VISITS
    side_tables: tuple[Table, ...] = ()

    def read(self, table, period):
        raise NotImplementedError(table)

    def has_arrived(self, period, now):
        return period.end <= now


SHOP = ModelProduct(
    name="shop",
    owner="team:shop",
    description="Will a customer return what was bought?",
    source=Stored(),
    entity_key=("visit",),
    event_timestamp="at",
    created_timestamp="told_at",
    period=weekly(start="2020-01-06"),
    training_window=weeks(HISTORY),
    test_window=weeks(2),
    label=Label("returned", nw.col("returned"), delay=days(2)),
    task=Task.BINARY,
    features=(BASKET,),
    request=("visit", "channel", "amount", "age", "at"),
    candidates=(replace(lightgbm(n_estimators=40, num_leaves=15), space={}),),
    search=Search(trials=1),
    metric="roc_auc",
    gates=(at_least("roc_auc", 0.6), not_worse_than_champion("roc_auc", margin=0.005, confidence=0.95)),
    drift=DriftPolicy(),
)


@dataclass(frozen=True)
class Case:
    kind: str
    seed: int
    phase: int  # days after the third week that was lived through at which the change begins

    @property
    def begins(self) -> datetime:
        return START + timedelta(weeks=HISTORY + 2, days=self.phase)


@dataclass(frozen=True)
class Lived:
    """What came of a case. asked: retrainings and reworks after the change; deployed: versions of these that served;
    learned: rows of after the change that the first of them was fitted on; scores: mean of each week since."""

    asked: int
    deployed: int
    refused: int
    learned: int
    score: float
    readings: tuple[float, ...]
    reasons: tuple[str, ...]


def a_day(case: Case, number: int, draw: np.random.Generator, mix: np.ndarray) -> pl.DataFrame:
    """The visits of one day; weekends and weeks differ a little by themselves."""
    at = START + timedelta(days=number)
    has_changed = at >= case.begins and not (case.kind == "transient" and at >= case.begins + timedelta(weeks=3))
    count = ROWS_A_DAY
    shares = np.append(mix, 0.0)
    moved = {"mix": 0.08, "transient": 0.08, "mix of 15 %": 0.15}.get(case.kind, 0.0) if has_changed else 0.0
    shares[0], shares[2] = shares[0] - moved, shares[2] + moved
    if case.kind == "new category" and has_changed:
        shares[0], shares[4] = shares[0] - 0.08, 0.08
    channel = draw.choice(5, count, p=shares)
    shift = 0.3 if case.kind == "location" and has_changed else 0.0  # of a standard deviation: 12 % of the mass
    amount = draw.normal(shift, 1, count)
    age = draw.normal(0, 1, count)
    pull = 0.2 if case.kind == "concept" and has_changed else 0.8  # the ROC AUC of a model of before falls by 6.5 %
    logit = -0.6 + 1.2 * amount + pull * age + np.array([0, 0.5, -0.5, 0.2, 1.0])[channel]
    logit += draw.normal(0, 0.15)  # a day's own mood
    late = draw.random(count) < 1 / (1 + np.exp(-logit))
    moments = [at + timedelta(seconds=86_400 * (row + 0.5) / count) for row in range(count)]
    return pl.DataFrame(
        {
            "visit": np.arange(count) + number * 10_000,
            "at": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "channel": CHANNELS[channel],
            "amount": amount,
            "age": age,
            LABEL: late.astype(float),
        }
    )


def a_state(case: Case, root: Path) -> ProductState:
    state, draw = Workspace(root).of(SHOP), np.random.default_rng(case.seed)
    usual = np.array([0.4, 0.15, 0.2, 0.25])
    for week in range(HISTORY + LIVED):
        mix = draw.dirichlet(usual * 3_000)  # shares vary by about a point from week to week
        rows = pl.concat([a_day(case, 7 * week + day, draw, mix) for day in range(7)])
        key = (START + timedelta(weeks=week)).strftime("%Y-%m-%d")
        state.tables.write("features", key, rows.drop(LABEL))
        known = rows.select("visit", LABEL, (pl.col("at") + timedelta(days=2)).alias(KNOWN_AT))
        state.tables.write("labels", key, known)
    return state


class Way(ShadowLoop):
    """The loop with one of the ways to split."""

    way = "now"

    def rows_to_train(self, key: str) -> tuple[pl.DataFrame, str]:
        if self.way == "now":
            return super().rows_to_train(key)
        rows = load_training_set(self.state, key)
        since = onset_before(self.state, key)
        if self.way != "blocks" or not since:
            return rows, ""
        event, began = pl.col("at"), self.product.period.at(since).start
        even = (
            event - began
        ).dt.total_days() % 4 < 2  # two days in turn: the label delay of an embargo fits in no single one
        after = event >= began
        split = pl.when(after & even).then(pl.lit(FIT)).when(after).then(pl.lit(TEST))
        rows = rows.with_columns(
            split.when(pl.col(SPLIT) == TEST).then(pl.lit(FIT)).otherwise(pl.col(SPLIT)).alias(SPLIT)
        )
        return rows, since

    def train(self, key: str) -> tuple[int, str]:
        version, refused = super().train(key)
        if self.way == "refit" and not refused and version > 1:
            self._fit_anew(key, version)
        return version, refused

    def _fit_anew(self, key: str, version: int) -> None:
        """The recipe on every row; metrics and spread stay those of the version that was tested."""
        tested = self.state.bundles.manifest(version)
        rows = self.state.tables.read("training_set", [key])
        everything = rows.with_columns(
            pl.when(pl.col(SPLIT) == EMBARGO).then(pl.lit(FIT)).otherwise(pl.lit(FIT)).alias(SPLIT)
        )
        again = pl.concat([everything, rows.filter(pl.col(SPLIT) == TEST)])
        recipe = recipe_to_train_by(self.state, 0)
        made = train(self.product, recipe.as_candidate(), again)
        manifest = manifest_of(self.product, made, recipe, version, key, self.state.clock.now(), "refit")
        manifest = msgspec.structs.replace(manifest, metrics=tested.metrics, spread_percent=tested.spread_percent)
        objects = self.state.workspace.objects
        for name in objects.names(f"bundles/{SHOP.name}/{version}"):
            objects.delete(name)
        self.state.bundles.write(msgspec.structs.replace(manifest, checksums={}), made.files)


def live_through(case: Case, ways: Sequence[str]) -> dict[str, Lived]:
    """Every way on the same rows; models that two of them train alike are fitted once."""
    with tempfile.TemporaryDirectory(prefix="one-shift-") as folder:
        state, models = a_state(case, Path(folder) / "stored"), Models()
        of_way = {"blocks": Models()}  # which fits other rows of the same partition and shift
        return {
            way: follow(case, way, borrow_tables(state, SHOP, Path(folder) / way), of_way.get(way, models))
            for way in ways
        }


def follow(case: Case, way: str, state: ProductState, models: Models) -> Lived:
    loop = Way(state, Plan(way, SHOP.drift), models)
    loop.way = way
    first = START + timedelta(weeks=HISTORY)
    recipe = Recipe("shop", 1, "lightgbm", "lightgbm", {"n_estimators": 40, "num_leaves": 15}, "", "", first, "run 1")
    loop.start(first.strftime("%Y-%m-%d"), first + timedelta(days=2), recipe)
    keys = [(first + timedelta(weeks=week)).strftime("%Y-%m-%d") for week in range(LIVED)]
    with (
        patch.object(run, "newest_learnable", lambda *_: "") if way == "before" else nullcontext()
    ):  # which never waited
        periods = [loop.replay_period(SHOP.period.at(key)) for key in keys]
    since = [item for item in periods if SHOP.period.at(item.period).end > case.begins]
    asked = [item for item in since if item.action in (Action.RETRAIN, Action.REWORK)]
    learned = 0
    if asked:
        following = SHOP.period.shift(SHOP.period.at(asked[0].period), 1).key
        if state.tables.has("training_set", following):
            rows = state.tables.read("training_set", [following]).filter(pl.col("at") >= case.begins)
            sides = [FIT] if way != "refit" else [FIT, EMBARGO, TEST]
            learned = rows.filter(pl.col(SPLIT).is_in(sides)).height
    scores = [item.score for item in since if item.score is not None]
    return Lived(
        len(asked),
        len({item.partition for item in loop.history() if item.partition > keys[0]}),
        sum("refused: " in item.outcome for item in since),
        learned,
        float(np.mean(scores)),
        tuple(-1.0 if item.reading is None else round(item.reading, 1) for item in since),
        tuple(f"{item.period} {item.reason}" for item in asked),
    )


def false_promotions(days_of_test: int, few_days: bool, repeats: int) -> float:
    """Share of challengers that pass their gate though they are worse than the champion by exactly the margin of AUC."""
    draw, passed = np.random.default_rng(11), 0
    for _ in range(repeats):
        count = days_of_test * ROWS_A_DAY
        day = np.repeat(np.arange(days_of_test), ROWS_A_DAY)
        truth = draw.normal(0, 1, count)
        labels = (draw.random(count) < 1 / (1 + np.exp(-truth))).astype(float)
        old = truth + draw.normal(0, 0.5, count)
        worse = truth + draw.normal(0, 1, count) * np.sqrt(0.25 + WORSE + draw.normal(0, 0.08, days_of_test))[day]
        moments = pl.Series([date(2020, 1, 1) + timedelta(int(number)) for number in day])
        gain = paired_gain("roc_auc", Task.BINARY, labels, worse, old, moments, confidence=0.9, few_days=few_days)
        passed += gain.low >= -MARGIN
    return passed / repeats


MARGIN = 0.005
WORSE = 0.0  # set by `calibrate_worse`


def calibrate_worse() -> float:
    """Variance of noise that costs exactly `MARGIN` of AUC, found on a million rows."""
    draw = np.random.default_rng(5)
    count = 1_000_000
    truth = draw.normal(0, 1, count)
    labels = draw.random(count) < 1 / (1 + np.exp(-truth))
    noise, mood = draw.normal(0, 1, count), draw.normal(0, 0.08, count)

    def auc(scores: np.ndarray) -> float:
        ranks = np.argsort(np.argsort(scores)) + 1
        return float((ranks[labels].sum() - labels.sum() * (labels.sum() + 1) / 2) / labels.sum() / (~labels).sum())

    base, low, high = auc(truth + noise * 0.5), 0.0, 0.5
    for _ in range(20):
        middle = (low + high) / 2
        worse = auc(truth + noise * np.sqrt(np.maximum(0.25 + middle + mood, 0)))
        low, high = (middle, high) if base - worse < MARGIN else (low, middle)
    return (low + high) / 2


def one(item: tuple[Case, Sequence[str]]) -> tuple[Case, dict[str, Lived]]:
    return item[0], live_through(*item)


def main() -> None:
    is_quick = "--quick" in sys.argv
    ways = ("before", "now") if "--all" not in sys.argv else WAYS
    phases = (0,) if is_quick else (0, 3, 8, 12, 16)
    kinds = ("mix", "location") if is_quick else KINDS
    wanted = [(Case(kind, seed, phase), ways) for kind in kinds for seed, phase in enumerate(phases)]
    began = time.monotonic()
    found: dict[tuple[str, str], list[Lived]] = defaultdict(list)
    with ProcessPoolExecutor(2) as pool:
        for case, lived_by_way in pool.map(one, wanted):
            for way, lived in lived_by_way.items():
                found[case.kind, way].append(lived)
                print(f"{time.monotonic() - began:4.0f} s {case} {way}: {lived}", file=sys.stderr)
    heads = ("change", "way", "cases", "asked", "served", "refused", "learned rows", "ROC AUC")
    print("".join(f"{name:>14}" for name in heads))
    for (kind, way), cases in found.items():
        means = [
            float(np.mean([getattr(item, name) for item in cases]))
            for name in ("asked", "deployed", "refused", "learned", "score")
        ]
        print(f"{kind:>14}{way:>14}{len(cases):>14}" + "".join(f"{value:>14.4g}" for value in means))
    # a shift that no two periods confirm is watched, and asks for nothing
    shifted = [
        item
        for (kind, way), lived in found.items()
        if way == "now" and kind in PERMANENT
        for item in lived
        if item.asked
    ]
    formerly = [
        item
        for (kind, way), lived in found.items()
        if way == "before" and kind in PERMANENT
        for item in lived
        if item.asked
    ]
    figures: dict[str, object] = {
        "cases": len(shifted),
        "retrainings_per_shift": float(np.mean([item.asked for item in shifted])),
        "retrainings_per_shift_before": float(np.mean([item.asked for item in formerly])),
        "learned_shifted_rows": float(np.mean([item.learned for item in shifted])),
        "first_retraining_contains_it": float(np.mean([item.learned > 0 for item in shifted])),
    }
    if not is_quick:
        global WORSE
        WORSE = calibrate_worse()
        figures["false_promotions_before"] = false_promotions(12, False, 400)
        figures["false_promotions"] = false_promotions(5, True, 400)
        figures["false_promotions_without_student"] = false_promotions(5, False, 400)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
