"""Access: keys have roles, and each route declares the role that it needs."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from mlops_assets.errors import DeclarationError
from serving.errors import Forbidden, Unauthenticated

SHORTEST_KEY = 16
_NO_KEY_SENT = "this route needs a key. Send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'."
PERSON = re.compile(r"[\w.@+-]{1,100}")
NEEDS = "needs"  # in a route's `opt`: a Role, ANY_KEY or NO_KEY. A route that declares none refuses every request
ANY_KEY, NO_KEY = "any key", "no key"


class Role(StrEnum):
    """PREDICT reads predictions and information, LABEL reports labels, APPROVE approves versions, ADMIN may do everything."""

    PREDICT = "predict"
    LABEL = "label"
    APPROVE = "approve"
    ADMIN = "admin"


VARIABLES = {role: f"MLOPS_{role.upper()}_KEYS" for role in Role}


@dataclass(frozen=True)
class Keys:
    """The roles of each key and the person it belongs to, by its SHA-256. The keys themselves are not stored."""

    roles: Mapping[bytes, frozenset[Role]] = field(default_factory=dict)
    people: Mapping[bytes, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.roles)

    def roles_of(self, key: bytes) -> frozenset[Role]:
        """Takes as long for a wrong key as for a right one, because every digest is compared, in constant time."""
        digest = hashlib.sha256(key).digest()
        matching: frozenset[Role] = frozenset()
        for digest_of_key, roles in self.roles.items():
            if hmac.compare_digest(digest_of_key, digest):
                matching = roles
        return matching

    def person_of(self, key: bytes) -> str:
        """The person whose key it is, who signs approvals with it; empty if it has no name."""
        return self.people.get(hashlib.sha256(key).digest(), "")


def keys_from(environment: Mapping[str, str]) -> Keys:
    """Reads lists of keys, separated by commas, from MLOPS_PREDICT_KEYS, MLOPS_LABEL_KEYS, MLOPS_APPROVE_KEYS and
    MLOPS_ADMIN_KEYS. A key in two lists has both roles. Those that approve are written name:key, because an approval is
    signed with the name.

    Raises DeclarationError: a key is so short that it could be guessed, or one that approves has no name."""
    roles: dict[bytes, frozenset[Role]] = {}
    people: dict[bytes, str] = {}
    for role, variable in VARIABLES.items():
        for key in filter(None, map(str.strip, environment.get(variable, "").split(","))):
            person = ""
            if role is Role.APPROVE:
                person, _, key = key.partition(":")
                if not PERSON.fullmatch(person) or not key:
                    raise DeclarationError(
                        f"{variable} holds a key without a name. Write each as name:key, as in ana:$(openssl rand -hex 24); "
                        "an approval is signed with that name."
                    )
            if len(key) < SHORTEST_KEY:
                raise DeclarationError(
                    f"{variable} holds a key of {len(key)} characters. Give at least {SHORTEST_KEY}; "
                    "`openssl rand -hex 24` makes one."
                )
            digest = hashlib.sha256(key.encode()).digest()
            roles[digest] = roles.get(digest, frozenset()) | {role}
            if person and people.setdefault(digest, person) != person:
                raise DeclarationError(
                    f"{variable} gives {people[digest]} and {person} the same key. Make one for each of them."
                )
    return Keys(roles, people)


@dataclass(frozen=True)
class Caller:
    """The sender of a request. name: the digest of the key, empty if none was sent. person: the owner of a key that may approve."""

    roles: frozenset[Role]
    name: str = ""
    person: str = ""


EVERYBODY = Caller(frozenset(Role))  # on a server that needs no keys
NOBODY = Caller(frozenset())  # sent no key, to a route that needs none


class Access:
    """Identifies the sender of a request."""

    def __init__(self, keys: Keys, *, is_open: bool) -> None:
        self._keys = keys
        self._is_open = is_open

    def caller(self, authorization: bytes, api_key: bytes, *, needs_key: bool = True) -> Caller:
        """needs_key: False for a path that is open to all.

        Raises Unauthenticated: a key is needed, and none or an unknown one was sent."""
        if self._is_open:
            return EVERYBODY
        scheme, _, token = authorization.partition(b" ")
        key = api_key.strip() or (token.strip() if scheme.lower() == b"bearer" else b"")
        roles = self._keys.roles_of(key) if key else frozenset()
        if roles:
            return Caller(roles, hashlib.sha256(key).hexdigest(), self._keys.person_of(key))
        if not needs_key:
            return NOBODY
        if not key:
            raise Unauthenticated(_NO_KEY_SENT)
        raise Unauthenticated("the key is unknown. Ask the operator of this server for one.")


def permit(caller: Caller, handler: BaseRouteHandler, method: str) -> None:
    """Decides by the matched route, however its path was spelt.

    Raises Unauthenticated: the route needs a key. Raises Forbidden: it needs another role, or declares none."""
    needed = handler.opt.get(NEEDS)
    if needed is None and method == "OPTIONS":
        needed = ANY_KEY  # Litestar makes these routes itself, and they only list the methods of a path
    if needed == NO_KEY:
        return
    if not caller.roles:
        raise Unauthenticated(_NO_KEY_SENT)
    if needed == ANY_KEY:
        return
    if not isinstance(needed, Role):
        raise Forbidden("this route declares no role, so nobody may use it. Report this to its owner.")
    if needed not in caller.roles and Role.ADMIN not in caller.roles:
        raise Forbidden(
            f"this needs a key with the role {needed!s}, and this one has {', '.join(sorted(caller.roles))}. "
            f"It is given in {VARIABLES[needed]}."
        )


def open_paths(app: Litestar) -> frozenset[str]:
    """The paths whose routes need no key. Only these exact spellings are answered without one."""
    needs = {
        route.path: {handler.opt.get(NEEDS) for handler in route.route_handlers if handler.http_methods != {"OPTIONS"}}
        for route in app.routes
        if isinstance(route, HTTPRoute)
    }
    return frozenset(path for path, needed in needs.items() if needed == {NO_KEY})
