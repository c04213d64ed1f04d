"""Who may ask what: keys with roles, from the environment, compared in constant time."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mlops_assets.errors import DeclarationError
from serving.errors import Forbidden, Unauthenticated

SHORTEST_KEY = 16
# asked by load balancers and orchestrators, which hold no keys, and saying no more than yes or no
PROBES = frozenset({"/health/live", "/health/ready", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})


class Role(StrEnum):
    """PREDICT asks and looks, LABEL tells outcomes, APPROVE lets versions go live, ADMIN does all of it."""

    PREDICT = "predict"
    LABEL = "label"
    APPROVE = "approve"
    ADMIN = "admin"


VARIABLES = {role: f"MLOPS_{role.upper()}_KEYS" for role in Role}


@dataclass(frozen=True)
class Keys:
    """Roles by the SHA-256 of a key: the keys themselves are not kept."""

    roles: Mapping[bytes, frozenset[Role]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.roles)

    def roles_of(self, key: bytes) -> frozenset[Role]:
        """Takes as long for a wrong key as for a right one: every digest is compared, and in constant time."""
        digest = hashlib.sha256(key).digest()
        found: frozenset[Role] = frozenset()
        for known, roles in self.roles.items():
            if hmac.compare_digest(known, digest):
                found = roles
        return found


def keys_from(environment: Mapping[str, str]) -> Keys:
    """Keys by comma in MLOPS_PREDICT_KEYS, _LABEL_, _APPROVE_ and _ADMIN_KEYS; one in two lists has both roles.

    Raises DeclarationError: a key is so short that it could be guessed."""
    roles: dict[bytes, frozenset[Role]] = {}
    for role, variable in VARIABLES.items():
        for key in filter(None, map(str.strip, environment.get(variable, "").split(","))):
            if len(key) < SHORTEST_KEY:
                raise DeclarationError(
                    f"{variable} holds a key of {len(key)} characters. Give at least {SHORTEST_KEY}; "
                    "`openssl rand -hex 24` makes one."
                )
            digest = hashlib.sha256(key.encode()).digest()
            roles[digest] = roles.get(digest, frozenset()) | {role}
    return Keys(roles)


class Access:
    """Whether a request may pass. open_paths: of the platform that runs this container; any key opens the rest."""

    def __init__(self, keys: Keys, *, is_open: bool, open_paths: tuple[str, ...] = ()) -> None:
        self._keys = keys
        self._is_open = is_open
        self._open_paths = PROBES.union(open_paths)

    def check(self, path: str, authorization: bytes, api_key: bytes) -> None:
        """Raises Unauthenticated: no key, or an unknown one. Raises Forbidden: its roles are others."""
        if self._is_open or path in self._open_paths:
            return
        scheme, _, token = authorization.partition(b" ")
        key = api_key or (token.strip() if scheme.lower() == b"bearer" else b"")
        if not key:
            raise Unauthenticated("this needs a key. Send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.")
        roles = self._keys.roles_of(key)
        if not roles:
            raise Unauthenticated("the key is not known. Ask who runs this server for one.")
        needed = role_for(path)
        if needed is not None and needed not in roles and Role.ADMIN not in roles:
            raise Forbidden(
                f"this needs a key with the role {needed!s}, and this one has {', '.join(sorted(roles))}. "
                f"It is given in {VARIABLES[needed]}."
            )


def role_for(path: str) -> Role | None:
    """The role that a path asks for; None where any key will do (metrics, documents)."""
    if path.startswith("/v1/") and path.endswith("/labels"):
        return Role.LABEL
    if path.startswith("/v1/") and "/approvals" in path:
        return Role.APPROVE
    if path.startswith("/reports"):
        return Role.ADMIN
    if path == "/metrics" or path.startswith("/schema") or path == "/":
        return None
    return Role.PREDICT
