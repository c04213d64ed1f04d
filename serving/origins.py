"""Which hosts and origins are answered. Requests that a web page of strangers can send without permission are refused."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.errors import CrossSite, UnknownHost

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# a browser sends these to another site without asking it first (Fetch standard, CORS-safelisted)
SIMPLE = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origins:
    """hosts: the names that this server answers to, None for any. An address is always answered, because load balancers and
    probes ask by it and nobody can make a name of theirs look like one."""

    hosts: frozenset[str] | None

    def check_host(self, host: str) -> None:
        """Raises UnknownHost: a name points to this server and is not its own. A page of that name could read the answers."""
        name, _ = _split(f"//{host}")
        if self.hosts is not None and name not in self.hosts and not _is_address(name):
            raise UnknownHost(
                f"this server does not answer to the name {name[:200]!r}. Known: {', '.join(sorted(self.hosts))}, and addresses. "
                "MLOPS_HOSTS names others."
            )

    def check_origin(self, origin: str, host: str, content_type: str) -> None:
        """For requests with a body. Raises CrossSite: a page of another site sent it, in a form for which browsers do not ask.

        Browsers ask before they send other content types, and are never permitted to here. Programs send no Origin."""
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
    """MLOPS_HOSTS, the names of loopback, and the name that the server is bound to. Without MLOPS_HOSTS a server that needs keys
    answers to any name, because a page of strangers has no key."""
    if not declared and not needs_no_key:
        return None
    return frozenset({*(name.lower() for name in declared), *LOOPBACK, bound.lower()})


def _split(address: str) -> tuple[str, int | None]:
    """The name and port of an origin, or of a Host behind //. The name is empty if it is neither."""
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
