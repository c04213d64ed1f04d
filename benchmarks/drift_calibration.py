"""Do drift readings mean what they say? False actions without drift, and what is read of a shift of known size.

Windows without drift: (a) independent rows, drawn from a quarter of flights; (b) two adjacent real weeks, left out of the
18 weeks around them and read against the other 16, in the order of time. Shifts: a given percent of the rows of one
feature, or of all, set to a value never seen ("new"), or to one that is usual ("usual": one value; "upper tenth": drawn
from the upper tenth of the reference, or the most frequent category). Every case is two consecutive windows and the
decision that the shipped policy takes after the second; the shift that truly happened is x (1 - p), p being the share that
already lay there. Beside ours: the prototype ours started from, and Evidently and NannyML with their own defaults.

Last line: one JSON object. `--quick` ends within 50 s.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from drift_prototype import prototype_readings
from flight_weeks import ORDER, flight_weeks
from peer_environments import python_with

from examples.flights.flight_delay import flight_delay
from mlops_assets.drift.reading import measure_drift
from mlops_assets.drift.reference import ReferenceProfile, build_reference
from mlops_assets.monitoring.decision import decide
from mlops_assets.products.feature_view import FeatureKind, Role
from mlops_assets.products.policy import Action

WINDOWS = 16
POLICY = flight_delay.drift
KINDS = {feature.name: feature.kind for feature in flight_delay.inputs}
ACTING = [feature.name for feature in flight_delay.inputs if feature.role is Role.INPUT]
LEVELS = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 20)
REPORTED = (0, 1, 2, 5, 8, 10, 20)
WIDTHS = (12, 6, 4, 7, 7, 8, 7, 7, 9, 8, 11, 7)
SERIOUS = (Action.RETRAIN, Action.REWORK)


@dataclass
class Tally:
    """What was read and done in the cases of one kind."""

    readings: list[float] = field(default_factory=list)
    truths: list[float] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    prototype: list[float] = field(default_factory=list)

    def share(self, *actions: Action) -> float:
        return float(np.mean([action in actions for action in self.actions]))

    def prototype_share(self, *actions: Action) -> float:
        return float(np.mean([POLICY.band(math.floor(value + 0.5)) in actions for value in self.prototype]))


def run_case(reference: ReferenceProfile, windows: Sequence[pl.DataFrame]) -> tuple[float, Action, float]:
    """The smaller of the two readings of the same feature, the action after both, and the prototype's reading."""
    history, by_feature, prototype = [], [], []
    for number, window in enumerate(windows):
        reading = measure_drift(reference, window, min_rows=POLICY.min_rows)
        by_feature.append({item.name: item.percent for item in reading.features if item.is_actionable})
        prototype.append(prototype_readings(reference, window))
        history.append(
            decide(
                period=str(number),
                drift=reading,
                performance=None,
                history=history,
                policy=POLICY,
                now=datetime(2013, 1, 1, tzinfo=UTC),
                retrained_at=[],
                awaiting_rework=False,
                model_version=1,
            )
        )
    agreed = [min(found.get(name, 0.0) for found in by_feature) for name in by_feature[0]]
    former = [min(found[name] for found in prototype) for name in prototype[0]]
    return max(agreed, default=0.0), history[-1].action, max(former)


def shifted(
    window: pl.DataFrame, reference: pl.DataFrame, names: Sequence[str], percent: float, how: str, seed: int
) -> tuple[pl.DataFrame, float]:
    """The window with `percent` of its rows set elsewhere in these columns, and the percent that truly moved."""
    rows = np.random.default_rng(seed).permutation(window.height)[: round(window.height * percent / 100)]
    is_hit = np.zeros(window.height, dtype=bool)
    is_hit[rows] = True
    moved, truth = window, 0.0
    for name in names:
        values, already = _elsewhere(window[name], reference[name], how, len(rows), seed)
        column = window[name].to_list()
        for row, value in zip(np.flatnonzero(is_hit), values, strict=True):
            column[row] = value
        moved = moved.with_columns(pl.Series(name, column, dtype=window[name].dtype))
        truth = max(truth, percent * (1 - already))
    return moved, truth


