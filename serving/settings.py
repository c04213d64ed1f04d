"""Settings of the prediction API; the only file on this side that reads environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.errors import DeclarationError

MOST_WORKERS = 256


@dataclass(frozen=True)
class PinnedBundle:
    """Serve this bundle of this product and nothing else, whatever the deployment ledger says (staging)."""

    product: str
    folder: Path


@dataclass(frozen=True)
class Settings:
    """home: MLOPS_HOME. host, port: MLOPS_HOST, MLOPS_PORT (0: a free one). pinned: MLOPS_PRODUCT with MLOPS_BUNDLE.

    poll_seconds: MLOPS_POLL_SECONDS, how often the deployment ledger is asked for a new champion. queue_rows:
    MLOPS_QUEUE_ROWS, how many rows of a product may wait in one worker. workers: MLOPS_WORKERS, processes on the port.
    """

    home: Path = Path("var/home")
    host: str = "127.0.0.1"
    port: int = 8000
    pinned: PinnedBundle | None = None
    poll_seconds: float = 0.5
    queue_rows: int = 50_000
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise DeclarationError(f"MLOPS_PORT is {self.port}. Give a port from 0 to 65535 (0: a free one).")
        if not 0 < self.poll_seconds < float("inf"):
            raise DeclarationError(f"MLOPS_POLL_SECONDS is {self.poll_seconds}. Give seconds above 0, such as 0.5.")

        if self.queue_rows < 1:
            raise DeclarationError(f"MLOPS_QUEUE_ROWS is {self.queue_rows}. Give at least 1, such as 50000.")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise DeclarationError(
                f"MLOPS_WORKERS is {self.workers}. Give 1 to {MOST_WORKERS}; one per core is plenty."
            )

    @property
    def prediction_log(self) -> Path:
        """Where answers are logged; those of a pinned bundle are no production traffic and lie apart."""
        return self.home / ("prediction_log" if self.pinned is None else "prediction_log_pinned")


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises DeclarationError: a variable has a value that cannot be used; the sentence says which."""
    product, bundle = environment.get("MLOPS_PRODUCT"), environment.get("MLOPS_BUNDLE")
    if bool(product) != bool(bundle):
        given, missing = ("MLOPS_PRODUCT", "MLOPS_BUNDLE") if product else ("MLOPS_BUNDLE", "MLOPS_PRODUCT")
        raise DeclarationError(f"{given} is set without {missing}. A pinned bundle needs both, or neither.")
    return Settings(
        home=Path(environment.get("MLOPS_HOME") or Settings.home),
        host=environment.get("MLOPS_HOST") or Settings.host,
        port=int(_number(environment, "MLOPS_PORT", Settings.port)),
        pinned=PinnedBundle(product, Path(bundle)) if product and bundle else None,
        poll_seconds=_number(environment, "MLOPS_POLL_SECONDS", Settings.poll_seconds),
        queue_rows=int(_number(environment, "MLOPS_QUEUE_ROWS", Settings.queue_rows)),
        workers=int(_number(environment, "MLOPS_WORKERS", Settings.workers)),
    )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        return float(text)
    except ValueError:
        raise DeclarationError(f"{name} is {text!r}, which is no number. Leave it out for {default:g}.") from None
