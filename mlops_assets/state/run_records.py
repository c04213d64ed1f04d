"""Which process carries a Dagster run out, and whether it still lives: one small file per run, renewed while it runs."""

import os
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_assets.errors import StoreError
from mlops_assets.records.runs import RunRecord
from mlops_assets.state.objects import Objects
from mlops_assets.state.records import decoded, encoded

RENEWED_EVERY = timedelta(seconds=20)
LOST_AFTER = timedelta(minutes=3)  # of a process on another machine, whose life only its record shows


@dataclass(frozen=True)
class RunRecords:
    """One object for each run that is under way, for every machine of an installation to read."""

    objects: Objects

    def read(self, run_id: str) -> RunRecord | None:
        """None where no process has started the run. Raises DataError: it is damaged. RecordTooNew."""
        content = self.objects.get(_name(run_id))
        return None if content is None else decoded(RunRecord, content, self.objects.address(_name(run_id)))

    def write(self, record: RunRecord) -> None:
        """Raises StoreError: a run that nobody can see alive would be started twice, so it does not begin."""
        self.objects.put(_name(record.run_id), encoded(record))

    def run_ids(self) -> list[str]:
        return [name.rpartition("/")[2].removesuffix(".json") for name in self.objects.names(RunRecord.asset)]

    def remove(self, run_id: str) -> None:
        self.objects.delete(_name(run_id))


def _name(run_id: str) -> str:
    return f"{RunRecord.asset}/{run_id}.json"


def record_of_this_process(run_id: str) -> RunRecord:
    import psutil

    began = psutil.Process().create_time()
    return RunRecord(run_id, socket.gethostname(), _boot(), os.getpid(), began, datetime.now(UTC))


def reason_it_is_gone(record: RunRecord, now: datetime) -> str | None:
    """Says why the process of this record is gone; None while it lives or may live."""
    if record.host != socket.gethostname():
        silent = now - record.alive_at
        if silent <= LOST_AFTER:
            return None
        return f"its process {record.process} on {record.host} has not been heard of since {record.alive_at:%Y-%m-%d %H:%M:%S}"
    if record.boot != _boot():
        return f"{record.host} was restarted while the run was under way"
    return None if _lives(record.process, record.began) else f"its process {record.process} on {record.host} has ended"


class Heartbeat:
    """Renews the record of a run in a thread of its own, until it is stopped."""

    def __init__(self, records: RunRecords, run_id: str) -> None:
        self._records, self._run_id = records, run_id
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"heartbeat-{run_id[:8]}", daemon=True)

    def start(self) -> None:
        """Raises StoreError: the first record cannot be written."""
        self._records.write(record_of_this_process(self._run_id))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._records.remove(self._run_id)

    def _renew(self) -> None:
        while not self._stopped.wait(RENEWED_EVERY.total_seconds()):
            try:
                self._records.write(record_of_this_process(self._run_id))
            except StoreError:
                continue  # a full disk must not end the run; machines that see the process itself need no renewal


def _lives(process: int, began: float) -> bool:
    import psutil

    try:
        found = psutil.Process(process)
        # two seconds: a clock that was set moves the time at which a process is said to have begun
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - began) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _boot() -> str:
    """Differs after every start of the machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
