"""Record of a Dagster run, of whatever product."""

from datetime import datetime
from typing import ClassVar

from mlops_assets.records.record import Record


class RunRecord(Record, frozen=True):
    """The process of a run. host, boot: the machine, and which start of it. began: seconds since 1970 at which the process
    began, as process numbers are given anew. alive_at: when it last said that it lives."""

    asset: ClassVar[str] = "runs"

    run_id: str
    host: str
    boot: str
    process: int
    began: float
    alive_at: datetime
