"""Settings of the prediction API, read from environment variables."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlops_assets.errors import DeclarationError
from mlops_assets.state.objects import Folder, objects_at
from mlops_assets.state.workspace import Workspace
from mlops_assets.variables import number, whole_number
from serving.access import VARIABLES, Keys, keys_from
from serving.limits import Limits, limits_from
from serving.platforms import Platform, platform_of

POLL_SECONDS, BUCKET_POLL_SECONDS = 0.5, 5.0
LOG_FORMS = ("text", "json")
HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}")
LONGEST_DRAIN = 600
LONGEST_WAIT = 86_400
MOST_WORKERS = 256


@dataclass(frozen=True)
class PinnedBundle:
    """Serve this bundle of this product and nothing else, whatever the deployment ledger says (staging)."""

    product: str
    folder: Path


@dataclass(frozen=True)
class Settings:
    """home: MLOPS_HOME, the folder of this machine. state: MLOPS_STATE, a folder or bucket; empty: the home.
    host, port: MLOPS_HOST, MLOPS_PORT (0: a free one). pinned: MLOPS_PRODUCT with MLOPS_BUNDLE.

    approval_key: MLOPS_APPROVAL_KEY, which signs bundles and answers to waiting versions; empty: bundles are not signed, and
    answers are signed with the key in the home.
    online_store: MLOPS_ONLINE_STORE, a file, redis://… or postgresql://…; empty: SQLite in the home.
    hosts: MLOPS_HOSTS, further names, separated by commas, that this server answers to.
    product: MLOPS_PRODUCT, the only one to serve. poll_seconds: MLOPS_POLL_SECONDS, the time between two polls of the deployment
    ledger. platform: the hosted platform that started this container. log_form: MLOPS_LOG, text or json.
    log_requests: MLOPS_LOG_REQUESTS=1, log a line for every request. queue_rows: MLOPS_QUEUE_ROWS, the rows of a product that
    may wait in one worker. workers: MLOPS_WORKERS, processes on the port. drain_seconds: MLOPS_DRAIN_SECONDS, how long to
    answer after SIGTERM while not ready, so that load balancers notice. keep_alive_seconds: MLOPS_KEEP_ALIVE_SECONDS, how
    long a connection may be idle; give more than the load balancer's own limit, or it may use a closed connection.
    header_seconds: MLOPS_HEADER_SECONDS, how long the head of a request may take. parent: MLOPS_PARENT, the id of the
    process that started this one; this one ends with it, even if the parent is killed (staging).
    """

    home: Path = Path("var/home")
    state: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    pinned: PinnedBundle | None = None
    poll_seconds: float = POLL_SECONDS
    approval_key: str = field(default="", repr=False)
    online_store: str = field(default="", repr=False)  # may hold a password
    hosts: tuple[str, ...] = ()
    product: str | None = None
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    platform: Platform | None = None
    log_form: str = "text"
    log_requests: bool = False
    queue_rows: int = 50_000
    workers: int = 1
    drain_seconds: float = 0.0
    keep_alive_seconds: float = 75.0
    header_seconds: float = 10.0
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
        for name, seconds in (
            ("MLOPS_KEEP_ALIVE_SECONDS", self.keep_alive_seconds),
            ("MLOPS_HEADER_SECONDS", self.header_seconds),
        ):
            if not 0 < seconds <= LONGEST_WAIT:
                raise DeclarationError(f"{name} is {seconds:g}. Give seconds above 0, at most {LONGEST_WAIT:,}.")
        if self.queue_rows < 1:
            raise DeclarationError(f"MLOPS_QUEUE_ROWS is {self.queue_rows}. Give at least 1, such as 50000.")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise DeclarationError(
                f"MLOPS_WORKERS is {self.workers}. Give 1 to {MOST_WORKERS}; one per core is plenty."
            )
        if wrong := [name for name in self.hosts if not HOST.fullmatch(name)]:
            raise DeclarationError(
                f"MLOPS_HOSTS holds {wrong[0]!r}. Give names without port or scheme, as in ml.example.org."
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
        """On loopback without keys, every user of this machine may do everything."""
        return not self.keys and self.platform is None

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.state or self.home, self.home, self.online_store, self.approval_key)

    @property
    def log_kind(self) -> str:
        """The kind of log for answers. Those of a pinned bundle are not production traffic, so they have their own log."""
        return "predictions" if self.pinned is None else "pinned"


def _home(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("MLOPS_HOME") or Settings.home)
    if home.exists() and not home.is_dir():
        raise DeclarationError(f"MLOPS_HOME is {home}, which is not a folder. Name a folder of this machine.")
    return home


def _is_folder(state: str) -> bool:
    return not state or isinstance(objects_at(state), Folder)


def _state(environment: Mapping[str, str]) -> str:
    address = environment.get("MLOPS_STATE") or ""
    if address:
        try:
            objects = objects_at(address)
        except DeclarationError as error:
            raise DeclarationError(f"MLOPS_STATE: {error}") from None
        if isinstance(objects, Folder) and objects.root.exists() and not objects.root.is_dir():
            raise DeclarationError(f"MLOPS_STATE is {address}, which is not a folder. Name a folder or a bucket.")
    return address


def from_environment(environment: Mapping[str, str] = os.environ, arguments: Sequence[str] = ()) -> Settings:
    """Raises DeclarationError: the value of a variable cannot be used."""
    platform = platform_of(environment, arguments)
    product, bundle = environment.get("MLOPS_PRODUCT"), environment.get("MLOPS_BUNDLE")
    if bundle and not product and platform is None:
        raise DeclarationError("MLOPS_BUNDLE is set without MLOPS_PRODUCT. A pinned bundle needs both.")
    pinned = PinnedBundle(product, Path(bundle)) if product and bundle else None
    return Settings(
        home=_home(environment),
        state=(state := _state(environment)),
        host=environment.get("MLOPS_HOST") or (Settings.host if platform is None else "0.0.0.0"),
        port=whole_number(environment, "MLOPS_PORT", Settings.port) if platform is None else platform.port,
        pinned=pinned if platform is None else PinnedBundle(platform.product, platform.bundle),
        approval_key=environment.get("MLOPS_APPROVAL_KEY", ""),
        poll_seconds=number(
            environment, "MLOPS_POLL_SECONDS", POLL_SECONDS if _is_folder(state) else BUCKET_POLL_SECONDS
        ),
        online_store=environment.get("MLOPS_ONLINE_STORE", ""),
        hosts=tuple(filter(None, map(str.strip, environment.get("MLOPS_HOSTS", "").split(",")))),
        product=None if bundle else product or None,
        keys=keys_from(environment),
        limits=limits_from(environment),
        platform=platform,
        log_form=environment.get("MLOPS_LOG") or ("text" if platform is None else "json"),
        log_requests=_switch(environment, "MLOPS_LOG_REQUESTS"),
        queue_rows=whole_number(environment, "MLOPS_QUEUE_ROWS", Settings.queue_rows),
        workers=whole_number(environment, "MLOPS_WORKERS", Settings.workers),
        drain_seconds=number(environment, "MLOPS_DRAIN_SECONDS", Settings.drain_seconds),
        keep_alive_seconds=number(environment, "MLOPS_KEEP_ALIVE_SECONDS", Settings.keep_alive_seconds),
        header_seconds=number(environment, "MLOPS_HEADER_SECONDS", Settings.header_seconds),
        parent=whole_number(environment, "MLOPS_PARENT", 0) or None,
    )


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name) or "0"
    if text not in ("0", "1"):
        raise DeclarationError(f"{name} is {text!r}. Give 1 to switch it on, 0 or nothing to leave it off.")
    return text == "1"
