"""The faults: when each begins, what it does, when it is over, and how it is seen that the platform has healed."""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil
from unattended_parts.installation import Installation, answers, free_megabytes
from unattended_parts.watch import Onlooker

MEGABYTE = b"\0" * 2**20


@dataclass
class Fault(ABC):
    """period: at which move of the clock it is due. delay: seconds from then, or from when it can begin, to its beginning.
    lasts: seconds of an outage, 0 for a kill. healed_after: seconds from its beginning until everything works again."""

    installation: Installation
    onlooker: Onlooker
    period: int
    delay: float
    lasts: float = 0.0
    due_at: float | None = None
    began: datetime | None = None
    began_on: float = 0.0
    is_lifted: bool = False
    healed_after: float | None = None
    healed_by: str = ""
    note: str = ""
    before: Mapping[int, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def name(self) -> str: ...

    def can_begin(self) -> bool:
        """Is there something for it to hit?"""
        return True

    @abstractmethod
    def inject(self) -> bool:
        """False: there was nothing to hit after all; it is tried again."""

    def hold(self) -> None:
        """Called again and again while it lasts."""
        return

    def lift(self) -> None:
        """The end of an outage. Nobody lifts a kill."""
        return

    # --- what is done with it, step by step

    def step(self) -> str | None:
        """Go on as far as the time allows; what happened, in words."""
        now = time.monotonic()
        if self.began is None:
            if self.due_at is None and self.can_begin():
                self.due_at = now + self.delay
            if self.due_at is None or now < self.due_at:
                return None
            self.before = self.installation.processes()
            self.began, self.began_on = datetime.now(UTC), now
            if not self.inject():
                self.began, self.due_at = None, None
                return None
            return f"{self.name} begins{f' ({self.note})' if self.note else ''}"
        if not self.is_lifted:
            if now - self.began_on < self.lasts:
                self.hold()
                return None
            self.lift()
            self.is_lifted = True
            return f"{self.name}: over after {now - self.began_on:.0f} s" if self.lasts else None
        return None

    @property
    def is_over(self) -> bool:
        return self.is_lifted

    def look(self, *, is_period_whole: bool) -> bool:
        """Do all servers work again, and is what had failed done? After an outage: is the period whole?"""
        if self.healed_after is not None or self.began is None or not self.is_lifted:
            return self.healed_after is not None
        lifted = self.began.timestamp() + self.lasts
        if (self.lasts and not is_period_whole) or not answers(f"{self.installation.api()}/health/ready"):
            return False
        if not self.onlooker.has_ticked_since(datetime.fromtimestamp(lifted, UTC)):
            return False
        said, is_open = self.onlooker.retried_since(self.began)
        if is_open:
            return False
        self.healed_after = time.monotonic() - self.began_on
        self.healed_by = "; ".join([*self._started_again(), *said]) or "no run failed: whatever met it waited"
        return True

    def _started_again(self) -> list[str]:
        """Servers that have another process now, and who started it."""
        after = self.installation.processes()
        started: dict[str, list[str]] = {}
        for role in ("mlops up", "code server", "daemon", "webserver", "mlflow", "api", "worker"):
            former = {pid for pid, its in self.before.items() if its == role}
            present = {pid for pid, its in after.items() if its == role}
            if former - present and present - former:
                started.setdefault(self._who_started(min(present - former)), []).append(role)
        return [f"{', '.join(roles)} started again by {who}" for who, roles in started.items()]

    def _who_started(self, pid: int) -> str:
        with suppress(psutil.Error):
            parent = psutil.Process(pid).ppid()
            return "init" if parent == os.getpid() else self.installation.processes().get(parent, "its parent")
        return "its parent"


class SourceDown(Fault):
    """It begins in a run that has not stored the period's rows yet, or nobody would notice."""

    name = "source down"

    def can_begin(self) -> bool:
        return self.onlooker.is_arriving() and bool(self.onlooker.open_runs("arrival"))

    def inject(self) -> bool:
        self.installation.deliveries.rename(self._away)
        return True

    def lift(self) -> None:
        self._away.rename(self.installation.deliveries)

    @property
    def _away(self) -> Path:
        return self.installation.deliveries.with_name("deliveries-away")


class MlflowDown(Fault):
    """Of the registry that versions and aliases are kept in; only a retraining needs it, so it begins in one."""

    name = "MLflow down"

    def can_begin(self) -> bool:
        return any(run.status is dg.DagsterRunStatus.STARTED for run in self.onlooker.open_runs("retrain"))

    def inject(self) -> bool:
        self.installation.kill_tracking()
        return True

    def lift(self) -> None:
        self.installation.start_tracking()


class DiskFull(Fault):
    name = "disk full"

    def inject(self) -> bool:
        self.note = f"{free_megabytes(self.installation.workspace.home):.0f} MB were free"
        self.hold()
        return True

    def hold(self) -> None:
        """Whatever became free is taken again."""
        with self._filler.open("ab", buffering=0) as filler:
            for piece in (MEGABYTE, MEGABYTE[:4096]):
                with suppress(OSError):
                    while filler.write(piece) == len(piece):
                        pass

    def lift(self) -> None:
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.installation.workspace.home / "filler"


@dataclass
class RunKilled(Fault):
    """kind: of which run, "" for whichever is there."""

    kind: str = ""

    @property
    def name(self) -> str:
        return f"kill -9 of a {self.kind or 'period'} run"

    def can_begin(self) -> bool:
        return bool(self.onlooker.open_runs(self.kind) and self.installation.with_role("run"))

    def inject(self) -> bool:
        runs = self.onlooker.open_runs(self.kind)
        killed = self.installation.kill("run") if runs else []
        self.note = ", ".join(f"{run.tags.get('mlops/cause')} {run.status.value}" for run in runs)
        return bool(killed)


@dataclass
class ServerKilled(Fault):
    role: str = ""

    @property
    def name(self) -> str:
        return f"kill -9 of the {self.role}"

    def can_begin(self) -> bool:
        return bool(self.installation.with_role(self.role))

    def inject(self) -> bool:
        return bool(self.installation.kill(self.role))


class WorkerKilled(Fault):
    name = "kill -9 of an API worker"

    def can_begin(self) -> bool:
        return bool(self.installation.with_role("worker"))

    def inject(self) -> bool:
        for pid in self.installation.with_role("worker")[:1]:
            os.kill(pid, signal.SIGKILL)
            return True
        return False


class EverythingKilled(Fault):
    name = "kill -9 of every process at once"

    def inject(self) -> bool:
        self.installation.kill_everything()
        return True
