"""The hosts and origins that are answered. Requests that a page of another site can send without a preflight are refused."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.errors import CrossSite, UnknownHost

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# a browser sends these to another site without a preflight request (Fetch standard, CORS-safelisted)
SIMPLE = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origins:
    """hosts: the names that this server answers to, None for any. An IP address is always answered: load balancers and probes
    use it, and no foreign name can pass for one."""

    hosts: frozenset[str] | None

    def check_host(self, host: str) -> None:
        """Raises UnknownHost: the name is not one of this server's, though it resolves to it. A page under that name could read
        the answers."""
        name, _ = _split(f"//{host}")
        if self.hosts is not None and name not in self.hosts and not _is_address(name):
            raise UnknownHost(
                f"this server does not answer to the name {name[:200]!r}. Known: {', '.join(sorted(self.hosts))}, and addresses. "
                "MLOPS_HOSTS names others."
            )

    def check_origin(self, origin: str, host: str, content_type: str) -> None:
        """For requests with a body. Raises CrossSite: a page of another site sent it, with a content type that needs no preflight.

        Browsers send a preflight request for other content types, and this server permits none. Programs send no Origin."""
        if not origin or content_type.partition(";")[0].strip().lower() not in SIMPLE:
            return
        scheme = origin.partition(":")[0].lower()
        name, port = _split(origin)
        own, own_port = _split(f"{scheme}://{host}")
        if name and ((name == own and port == own_port) or (name in (self.hosts or ()) and name not in LOOPBACK)):
            return
        raise CrossSite(
            f"a page of {origin[:200]!r} sent this request, and that is another site. Programs leave Origin out; pages of this "
            "server send 'Content-Type: application/json'."
        )


def own_hosts(declared: Collection[str], bound: str, *, needs_no_key: bool) -> frozenset[str] | None:
    """MLOPS_HOSTS, the names of loopback, and the name that the server is bound to. Without MLOPS_HOSTS a server that needs keys
    answers to any name, because a page of another site has no key."""
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