def _elsewhere(column: pl.Series, reference: pl.Series, how: str, count: int, seed: int) -> tuple[list[object], float]:
    """Values to set, and the share of the rows that lay there already."""
    known = reference.drop_nulls()
    if KINDS[column.name] is FeatureKind.CATEGORICAL:
        frequent = known.value_counts(sort=True, name="rows")
        value = {"new": "~new~", "usual": frequent[column.name][2], "upper tenth": frequent[column.name][0]}[how]
        return [value] * count, float((column == value).fill_null(False).mean())
    if how == "new":
        return [float(known.max()) + 1_000.0] * count, 0.0
    if how == "usual":
        value = float(known.quantile(0.75, "nearest"))
        return [value] * count, float((column == value).fill_null(False).mean())
    floor = known.quantile(0.9, "nearest")
    upper = known.filter(known >= floor)
    drawn = upper.sample(count, with_replacement=True, seed=seed).to_list()
    return drawn, float((column >= floor).fill_null(False).mean())


def independent(rows: int, repeats: int, levels: Sequence[int]) -> Iterator[tuple[tuple, Tally]]:
    """Windows of independent rows: every reference serves all levels, kinds of shift and places."""
    quarter = pl.concat(list(flight_weeks().values())[:13])
    tallies: dict[tuple, Tally] = defaultdict(Tally)
    for repeat in range(repeats):
        draw = np.random.default_rng(1_000 * rows + repeat)
        pools = [quarter[draw.integers(0, quarter.height, rows)] for _ in range(WINDOWS + 2)]
        held = pl.concat(pools[:WINDOWS])
        keys = pl.Series(np.repeat(np.arange(WINDOWS), rows)).cast(pl.String)
        reference = build_reference(held, flight_delay.inputs, keys)
        sample = held.head(50_000)
        for level in levels:
            kinds = [("new", "one"), ("new", "all"), ("usual", "one")] if level else [("none", "none")]
            for how, where in kinds:
                names = [ACTING[int(draw.integers(len(ACTING)))]] if where == "one" else ACTING
                if not level:
                    case, truth = pools[WINDOWS:], 0.0
                else:
                    made = [shifted(pool, sample, names, level, how, repeat) for pool in pools[WINDOWS:]]
                    case, truth = [window for window, _ in made], float(np.mean([moved for _, moved in made]))
                _add(tallies["independent", rows, how, where, level], run_case(reference, case), truth)
        tick()
    yield from tallies.items()


def real_weeks(step: int, power_step: int, levels: Sequence[int]) -> Iterator[tuple[tuple, Tally]]:
    """Adjacent weeks left out of the weeks around them. Shifts are tried on every `power_step`-th pair, in each feature."""
    weeks = list(flight_weeks().values())
    tallies: dict[tuple, Tally] = defaultdict(Tally)
    pairs = 0
    for start in range(0, len(weeks) - WINDOWS - 1, step):
        span = weeks[start : start + WINDOWS + 2]
        for at in range(WINDOWS + 1):
            held = pl.concat([week for number, week in enumerate(span) if number not in (at, at + 1)])
            reference = build_reference(held, flight_delay.inputs, "period", lookups=flight_delay.lookups, order=ORDER)
            case = span[at : at + 2]
            _add(tallies["real weeks", 0, "none", "none", 0], run_case(reference, case), 0.0)
            pairs += 1
            if pairs % power_step == 0:
                for name in ACTING:
                    for how in ("new", "usual", "upper tenth"):
                        for level in levels:
                            made = [shifted(week, held, [name], level, how, pairs) for week in case]
                            truth = float(np.mean([moved for _, moved in made]))
                            windows = [window for window, _ in made]
                            _add(tallies["real weeks", 0, how, "one", level], run_case(reference, windows), truth)
            tick()
    yield from tallies.items()


