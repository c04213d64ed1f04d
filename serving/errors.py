"""Problem documents (RFC 9457); the only place where HTTP status codes are chosen.

PlatformError
├── Refused                  the request asks for something this API does not answer
│   ├── MalformedBody        no JSON object with rows                       400
│   ├── TooManyRows          more rows than the product takes at once       413
│   ├── UnsupportedBody      not JSON, or compressed                        415
│   └── InvalidRows          rows, fields, what is wrong with each          422
├── NotServing               a champion is deployed but not (yet) open      503
├── Overloaded               more rows wait than this worker may hold       503
├── OnlineStoreDown          and the product would rather not answer        503
├── NotLogged                the answer could not be written down           503
├── UnknownVersion           no such version of the product was deployed    404
└── UnusableScore            the model answered a row with no number        500
"""

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from mlops_assets.errors import NoChampion, PlatformError, UnknownProduct

PROBLEM_JSON = "application/problem+json"
_log = logging.getLogger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which row (counted from 0), in which field, and what would be right."""

    row: int | None
    field: str | None
    problem: str
    choices: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


class Refused(PlatformError):
    """The request asks for something this API does not answer."""

    def __init__(self, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        self.faults = faults
        super().__init__(detail)


class MalformedBody(Refused):
    """No JSON object with rows."""


class TooManyRows(Refused):
    """More rows than the product takes at once."""


class UnsupportedBody(Refused):
    """Not JSON, or compressed."""


class InvalidRows(Refused):
    """Rows that do not fit the product's declaration."""


class NotServing(PlatformError):
    """A champion is deployed, but it is not open (yet)."""


class Overloaded(PlatformError):
    """More rows wait for an answer than this worker may hold."""


class OnlineStoreDown(PlatformError):
    """The online store cannot be read, and the product would rather not answer without it."""


class NotLogged(PlatformError):
    """The prediction log cannot be written, and the product would rather not answer without it."""


class UnknownVersion(PlatformError):
    """No such version of the product was ever deployed."""


class UnusableScore(PlatformError):
    """The model answered a row with NaN or infinity."""


_PROBLEMS: dict[type[PlatformError], tuple[HTTPStatus, str]] = {
    UnknownProduct: (HTTPStatus.NOT_FOUND, "unknown-product"),
    NoChampion: (HTTPStatus.SERVICE_UNAVAILABLE, "no-champion"),
    NotServing: (HTTPStatus.SERVICE_UNAVAILABLE, "not-serving"),
    Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
    OnlineStoreDown: (HTTPStatus.SERVICE_UNAVAILABLE, "online-store-down"),
    NotLogged: (HTTPStatus.SERVICE_UNAVAILABLE, "not-logged"),
    UnknownVersion: (HTTPStatus.NOT_FOUND, "unknown-version"),
    MalformedBody: (HTTPStatus.BAD_REQUEST, "malformed-body"),
    TooManyRows: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-rows"),
    UnsupportedBody: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-body"),
    InvalidRows: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-rows"),
    UnusableScore: (HTTPStatus.INTERNAL_SERVER_ERROR, "unusable-score"),
}


def from_platform_error(request: Request[Any, Any, Any], error: PlatformError) -> Response[Problem]:
    status, name = _PROBLEMS.get(type(error), (HTTPStatus.INTERNAL_SERVER_ERROR, "platform-error"))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
        _log.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
    faults = error.faults if isinstance(error, Refused) else ()
    return _respond(name, status, str(error), faults)


def from_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """What Litestar itself refuses: unknown paths, wrong methods, bodies above the limit, query parameters."""
    status, path = HTTPStatus(error.status_code), request.url.path
    details = {
        HTTPStatus.NOT_FOUND: f"nothing is at {path}. The models are listed at /v1/models, the routes at /schema.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not for {path}. The routes are shown at /schema.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than this route takes. Send it in several requests.",
    }
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        return _respond("invalid-request", status, "; ".join(map(_parameter_fault, error.extra)))
    name = status.phrase.lower().replace(" ", "-")
    return _respond(name, status, details.get(status, error.detail or status.phrase), headers=error.headers)


def _parameter_fault(fault: dict[str, Any]) -> str:
    # the body is the one parameter that is only ever missing: what is in it, we read ourselves
    empty_body = 'the body is empty. Send {"rows": [{...}, ...]}.'
    return empty_body if fault.get("key") == "data" else f"{fault.get('key')}: {fault.get('message')}"


def from_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Nothing that was foreseen: the log has the trace, the client learns that it is not its fault."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _respond(
        "internal-server-error",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the API failed on this request; its log has the trace. Trying again may help.",
    )


def ready_status(is_ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE


def _respond(
    name: str,
    status: HTTPStatus,
    detail: str,
    faults: tuple[Fault, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    problem = Problem(f"urn:mlops-assets:problem:{name}", name.replace("-", " "), status, detail, faults)
    headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(problem, status_code=status, media_type=PROBLEM_JSON, headers=headers)
