"""Kills the retraining of a partition at every step between `training_set` and `deployment`, and looks what is left.

The job is the real one: Dagster, MLflow, ONNX, the staged API process, in a child that is killed with SIGKILL: when the step
begins, at random moments in it, and at random lines of the code that writes what survives (stores, registration, promotion).
After each kill the ledger must name a champion whose bundle opens with every checksum right and answers as the unkilled old or
new one does, to the bit; then the job is run again and must make the new version champion. The last line is one JSON object.
`--quick` kills in the first two steps only, in one home, the second time in the rerun after the first.
"""

import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from training_overhead import fill

from mlops_assets.state.workspace import ProductState, Workspace
from tests.dagster.builders import FIRST_KEY, NEXT_WEEK
from tests.dagster.killing import (
    PRODUCT,
    STEPS,
    Champion,
    Ended,
    ForkServer,
    Point,
    a_fork_server,
    alias_of_champion,
    half_written,
    left_running,
    what_serves,
)

MOMENTS, LINES = 2, 3  # random ones in each step
QUICK_STEPS = ("training_set", "model")  # the later ones take longer to reach


@dataclass(frozen=True)
class Outcome:
    """point: as asked for; in_step: where the kill met the run, "" between two steps; serving: "old" or "new", whole and
    answering to the bit, or what is wrong with it; left: processes that went on without their parent."""

    point: Point
    in_step: str
    serving: str
    left: int
    went_on: bool | None


def main() -> None:
    quick = "--quick" in sys.argv
    for name in ("mlops_assets", "mlflow", "alembic", "dagster"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, a_fork_server() as server:
        template = Workspace(Path(folder) / "template").of(PRODUCT)
        measured = prepare(server, template)
        old = what_serves(template)
        if quick:
            outcomes = killed_in_a_row(server, template, old, measured.lines)
        else:
            reference = copied(template, "reference")
            measured = server.run(Point(home_of(reference), NEXT_WEEK))
            expected = (old, what_serves(reference))
            draw = random.Random(7)
            points = [point for step in STEPS for point in points_in(step, measured.seconds, measured.lines, draw)]
            draw.shuffle(points)  # a run that is ended early has met every step
            outcomes = [killed_once(server, template, point, expected, n) for n, point in enumerate(points)]
    show(outcomes)


def prepare(server: ForkServer, state: ProductState) -> Ended:
    """Nine weeks of features and labels, and a first champion by the job itself; how long its steps took."""
    fill(state, NEXT_WEEK, 9)
    for number in range(9):
        period = PRODUCT.period.shift(PRODUCT.period.first, number)
        raw = PRODUCT.source.read(PRODUCT.source.main.name, period).collect()
        state.tables.write("raw", period.key, raw)
    first = server.run(Point(home_of(state), FIRST_KEY))
    if first.code or first.signal:
        raise RuntimeError(f"the first champion was not deployed: {first.said}")
    return first


def points_in(step: str, seconds: dict[str, float], lines: dict[str, int], draw: random.Random) -> list[Point]:
    """Its beginning, random moments, random lines of the writers and the last of them."""
    moments = [0.0, *(draw.uniform(0, seconds[step]) for _ in range(MOMENTS))]
    numbers = [*draw.sample(range(1, lines[step]), LINES), lines[step]]
    return [Point("", NEXT_WEEK, step, seconds=moment) for moment in moments] + [
        Point("", NEXT_WEEK, step, line=number) for number in numbers
    ]


def killed_once(
    server: ForkServer, template: ProductState, point: Point, expected: tuple[Champion, Champion], n: int
) -> Outcome:
    """One kill in a home of its own, and one run after it."""
    state = copied(template, str(n))
    ended = server.run(replace(point, home=home_of(state)))
    serving, left = serving_of(state, expected), len(left_running(ended))
    again = server.run(Point(home_of(state), NEXT_WEEK))
    after = what_serves(state)
    went_on = (
        not (again.signal or again.code) and serves_as(after, expected[1]) and alias_of_champion(state) == after.version
    )
    where = f"{point.seconds:.2f} s into" if point.seconds is not None else f"line {point.line} of the writers in"
    where = where if ended.signal else f"missed, {where}"
    print(f"{where} {point.step}: {serving} champion, rerun {'went on' if went_on else again.said}", flush=True)
    shutil.rmtree(home_of(state))
    return Outcome(point, ended.in_step if ended.signal else "over", serving, left, went_on)


def killed_in_a_row(server: ForkServer, template: ProductState, old: Champion, lines: dict[str, int]) -> list[Outcome]:
    """Each rerun is killed a step later, the last one is not: it must make the new version champion."""
    outcomes = []
    for step in QUICK_STEPS:
        point = Point(home_of(template), NEXT_WEEK, step, line=lines[step] - 5)
        ended = server.run(point)
        serving = serving_of(template, (old, old))  # these steps come before anything new can serve
        outcomes.append(Outcome(point, ended.in_step, serving, len(left_running(ended)), None))
    again, after = server.run(Point(home_of(template), NEXT_WEEK)), what_serves(template)
    went_on = not (again.signal or again.code) and after.partition == NEXT_WEEK
    return [*outcomes[:-1], replace(outcomes[-1], went_on=went_on and alias_of_champion(template) == after.version)]


def serving_of(state: ProductState, expected: tuple[Champion, Champion]) -> str:
    """Which of the two serves, whole; what is wrong otherwise."""
    broken = half_written(state)
    if broken:
        return f"half a bundle: {broken}"
    serving = what_serves(state)
    return next(
        (name for name, one in zip(("old", "new"), expected, strict=True) if serves_as(serving, one)), "neither"
    )


def serves_as(serving: Champion, expected: Champion) -> bool:
    """The same partition, model and answers; a version that was trained again has another number."""
    return replace(serving, version=expected.version) == expected


def copied(template: ProductState, name: str) -> ProductState:
    home = template.workspace.home
    return Workspace(shutil.copytree(home, home.with_name(name))).of(PRODUCT)


def home_of(state: ProductState) -> str:
    return str(state.workspace.home)


def show(asked: list[Outcome]) -> None:
    # a step's time and the polls of staging vary: a point behind its end is none
    outcomes = [item for item in asked if item.in_step != "over"]
    print(
        f"\n{'step':16} {'kills':>5} {'old champion whole':>19} {'new champion whole':>19} {'reruns that went on':>20}"
    )
    for step in STEPS:
        of_step = [item for item in outcomes if item.point.step == step]
        found = Counter(item.serving for item in of_step)
        reruns = [item.went_on for item in of_step if item.went_on is not None]
        print(f"{step:16} {len(of_step):5} {found['old']:19} {found['new']:19} {f'{sum(reruns)} of {len(reruns)}':>20}")
    met = Counter(item.in_step or "between steps" for item in outcomes)
    print(f"where the kills met the run: {', '.join(f'{name} {count}' for name, count in met.items())}")
    print(
        json.dumps(
            {
                "kills": len(outcomes),
                "points_missed": len(asked) - len(outcomes),
                "old_champion_whole": sum(item.serving == "old" for item in outcomes),
                "new_champion_whole": sum(item.serving == "new" for item in outcomes),
                "neither": sum(item.serving not in ("old", "new") for item in outcomes),
                "reruns": sum(item.went_on is not None for item in outcomes),
                "reruns_that_went_on": sum(bool(item.went_on) for item in outcomes),
                "processes_left": sum(item.left for item in outcomes),
            }
        )
    )


if __name__ == "__main__":
    main()