def season(every: int) -> None:
    """Every so many weeks of the year against its first 16 weeks: what weather does by itself, and what is acted on."""
    weeks = list(flight_weeks().items())
    held = pl.concat([week for _, week in weeks[:WINDOWS]])
    reference = build_reference(held, flight_delay.inputs, "period", lookups=flight_delay.lookups, order=ORDER)
    by_month: dict[str, list] = defaultdict(list)
    for key, week in weeks[WINDOWS::every]:
        by_month[key[:7]].append(measure_drift(reference, week, min_rows=POLICY.min_rows))
    print("\nthe year against January to April: what moves with the season, and what acts")
    print(f"{'month':>9}{'largest seasonal value':>32}{'largest change':>16}{'acted on':>24}")
    for month, readings in by_month.items():
        items = [item for reading in readings for item in reading.features]
        wandering = max((i for i in items if i.role == Role.SEASONAL), key=lambda i: i.values_percent)
        changes = max((i.percent for i in items if i.by == "changes"), default=0.0)
        top = max(readings, key=lambda reading: reading.percent or 0.0)
        said = f"{top.feature or 'nothing'} {top.percent or 0.0:.1f} %"
        print(f"{month:>9}{wandering.name + f' {wandering.values_percent:.0f} %':>32}{changes:>14.1f} %{said:>24}")


def _add(tally: Tally, found: tuple[float, Action, float], truth: float) -> None:
    tally.readings.append(found[0])
    tally.actions.append(found[1])
    tally.prototype.append(found[2])
    tally.truths.append(truth)


def ask_peers(seconds: float, real: int, independents: int) -> dict[str, dict[str, float]]:
    """Share of windows without drift on which each peer would act: as many as it reaches in `seconds`."""
    weeks = list(flight_weeks().values())
    names = [feature.name for feature in flight_delay.inputs if feature.role is not Role.CALENDAR]
    quarter = pl.concat(weeks[:13])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "categories.json").write_text(json.dumps([n for n in names if KINDS[n] is FeatureKind.CATEGORICAL]))
        for number in range(max(real, independents)):
            if number < real:
                start = (7 * number) % (len(weeks) - WINDOWS - 1)
                span, at = weeks[start : start + WINDOWS + 2], (5 * number) % (WINDOWS + 1)
                held = [week for place, week in enumerate(span) if place not in (at, at + 1)]
                _write_case(root / f"{number:03d} real weeks", held, span[at : at + 2], names)
            if number < independents:
                for rows in (1_000, 5_000):
                    draw = np.random.default_rng(number)
                    pools = [quarter[draw.integers(0, quarter.height, rows)] for _ in range(WINDOWS + 2)]
                    _write_case(root / f"{number:03d} {rows} rows", pools[:WINDOWS], pools[WINDOWS:], names)
        script = Path(__file__).with_name("drift_peers.py")
        ran = subprocess.run(
            [python_with("drift"), script, root, str(seconds)], check=True, capture_output=True, text=True
        )
    return _summary(json.loads(ran.stdout.strip().splitlines()[-1]))


def _write_case(
    folder: Path, reference: Sequence[pl.DataFrame], currents: Sequence[pl.DataFrame], names: list[str]
) -> None:
    folder.mkdir()
    keyed = [window.select(names).with_columns(window=pl.lit(number)) for number, window in enumerate(reference)]
    pl.concat(keyed).write_parquet(folder / "reference.parquet")
    for number, window in enumerate(currents):
        window.select(names).write_parquet(folder / f"current{number}.parquet")


def _summary(verdicts: dict[str, dict]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for case, said in verdicts.items():
        kind = case.partition(" ")[2]
        found[kind]["Evidently, any column"] += [item["any"] for item in said["evidently"]]
        found[kind]["Evidently, data set"] += [item["data set"] for item in said["evidently"]]
        found[kind]["NannyML, any column"] += [item["any"] for item in said["nannyml"]]
        found[kind]["NannyML, both windows"].append(all(item["any"] for item in said["nannyml"]))
    return {
        kind: {
            "windows": len(of_kind["Evidently, any column"]),
            **{name: float(np.mean(v)) for name, v in of_kind.items()},
        }
        for kind, of_kind in found.items()
    }


def band_of_truth(truth: float) -> Action | None:
    """The right action of a shift that lies a point or more inside a band, None of one that does not."""
    limits = (0, POLICY.watch, POLICY.retrain, POLICY.rework, 100)
    for low, high, action in zip(limits, limits[1:], (Action.NONE, Action.WATCH, *SERIOUS), strict=False):
        if low + (low > 0) <= truth <= high - (high < 100):
            return action
    return None


def show(title: str, rows: Sequence[tuple[tuple, Tally]]) -> None:
    print(f"\n{title}")
    names = ("shift", "in", "%", "moved", "cases", "reads", "none", "watch", "retrain", "rework", "prototype", "acts")
    print("".join(f"{name:>{width}}" for name, width in zip(names, WIDTHS, strict=True)))
    for (_, _, how, where, level), tally in rows:
        shares = [tally.share(action) for action in (Action.NONE, Action.WATCH, *SERIOUS)]
        cells = [how, where, str(level), f"{np.mean(tally.truths):.1f}", str(len(tally.actions))]
        cells += [f"{np.mean(tally.readings):.1f}", *(f"{share:.0%}" for share in shares)]
        cells += [f"{np.mean(tally.prototype):.1f}", f"{tally.prototype_share(*SERIOUS):.0%}"]
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)))


