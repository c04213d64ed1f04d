"""Settings of the prediction API; the only file on this side that reads environment variables."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlops_assets.errors import DeclarationError
from serving.access import VARIABLES, Keys, keys_from
from serving.limits import Limits, limits_from
from serving.platforms import Platform, platform_of

LOG_FORMS = ("text", "json")
LONGEST_DRAIN = 600
MOST_WORKERS = 256


@dataclass(frozen=True)
class PinnedBundle:
    """Serve this bundle of this product and nothing else, whatever the deployment ledger says (staging)."""

    product: str
    folder: Path


@dataclass(frozen=True)
class Settings:
    """home: MLOPS_HOME. host, port: MLOPS_HOST, MLOPS_PORT (0: a free one). pinned: MLOPS_PRODUCT with MLOPS_BUNDLE.

    approval_key: MLOPS_APPROVAL_KEY, what answers to waiting versions are signed with; empty: the key in the home.
    online_store: MLOPS_ONLINE_STORE, a file, redis://… or postgresql://…; empty: SQLite in the home.
    product: MLOPS_PRODUCT, the only one to serve. poll_seconds: MLOPS_POLL_SECONDS, how often the deployment ledger is
    asked for a new champion. platform: which hosted platform started this container. log_form: MLOPS_LOG, text or json.
    log_requests: MLOPS_LOG_REQUESTS=1, a line for every request. metrics: MLOPS_METRICS, the folder in which workers of
    one server count (None: one of its own). queue_rows: MLOPS_QUEUE_ROWS, how many rows of a product may wait in one
    worker. workers: MLOPS_WORKERS, processes on the port. drain_seconds: MLOPS_DRAIN_SECONDS, how long to answer while
    not ready after SIGTERM, for load balancers to notice. parent: MLOPS_PARENT, id of the process that started this one
    and with which it ends, even where that was killed (staging).
    """

    home: Path = Path("var/home")
    host: str = "127.0.0.1"
    port: int = 8000
    pinned: PinnedBundle | None = None
    poll_seconds: float = 0.5
    approval_key: str = field(default="", repr=False)
    online_store: str = field(default="", repr=False)  # may hold a password
    product: str | None = None
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    platform: Platform | None = None
    log_form: str = "text"
    log_requests: bool = False
    metrics: Path | None = None
    queue_rows: int = 50_000
    workers: int = 1
    drain_seconds: float = 0.0
    parent: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise DeclarationError(f"MLOPS_PORT is {self.port}. Give a port from 0 to 65535 (0: a free one).")
        if not 0 < self.poll_seconds < float("inf"):
            raise DeclarationError(f"MLOPS_POLL_SECONDS is {self.poll_seconds}. Give seconds above 0, such as 0.5.")
        if not 0 <= self.drain_seconds <= LONGEST_DRAIN:
            raise DeclarationError(
                f"MLOPS_DRAIN_SECONDS is {self.drain_seconds:g}. Give 0 to {LONGEST_DRAIN}, such as 10."
            )
        if self.queue_rows < 1:
            raise DeclarationError(f"MLOPS_QUEUE_ROWS is {self.queue_rows}. Give at least 1, such as 50000.")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise DeclarationError(
                f"MLOPS_WORKERS is {self.workers}. Give 1 to {MOST_WORKERS}; one per core is plenty."
            )
        if self.log_form not in LOG_FORMS:
            raise DeclarationError(f"MLOPS_LOG is {self.log_form!r}. Known: {', '.join(LOG_FORMS)}.")
        if not self.keys and self.platform is None and not self.is_on_loopback:
            raise DeclarationError(
                f"MLOPS_HOST is {self.host}, which others can reach, and there are no keys. Set at least one of "
                f"{', '.join(VARIABLES.values())}, or leave MLOPS_HOST out to listen on loopback only."
            )

    @property
    def is_on_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def needs_no_key(self) -> bool:
        """On loopback without keys: whoever is on this machine may ask everything."""
        return not self.keys and self.platform is None

    @property
    def prediction_log(self) -> Path:
        """Where answers are logged; those of a pinned bundle are no production traffic and lie apart."""
        return self.home / ("prediction_log" if self.pinned is None else "prediction_log_pinned")


def from_environment(environment: Mapping[str, str] = os.environ, arguments: Sequence[str] = ()) -> Settings:
    """Raises DeclarationError: a variable has a value that cannot be used; the sentence says which."""
    platform = platform_of(environment, arguments)
    product, bundle = environment.get("MLOPS_PRODUCT"), environment.get("MLOPS_BUNDLE")
    if bundle and not product and platform is None:
        raise DeclarationError("MLOPS_BUNDLE is set without MLOPS_PRODUCT. A pinned bundle needs both.")
    pinned = PinnedBundle(product, Path(bundle)) if product and bundle else None
    return Settings(
        home=Path(environment.get("MLOPS_HOME") or Settings.home),
        host=environment.get("MLOPS_HOST") or (Settings.host if platform is None else "0.0.0.0"),
        port=int(_number(environment, "MLOPS_PORT", Settings.port)) if platform is None else platform.port,
        pinned=pinned if platform is None else PinnedBundle(platform.product, platform.bundle),
        approval_key=environment.get("MLOPS_APPROVAL_KEY", ""),
        poll_seconds=_number(environment, "MLOPS_POLL_SECONDS", Settings.poll_seconds),
        online_store=environment.get("MLOPS_ONLINE_STORE", ""),
        product=None if bundle else product or None,
        keys=keys_from(environment),
        limits=limits_from(environment),
        platform=platform,
        log_form=environment.get("MLOPS_LOG") or ("text" if platform is None else "json"),
        log_requests=environment.get("MLOPS_LOG_REQUESTS", "0") == "1",
        metrics=Path(environment["MLOPS_METRICS"]) if environment.get("MLOPS_METRICS") else None,
        queue_rows=int(_number(environment, "MLOPS_QUEUE_ROWS", Settings.queue_rows)),
        workers=int(_number(environment, "MLOPS_WORKERS", Settings.workers)),
        drain_seconds=_number(environment, "MLOPS_DRAIN_SECONDS", Settings.drain_seconds),
        parent=int(_number(environment, "MLOPS_PARENT", 0)) or None,
    )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        return float(text)
    except ValueError:
        raise DeclarationError(f"{name} is {text!r}, which is no number. Leave it out for {default:g}.") from None
