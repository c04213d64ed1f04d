"""Run records: the process of each Dagster run and whether it is alive; one small object per run, renewed while it runs."""

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
LOST_AFTER = timedelta(minutes=3)  # for a process on another machine, of which only the record can be seen


@dataclass(frozen=True)
class RunRecords:
    """One object for each active run; every machine of an installation can read it."""

    objects: Objects

    def read(self, run_id: str) -> RunRecord | None:
        """None where no process has started the run. Raises DataError: it is damaged. RecordTooNew."""
        content = self.objects.get(_name(run_id))
        return None if content is None else decoded(RunRecord, content, self.objects.address(_name(run_id)))

    def write(self, record: RunRecord) -> None:
        """Raises StoreError: the run must not begin then, as a run without a record would be started a second time."""
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
    """Why the process of this record has ended; None while it is alive or may be."""
    if record.host != socket.gethostname():
        silent = now - record.alive_at
        if silent <= LOST_AFTER:
            return None
        return (
            f"its process {record.process} on {record.host} has not reported since {record.alive_at:%Y-%m-%d %H:%M:%S}"
        )
    if record.boot != _boot():
        return f"{record.host} was restarted during the run"
    is_alive = _is_alive(record.process, record.began)
    return None if is_alive else f"its process {record.process} on {record.host} has ended"


class Heartbeat:
    """Renews the record of a run in its own thread, until it is stopped."""

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
                continue  # a full disk must not end the run; this machine sees the process itself


def _is_alive(process: int, began: float) -> bool:
    import psutil

    try:
        running = psutil.Process(process)
        # with a tolerance of two seconds, because setting the clock changes the reported start time
        return running.status() != psutil.STATUS_ZOMBIE and abs(running.create_time() - began) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _boot() -> str:
    """An id that changes with every start of the machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
