"""Record of a Dagster run, of any product."""

from datetime import datetime
from typing import ClassVar

from mlops_assets.records.record import Record


class RunRecord(Record, frozen=True):
    """The process of a run. host, boot: the machine and its boot id. began: start of the process in seconds since 1970, because
    process numbers are reused. alive_at: time of its newest heartbeat."""

    asset: ClassVar[str] = "runs"

    run_id: str
    host: str
    boot: str
    process: int
    began: float
    alive_at: datetime
