"""Runs a product with real servers for 30 periods while things break, and nobody touches anything.

`mlops up` runs on a home of its own on a small disk; a replay clock moves on as soon as the period before is whole, or after a
deadline; a client asks for predictions all the time. At random moments (`--seed`) the source is away for a minute, MLflow is
down, the disk is full, and `kill -9` hits a run, the code server, the daemon, the API, a worker of it, `mlops up` itself, and
every process at once, after which `mlops up` is started again as the init of a machine would. A period is whole once its
readings and its decision are stored and what the decision asked for was carried out; a period that is not within the deadline
stands still. At the end every period must be whole, every acknowledged prediction in the log, and no partition deployed twice.
A table says of every fault what healed it. The last line is one JSON object.

`--quick` replays 5 periods with outages of 15 s and without Evidently's pages, in less than five minutes.
`--faults source,daemon` injects these only. `--code DIR` runs another checkout of the platform. `--keep DIR` keeps what the
run left.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from unattended_parts.client import Client
from unattended_parts.faults import (
    DiskFull,
    EverythingKilled,
    Fault,
    MlflowDown,
    RunKilled,
    ServerKilled,
    SourceDown,
    WorkerKilled,
)
from unattended_parts.installation import PRODUCT, Installation
from unattended_parts.parcel_delay import parcel_delay, write_week
from unattended_parts.watch import Onlooker, Unreadable

from mlops_assets.errors import StoreError
from mlops_assets.servers.platform import interruptible

HISTORY = 10  # weeks before the first champion
FULL_PERIODS, QUICK_PERIODS = 30, 5
FULL_OUTAGE, QUICK_OUTAGE = 60.0, 15.0
LONGEST_DELAY = 8.0  # of a fault after it is due
DEADLINE_SECONDS = (
    720.0  # of a period, beyond the outages in it; ten minutes is the longest that the platform waits by itself
)
FINAL_SECONDS = 300.0  # for what is open after the last period
START_SECONDS = 300.0
LOOK_SECONDS = 0.5


def main() -> None:
    asked = arguments()
    if asked.prepare:
        prepare_home()
        return
    with interruptible(), a_folder() as folder:
        installation = Installation(
            folder, asked.code, asked.seed, renders_reports=not (asked.quick or asked.no_reports)
        )
        try:
            run(installation, asked)
        finally:
            installation.stop(asked.keep)


def run(installation: Installation, asked: argparse.Namespace) -> None:
    import dagster as dg

    periods = asked.periods or (QUICK_PERIODS if asked.quick else FULL_PERIODS)
    say("an installation of its own is made, and its first champion")
    installation.lay_out()
    for number in range(HISTORY + periods + 1):
        write_week(installation.deliveries, number, shifted=number >= HISTORY + periods // 2)
    installation.start_tracking()
    wait_for("MLflow answers", installation.tracking_answers)
    installation.run(__file__, "--prepare")
    with dg.DagsterInstance.from_config(str(installation.workspace.dagster_home)) as instance:
        onlooker = Onlooker(installation.state, instance)
        installation.start()
        wait_for("the API answers", installation.serves)
        faults = planned(installation, onlooker, asked, periods)
        with Client(PRODUCT, installation.api, asked.seed) as client:
            replay = Replayed(installation, onlooker, faults, asked.together)
            try:
                replay.run(periods)
            except KeyboardInterrupt:
                say("interrupted: what follows is of the periods so far")
        installation.stop_servers()
        tell(replay, client, installation)


def prepare_home() -> None:
    """In a process of the installation: ten weeks of history, and a first champion by the job itself."""
    import logging
    from importlib.resources import files

    import dagster as dg
    from training_overhead import fill

    from mlops_assets.definitions import build_definitions
    from mlops_assets.products.catalog import product_named
    from mlops_assets.replay.runs import Replay, expect_success
    from resources.environments import read_environment
    from resources.platform import Platform
    from sensors.selections import retraining

    logging.getLogger("mlops_assets").setLevel(logging.ERROR)
    product, environment = product_named(PRODUCT), read_environment()
    workspace, key = environment.workspace, product.period.shift(product.period.first, HISTORY).key
    state = workspace.of(product)
    fill(state, key, HISTORY)
    for number in range(HISTORY):
        period = product.period.shift(product.period.first, number)
        state.tables.write("raw", period.key, product.source.read("parcels", period).collect())
    workspace.replay_clock.set(product.period.at(key).start + product.label.delay)
    (workspace.dagster_home / "dagster.yaml").write_text((files("mlops_assets.servers") / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(workspace.dagster_home)) as instance:
        replay = Replay(state, instance, build_definitions(environment), Platform.of(environment))
        expect_success(replay.materialize(retraining(product), key, {"product": PRODUCT}))


class Replayed:
    """Moves the clock and carries the faults out.

    together: so many faults may be open at once. stood: periods that were not whole within the deadline."""

    def __init__(self, installation: Installation, onlooker: Onlooker, faults: list[Fault], together: int) -> None:
        self.installation, self.onlooker, self.faults, self.together = installation, onlooker, faults, together
        self.stood: list[str] = []
        self.keys: list[str] = []
        self.lost: list[str] = []

    def run(self, periods: int) -> None:
        clock = self.installation.workspace.replay_clock
        for number in range(periods):
            period = parcel_delay.period.shift(parcel_delay.period.first, HISTORY + number)
            self.keys.append(period.key)
            self.patiently(lambda: clock.set(period.end + parcel_delay.label.delay))  # noqa: B023
            started, last = time.monotonic(), number == periods - 1
            say(f"period {number + 1} of {periods}: {period.key} is over")
            if not self.wait_for_period(number, last=last):
                self.stood.append(period.key)
                say(
                    f"{period.key} STANDS STILL: {', '.join(self.missing(period.key))}\n{self.onlooker.why_it_stands()}"
                )
                if self.stood[-2:] == self.keys[-2:] and len(self.keys) > 1:
                    say("two periods in a row stood still: the loop has ended")
                    self.keys += [
                        parcel_delay.period.shift(parcel_delay.period.first, HISTORY + later).key
                        for later in range(number + 1, periods)
                    ]
                    break
                continue
            decision = self.onlooker.decision(period.key)
            words = f"{decision.action}: {decision.reason}" if decision else ""
            say(f"{period.key} is whole after {time.monotonic() - started:.0f} s ({words})")
        self.lift_all()
        if not self.stood:
            self.until(lambda: all(self.look(fault) for fault in self.begun), FINAL_SECONDS)
        self.lost = [key for key in self.keys if self.missing(key)]

    def wait_for_period(self, number: int, *, last: bool) -> bool:
        """Until the period is whole and every fault that is due with it has begun and was lifted."""
        key = self.keys[number]

        def is_done() -> bool:
            due = [fault for fault in self.faults if fault.period <= number]
            begun = all(fault.is_over for fault in due if fault.began is not None or fault.can_begin())
            has_healed = not last or all(self.look(fault) for fault in self.begun)
            waiting = [fault for fault in due if fault.began is None and fault.due_at is not None]
            return begun and not waiting and not self.missing(key) and has_healed

        return self.until(is_done, DEADLINE_SECONDS, number)

    def until(self, claim: Callable[[], bool], seconds: float, number: int | None = None) -> bool:
        """Outages do not count towards the deadline."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.installation.keep_up():
                say("init starts `mlops up` again")
            if number is not None:
                deadline += self.go_on(number)
            for fault in self.begun:
                self.look(fault)
            try:
                if claim():
                    return True
            except Unreadable:
                pass  # the disk is full
            time.sleep(LOOK_SECONDS)
        return False

    def go_on(self, number: int) -> float:
        """Begin and lift faults; seconds by which the deadline moves."""
        more = 0.0
        still_open = [fault for fault in self.begun if fault.healed_after is None]
        free = self.together - len(still_open)
        for fault in still_open:
            self.step(fault)
        for fault in self.faults:
            if fault.period <= number and fault.began is None and free > 0:
                self.step(fault)
                # what has nothing to hit yet holds no other back
                free -= fault.due_at is not None
                more += fault.lasts if fault.began is not None else 0.0
        return more

    def step(self, fault: Fault) -> None:
        try:
            if said := fault.step():
                say(f"    {said}")
        except Unreadable:
            pass  # the disk is full

    def look(self, fault: Fault) -> bool:
        if fault.healed_after is not None:
            return True
        try:
            is_healed = fault.look(is_period_whole=not self.missing(self.keys[-1]))
        except Unreadable:
            return False
        if is_healed:
            say(f"    {fault.name}: healed after {fault.healed_after:.0f} s by {fault.healed_by}")
        return is_healed

    def missing(self, key: str) -> list[str]:
        try:
            return self.onlooker.missing(key)
        except Unreadable as error:
            return [f"unreadable: {error}"]

    def lift_all(self) -> None:
        for fault in self.begun:
            if not fault.is_lifted:
                fault.lift()
                fault.is_lifted = True

    def patiently(self, action: Callable[[], None]) -> None:
        """The clock lies on the disk that may be full."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return action()
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_SECONDS)

    @property
    def begun(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.began is not None]


def planned(installation: Installation, onlooker: Onlooker, asked: argparse.Namespace, periods: int) -> list[Fault]:
    """Each kind at least once, at random periods; in a long run each twice."""
    draw, outage = random.Random(asked.seed), QUICK_OUTAGE if asked.quick else FULL_OUTAGE

    def of(kind: str) -> Fault:
        common = (installation, onlooker, draw.randrange(periods), draw.uniform(0, LONGEST_DELAY))
        # every second period asks for a retraining: one is for MLflow, a later one is killed
        first, later = draw.randrange(max(1, periods // 2 - 1)), draw.randrange(periods // 2, max(1, periods - 1))
        match kind:
            case "source":
                return SourceDown(*common[:2], draw.randrange(max(1, periods - 1)), draw.uniform(0, 1), outage)
            case "mlflow":
                return MlflowDown(installation, onlooker, first, draw.uniform(0, 2), outage)
            case "disk":
                return DiskFull(*common, outage)
            case "run":
                return RunKilled(*common[:3], draw.uniform(0, 4))
            case "retraining":
                return RunKilled(installation, onlooker, later, draw.uniform(0, 15), kind="retrain")
            case "worker":
                return WorkerKilled(*common)
            case "everything":
                return EverythingKilled(*common)
            case _:
                return ServerKilled(*common, role=SERVERS[kind])

    kinds = asked.faults.split(",") if asked.faults else [kind for kind in KINDS if kind != "up" or not asked.quick]
    if "disk" in kinds and not installation.is_on_small_disk:
        say("no disk of its own can be mounted here, so the disk does not get full")
        kinds.remove("disk")
    faults = [of(kind) for kind in kinds for _ in range(1 if asked.quick else 2)]
    draw.shuffle(faults)
    return sorted(faults, key=lambda fault: fault.period)


SERVERS = {"code": "code server", "daemon": "daemon", "api": "api", "up": "mlops up"}
KINDS = ("source", "mlflow", "disk", "run", "retraining", "code", "daemon", "api", "worker", "up", "everything")


def tell(replay: Replayed, client: Client, installation: Installation) -> None:
    print(f"\n{'fault':34} {'period':>10} {'began':>8} {'lasted':>6} {'healed':>6}  by")
    for fault in sorted(replay.begun, key=lambda item: item.began_on):
        period = replay.keys[min(fault.period, len(replay.keys) - 1)]
        healed = "never" if fault.healed_after is None else f"{fault.healed_after:.0f} s"
        lasted = f"{fault.lasts:.0f} s" if fault.lasts else ""
        print(f"{fault.name:34} {period:>10} {fault.began:%H:%M:%S} {lasted:>6} {healed:>6}  {fault.healed_by}")
    history = installation.state.ledger.history()
    forward = [item.partition for item in history if "rolled back" not in item.reason]
    # of a partition that was deployed before, or is older than one that was
    twice = [key for number, key in enumerate(forward) if number and key <= max(forward[:number])]
    state, ever = installation.state, (parcel_delay.period.start, datetime.now(UTC))
    logged = set(state.predictions.read(PRODUCT, *ever)["prediction_id"])
    told = set(state.labels.read(PRODUCT, *ever)["prediction_id"])
    for item in history:
        print(f"version {item.version} of {item.partition}: {item.reason}")
    if client.unexpected:
        print(f"refused as wrong: {Counter(client.unexpected).most_common(3)}")
    print(
        json.dumps(
            {
                "periods": len(replay.keys),
                "periods_lost": len(replay.lost),
                "faults_injected": len(replay.begun),
                "faults_planned": len(replay.faults),
                "faults_not_healed": sum(fault.healed_after is None for fault in replay.begun),
                "stands_still": len(replay.stood),
                "deployments": len(forward),
                "double_deployments": len(twice),
                "predictions_acknowledged": len(client.acknowledged),
                "predictions_lost": len(set(client.acknowledged) - logged),
                "labels_acknowledged": len(client.labelled),
                "labels_lost": len(set(client.labelled) - told),
                "requests_not_answered": client.refused,
                "longest_seconds_without_an_answer": round(client.longest_wait, 1),
                "starts_by_init": installation.restarts,
            }
        )
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--periods", type=int, default=0)
    parser.add_argument("--faults", default="", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--together", type=int, default=0, help="faults that may be open at once (1; 2 with --quick)")
    parser.add_argument("--no-reports", action="store_true", help="without Evidently's pages, as with --quick")
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.together = asked.together or (2 if asked.quick else 1)
    return asked


@contextmanager
def a_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="unattended-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def wait_for(what: str, claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not claim():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it never came true that {what}")
        time.sleep(LOOK_SECONDS)


def say(sentence: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {sentence}", flush=True)


if __name__ == "__main__":
    main()
