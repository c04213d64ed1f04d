"""Is retraining worth it, and does the trigger beat a calendar? Flights of 2013, every plan on the same weeks.

Plans: never, every 4 weeks, every week, the shipped policy (data drift, model drift and staleness), data drift and model
drift alone, and for each of these two the calendar that trains about as many models: from every week it could begin in,
since the luck of a calendar's phase is as large as what plans differ by. In every plan the challenger gates decide what is
deployed. The score of a plan is the mean weekly ROC AUC, of the calendar the mean over its phases; differences are paired
by week, with a 95 % interval from resampling blocks of four weeks (Kuensch 1989). One recipe throughout (LightGBM, 150
trees).

Last line: one JSON object. `--quick` ends within 50 s: fewer weeks, a smaller model, and only what a comparison needs.
"""

import json
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from flight_weeks import flight_weeks

from examples.flights.flight_delay import flight_delay
from mlops_assets.data.labels import LABEL, known_labels
from mlops_assets.monitoring.backtest import Models, compare, equal_budget, replay_plan
from mlops_assets.monitoring.plans import Plan, calendar
from mlops_assets.monitoring.plots import backtest_figure
from mlops_assets.records.decisions import Backtest
from mlops_assets.records.training import Recipe
from mlops_assets.state.workspace import ProductState, Workspace

HOME = Path(__file__).parents[1] / "var" / "benchmarks" / "worth"
FIRST = "2013-04-22"
BLOCK = 4


def a_state() -> ProductState:
    """Features and labels of the year, as the data pipeline stores them."""
    product, end = flight_delay, flight_delay.period.end
    assert end is not None
    shutil.rmtree(HOME, ignore_errors=True)
    state = Workspace(HOME).of(product)
    weeks = flight_weeks()
    for key, rows in weeks.items():
        raw = product.source.read("flights", product.period.at(key))
        state.tables.write("features", key, rows.drop(LABEL, "period"))
        state.tables.write("labels", key, known_labels(product, raw, end + timedelta(days=30)))
    # the year's first week has nothing to look back on, and is nobody's training row
    first = product.period.first.key
    for table in ("features", "labels"):
        state.tables.write(table, first, state.tables.read(table, [min(weeks)]).clear())
    return state


def weekly(found: Backtest) -> np.ndarray:
    """ROC AUC of every week, NaN where it has none: the same weeks in every plan."""
    return np.array([np.nan if item.score is None else item.score for item in found.periods])


def gain_of(ours: Backtest, others: list[Backtest]) -> tuple[float, float, float]:
    """Mean weekly gain of one plan over the mean of others with its interval (block bootstrap over weeks)."""
    gains = weekly(ours) - np.mean([weekly(other) for other in others], axis=0)
    gains = gains[~np.isnan(gains)]
    draw = np.random.default_rng(7)
    starts = draw.integers(0, max(1, len(gains) - BLOCK + 1), (2_000, -(-len(gains) // BLOCK)))
    drawn = (starts[:, :, None] + np.arange(BLOCK)).reshape(2_000, -1)[:, : len(gains)]
    low, high = np.quantile(gains[np.minimum(drawn, len(gains) - 1)].mean(axis=1), [0.025, 0.975])
    return float(gains.mean()), float(low), float(high)


def main() -> None:
    is_quick = "--quick" in sys.argv
    state = a_state()
    trees = 20 if is_quick else 150
    recipe = Recipe(
        flight_delay.name,
        1,
        "lightgbm",
        "lightgbm",
        {"learning_rate": 0.2 if is_quick else 0.05, "n_estimators": trees},
        "benchmark",
        "fixed",
        datetime(2013, 4, 22, tzinfo=UTC),
    )
    product = flight_delay
    started_at = product.period.at(FIRST).start + product.label.delay
    keys = [key for key in flight_weeks() if key >= FIRST][: 8 if is_quick else None]
    drift_only = replace(product.drift, staleness_every=0)
    plans = [Plan("shipped", product.drift), calendar(product, "never", 0)]
    if not is_quick:
        plans += [
            calendar(product, "every 4 weeks", 4),
            calendar(product, "every week", 1),
            Plan("without staleness", drift_only),
        ]
    results: dict[str, Backtest] = {}
    models = Models()

    def run(plan: Plan) -> Backtest:
        began = time.monotonic()
        found = replay_plan(
            state, plan, recipe=recipe, partition=FIRST, started_at=started_at, keys=keys, models=models
        )
        print(f"{plan.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        results[plan.name] = found
        return found

    for plan in plans:
        run(plan)
    rivals: dict[str, list[Backtest]] = {}
    for name in ("shipped", "without staleness"):
        rival = equal_budget(product, results[name]) if name in results else None
        if rival is None or rival.every is None:
            continue
        firsts = [rival.every] if is_quick else range(1, rival.every + 1)
        rivals[name] = [
            run(calendar(product, f"every {rival.every} weeks from week {first} on", rival.every, first))
            for first in firsts
        ]
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=60, tbl_width_chars=160):
        print(pl.DataFrame(compare(list(results.values()))))
    for name, others in [("shipped", [results["never"]]), *rivals.items()]:
        gain, low, high = gain_of(results[name], others)
        what = f"{others[0].plan} and its other phases" if len(others) > 1 else others[0].plan
        print(f"{name} against {what}: {gain:+.4f} ROC AUC a week ({low:+.4f} to {high:+.4f})")
    picture = HOME.with_name("retraining_worth.png")
    shown = [found for found in results.values() if found not in rivals.get("shipped", [])[1:]]
    backtest_figure(shown, product.drift).savefig(picture, dpi=90)
    print(f"picture: {picture.relative_to(Path.cwd()) if picture.is_relative_to(Path.cwd()) else picture.name}")
    phases = [found.mean_score for found in rivals.get("shipped", [])]
    gain, low, high = gain_of(results["shipped"], rivals["shipped"]) if phases else (None, None, None)
    print(
        json.dumps(
            {
                "auc_never": results["never"].mean_score,
                "auc_shipped": results["shipped"].mean_score,
                "models_shipped": results["shipped"].trained,
                "auc_equal_budget_calendar": float(np.mean(phases)) if phases else None,
                "auc_equal_budget_calendar_worst": min(phases, default=None),
                "auc_equal_budget_calendar_best": max(phases, default=None),
                "gain_over_calendar": gain,
                "gain_over_calendar_low": low,
                "gain_over_calendar_high": high,
                "weeks": len(keys),
            }
        )
    )


if __name__ == "__main__":
    main()