tick: Callable[[], None] = lambda: None  # noqa: E731 (replaced by a counter where someone watches)


def main() -> None:
    is_quick = "--quick" in sys.argv
    started = time.monotonic()

    def progress() -> None:
        print(f"\r{time.monotonic() - started:4.0f} s", end="", file=sys.stderr)

    global tick
    tick = progress if sys.stderr.isatty() else tick
    pool = ThreadPoolExecutor(1)  # the peers are judged by what they say, not by their time
    asked = pool.submit(ask_peers, 2 if is_quick else 600, 1 if is_quick else 30, 1 if is_quick else 20)
    made: dict[int, list[tuple[tuple, Tally]]] = {}
    for rows, repeats in ((1_000, 1), (5_000, 1)) if is_quick else ((1_000, 20), (5_000, 60), (100_000, 3)):
        made[rows] = list(independent(rows, repeats, LEVELS if rows == 5_000 else REPORTED))
        shown = [item for item in made[rows] if item[0][4] in REPORTED]
        show(f"independent rows, {rows:,} a window", shown)
    real = list(real_weeks(34, 17, (8,)) if is_quick else real_weeks(1, 25, (5, 8, 10, 20)))
    show("real weeks, two adjacent ones left out of their 18", real)
    season(every=6 if is_quick else 1)
    peers = asked.result()
    print("\npeers on windows without drift: share on which they would act")
    for kind, of_kind in peers.items():
        print(
            f"{kind:>12}: "
            + ", ".join(
                f"{name} {value:.0%}" if name != "windows" else f"{value} windows" for name, value in of_kind.items()
            )
        )

    def tally(of: Sequence[tuple[tuple, Tally]], *hows: str, levels: Sequence[int]) -> list[Tally]:
        return [item for key, item in of if key[2] in hows and key[4] in levels]

    exact = tally(made[5_000], "new", "usual", levels=(5, 8, 10, 20))
    inside = [
        (band_of_truth(truth) is action)
        for item in tally(made[5_000], "none", "new", "usual", levels=LEVELS)
        for truth, action in zip(item.truths, item.actions, strict=True)
        if band_of_truth(truth) is not None
    ]
    usual = tally(real, "usual", "upper tenth", levels=(8, 10, 20))
    missed = [
        action not in SERIOUS
        for item in usual
        for action, truth in zip(item.actions, item.truths, strict=True)
        if truth >= 6
    ]
    former = [
        POLICY.band(math.floor(value + 0.5)) not in SERIOUS
        for item in usual
        for value, truth in zip(item.prototype, item.truths, strict=True)
        if truth >= 6
    ]
    figures = {
        "false_action_rate_real_weeks": tally(real, "none", levels=(0,))[0].share(*SERIOUS),
        "false_action_rate_iid_5k": tally(made[5_000], "none", levels=(0,))[0].share(*SERIOUS),
        "max_error_points": max(abs(float(np.mean(item.readings) - np.mean(item.truths))) for item in exact),
        "band_accuracy": float(np.mean(inside)),
        "in_support_misses": float(np.mean(missed)),
        "in_support_misses_prototype": float(np.mean(former)),
    }
    print(
        f"\n{time.monotonic() - started:.0f} s; {sum(len(t.actions) for _, t in real[:1])} real pairs, {len(inside)} cases inside a band"
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
