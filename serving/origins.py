"""Which hosts and origins may ask: what a web page of somebody else can send without asking is refused."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.errors import CrossSite, UnknownHost

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# what a browser sends to another site without asking it first (Fetch standard, CORS-safelisted)
SIMPLE = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origins:
    """hosts: names that this server answers to; None: any. An address always is one, since nobody can let a name of theirs
    point to it: that is how load balancers and probes ask."""

    hosts: frozenset[str] | None

    def check_host(self, host: str) -> None:
        """Raises UnknownHost: a name that points here and is not ours; a page of that name could read the answers."""
        name, _ = _split(f"//{host}")
        if self.hosts is not None and name not in self.hosts and not _is_address(name):
            raise UnknownHost(
                f"this server is not asked by the name {name[:200]!r}. Known: {', '.join(sorted(self.hosts))}, and addresses. "
                "MLOPS_HOSTS names others."
            )

    def check_origin(self, origin: str, host: str, content_type: str) -> None:
        """Of a request that has a body. Raises CrossSite: a page of another site sent it, in a form that it need not ask for.

        Other content types are only sent after the browser asked, and no site is told yes here. Programs send no Origin."""
        if not origin or content_type.partition(";")[0].strip().lower() not in SIMPLE:
            return
        scheme = origin.partition(":")[0].lower()
        name, port = _split(origin)
        own, own_port = _split(f"{scheme}://{host}")
        if name and ((name == own and port == own_port) or (name in (self.hosts or ()) and name not in LOOPBACK)):
            return
        raise CrossSite(
            f"a page of {origin[:200]!r} sent this, and it is not of this server. Programs leave Origin out; pages send "
            "'Content-Type: application/json'."
        )


def known_hosts(declared: Collection[str], bound: str, *, needs_no_key: bool) -> frozenset[str] | None:
    """The names of MLOPS_HOSTS, of loopback and the one the server is bound to. Without MLOPS_HOSTS a server that asks for keys
    answers to any name: a page of strangers has no key."""
    if not declared and not needs_no_key:
        return None
    return frozenset({*(name.lower() for name in declared), *LOOPBACK, bound.lower()})


def _split(address: str) -> tuple[str, int | None]:
    """Name and port of an origin or of a Host behind //; an empty name where it is none."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
