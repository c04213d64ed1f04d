"""Kills the retraining of a partition at every step between `training_set` and `deployment`, and looks what is left.

The job is the real one: Dagster, MLflow, ONNX, the staged API process, in a child that is killed with SIGKILL: when the step
begins, at random moments in it, and at random lines of the code that writes what survives (stores, registration, promotion).
After each kill the ledger must name a champion whose bundle opens with every checksum right and answers as the unkilled old or
new one does, to the bit; then the job is run again and must make the new version champion. The last line is one JSON object.
`--quick` kills in the first two steps only, in one home, the second time in the rerun after the first.
"""

import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from training_overhead import fill

from mlops_assets.state.copying import copy_state
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
from tests.servers.object_store import S3_VARIABLES, a_moto_server, make_bucket

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--points", type=int, default=None)
    asked = parser.parse_args()
    for name in ("mlops_assets", "mlflow", "alembic", "dagster"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="kills-") as name, a_place(Path(name), asked.s3) as url:
        template = Workspace(f"{url}/template", Path(name) / "template").of(PRODUCT)
        with a_fork_server() as server:
            measured = prepare(server, template)
            old = what_serves(template)
            if asked.quick:
                outcomes = killed_in_a_row(server, template, old, measured.lines)
            else:
                reference = copied(template, "reference")
                measured = server.run(Point.of(reference, NEXT_WEEK))
                expected = (old, what_serves(reference))
                draw = random.Random(7)
                by_step = [points_in(step, measured.seconds, measured.lines, draw) for step in STEPS]
                points = [point for of_steps in zip(*by_step, strict=True) for point in of_steps][: asked.points]
                draw.shuffle(points)  # a benchmark that is ended early has met every step
                outcomes = [killed_once(server, template, point, expected, n) for n, point in enumerate(points)]
    show(outcomes, "s3" if asked.s3 else "folder")


@contextmanager
def a_place(folder: Path, is_bucket: bool) -> Iterator[str]:
    """URL below which states are made: the folder itself, or a new bucket that lives as long as the block."""
    if not is_bucket:
        yield folder.as_uri()
        return
    with a_moto_server(folder / "moto.log") as endpoint:
        os.environ.update(S3_VARIABLES, AWS_ENDPOINT_URL=endpoint)
        yield make_bucket(endpoint)


def prepare(server: ForkServer, state: ProductState) -> Ended:
    """Nine weeks of features and labels, and a first champion by the job itself; how long its steps took."""
    fill(state, NEXT_WEEK, 9)
    for number in range(9):
        period = PRODUCT.period.shift(PRODUCT.period.first, number)
        state.tables.write("raw", period.key, PRODUCT.source.read(PRODUCT.source.main.name, period))
        for table in PRODUCT.source.side_tables:
            state.tables.write(table.name, period.key, PRODUCT.source.read(table.name, period))
    first = server.run(Point.of(state, FIRST_KEY))
    if first.code or first.signal:
        raise RuntimeError(f"the first champion was not deployed: {first.said}")
    return first


def points_in(step: str, seconds: dict[str, float], lines: dict[str, int], draw: random.Random) -> list[Point]:
    """The last line of the writers, random lines, the beginning and random moments, in turn; in no state yet."""
    numbers = [lines[step], *draw.sample(range(1, lines[step]), LINES)]
    moments = [0.0, *(draw.uniform(0, seconds[step]) for _ in range(MOMENTS))]
    by_line = [Point("", "", NEXT_WEEK, step, line=number) for number in numbers]
    by_time = [Point("", "", NEXT_WEEK, step, seconds=moment) for moment in moments]
    return [*by_line[:2], by_time[0], *by_line[2:], *by_time[1:]]


def killed_once(
    server: ForkServer, template: ProductState, point: Point, expected: tuple[Champion, Champion], n: int
) -> Outcome:
    """One kill in a state of its own, and one run after it."""
    state = copied(template, str(n))
    ended = server.run(replace(Point.of(state, point.key), step=point.step, seconds=point.seconds, line=point.line))
    serving, left = serving_of(state, expected), len(left_running(ended))
    again = server.run(Point.of(state, NEXT_WEEK))
    after = what_serves(state)
    went_on = (
        not (again.signal or again.code) and serves_as(after, expected[1]) and alias_of_champion(state) == after.version
    )
    where = f"{point.seconds:.2f} s into" if point.seconds is not None else f"line {point.line} of the writers in"
    where = where if ended.signal else f"missed, {where}"
    print(f"{where} {point.step}: {serving} champion, rerun {'went on' if went_on else again.said}", flush=True)
    shutil.rmtree(state.workspace.home)
    return Outcome(point, ended.in_step if ended.signal else "over", serving, left, went_on)


def killed_in_a_row(server: ForkServer, template: ProductState, old: Champion, lines: dict[str, int]) -> list[Outcome]:
    """Each rerun is killed a step later, the last one is not: it must make the new version champion."""
    outcomes = []
    for step in QUICK_STEPS:
        # in its middle: this partition may take fewer lines than the first one, of which they were counted
        point = Point.of(template, NEXT_WEEK, step, line=lines[step] // 2)
        ended = server.run(point)
        serving = serving_of(template, (old, old))  # these steps come before anything new can serve
        print(f"line {point.line} of the writers in {step}: {serving} champion", flush=True)
        outcomes.append(Outcome(point, ended.in_step, serving, len(left_running(ended)), None))
    again, after = server.run(Point.of(template, NEXT_WEEK)), what_serves(template)
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
    """The state and the home of the template under another name."""
    source = template.workspace
    home = shutil.copytree(source.home, source.home.with_name(name))
    target = Workspace(f"{source.objects.url.rpartition('/')[0]}/{name}", home)
    if target.is_shared:
        copy_state(source.objects, target.objects)
    return target.of(PRODUCT)


def show(asked: list[Outcome], place: str) -> None:
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
                "state": place,
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
