"""Problems (RFC 9457) from errors; the only place where HTTP status codes are chosen.

PlatformError
├── Refused                  the request asks for something this API does not answer
│   ├── MalformedRequest     no HTTP/1.1 request as RFC 9112 has it         400
│   ├── MalformedBody        no JSON object with rows                       400
│   ├── Unauthenticated      no key, or one that is not known               401
│   ├── Forbidden            a key without the role that the route asks for 403
│   ├── CrossSite            a page of another site sent it without asking  403
│   ├── UnknownHost          a name that is none of this server's           421
│   ├── SlowHeaders          the headers did not arrive in time             408
│   ├── SlowBody             the body did not arrive in time                408
│   ├── BodyTooLarge         more bytes than any route takes                413
│   ├── TooManyRows          more rows than the product takes at once       413
│   ├── UnsupportedBody      not JSON, or compressed                        415
│   ├── NotExplainable       the version was made without a typical row     409
│   ├── InvalidRows          rows, fields, what is wrong with each          422
│   ├── TooManyRequests      above the rate of this key or address          429
│   ├── HeadersTooLarge      more bytes of headers than any request needs   431
│   └── Overloaded           as many requests or rows wait as may           503
├── NotServing               a champion is deployed but not (yet) open      503
├── OnlineStoreDown          and the product would rather not answer        503
├── NotLogged                the answer could not be written down           503
├── NotKept                  labels could not be written down               503
├── UnknownVersion           no such version of the product was deployed    404
└── UnusableScore            the model answered a row with no number        500
"""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException, ValidationException

from mlops_assets.errors import ApprovalRefused, NoChampion, PlatformError, UnknownProduct
from serving.error_shapes import Fault, Refusal, ShapedResponse, Shapes

_log = logging.getLogger(__name__)


class Refused(PlatformError):
    """The request asks for something this API does not answer."""

    def __init__(self, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        self.faults = faults
        super().__init__(detail)


class MalformedRequest(Refused):
    """No HTTP/1.1 request as RFC 9112 has it."""


class MalformedBody(Refused):
    """No JSON object with rows."""


class Unauthenticated(Refused):
    """No key, or one that is not known."""


class Forbidden(Refused):
    """A key without the role that the route asks for."""


class CrossSite(Refused):
    """A page of another site sent it without asking."""


class UnknownHost(Refused):
    """A name that is none of this server's."""


class SlowHeaders(Refused):
    """The headers did not arrive in time."""


class SlowBody(Refused):
    """The body did not arrive in time."""


class BodyTooLarge(Refused):
    """More bytes than any route takes."""


class TooManyRows(Refused):
    """More rows than the product takes at once."""


class UnsupportedBody(Refused):
    """Not JSON, or compressed."""


class InvalidRows(Refused):
    """Rows that do not fit the product's declaration."""


class NotExplainable(Refused):
    """The version was made without a typical row to compare with."""


class HeadersTooLarge(Refused):
    """More bytes of headers than any request needs."""


class TooManyRequests(Refused):
    """Above the rate of this key or address."""

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(detail)


class Overloaded(Refused):
    """As many requests or rows wait for an answer as this worker may hold."""


class NotServing(PlatformError):
    """A champion is deployed, but it is not open (yet)."""


class OnlineStoreDown(PlatformError):
    """The online store cannot be read, and the product would rather not answer without it."""


class NotLogged(PlatformError):
    """The prediction log cannot be written, and the product would rather not answer without it."""


class NotKept(PlatformError):
    """Labels could not be written down."""


class UnknownVersion(PlatformError):
    """No such version of the product was ever deployed."""


class UnusableScore(PlatformError):
    """The model answered a row with NaN or infinity."""


_PROBLEMS: dict[type[PlatformError], tuple[HTTPStatus, str]] = {
    UnknownProduct: (HTTPStatus.NOT_FOUND, "unknown-product"),
    ApprovalRefused: (HTTPStatus.CONFLICT, "approval-refused"),
    NoChampion: (HTTPStatus.SERVICE_UNAVAILABLE, "no-champion"),
    NotServing: (HTTPStatus.SERVICE_UNAVAILABLE, "not-serving"),
    OnlineStoreDown: (HTTPStatus.SERVICE_UNAVAILABLE, "online-store-down"),
    NotLogged: (HTTPStatus.SERVICE_UNAVAILABLE, "not-logged"),
    NotKept: (HTTPStatus.SERVICE_UNAVAILABLE, "not-kept"),
    UnknownVersion: (HTTPStatus.NOT_FOUND, "unknown-version"),
    MalformedRequest: (HTTPStatus.BAD_REQUEST, "malformed-request"),
    MalformedBody: (HTTPStatus.BAD_REQUEST, "malformed-body"),
    Unauthenticated: (HTTPStatus.UNAUTHORIZED, "unauthenticated"),
    Forbidden: (HTTPStatus.FORBIDDEN, "forbidden"),
    CrossSite: (HTTPStatus.FORBIDDEN, "cross-site"),
    UnknownHost: (HTTPStatus.MISDIRECTED_REQUEST, "unknown-host"),
    SlowHeaders: (HTTPStatus.REQUEST_TIMEOUT, "slow-headers"),
    SlowBody: (HTTPStatus.REQUEST_TIMEOUT, "slow-body"),
    BodyTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large"),
    TooManyRows: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-rows"),
    UnsupportedBody: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-body"),
    NotExplainable: (HTTPStatus.CONFLICT, "not-explainable"),
    InvalidRows: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-rows"),
    TooManyRequests: (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests"),
    HeadersTooLarge: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large"),
    Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
    UnusableScore: (HTTPStatus.INTERNAL_SERVER_ERROR, "unusable-score"),
}


def handlers(shapes: Shapes) -> dict[int | type[Exception], Any]:
    """What Litestar calls for each error; every answer has the shape that the clients of its path know."""

    def from_platform_error(request: Request[Any, Any, Any], error: PlatformError) -> ShapedResponse:
        return shapes.respond(request.url.path, refusal_of(request.method, request.url.path, error))

    def from_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> ShapedResponse:
        return shapes.respond(request.url.path, _refused_by_litestar(request.method, request.url.path, error))

    def from_bug(request: Request[Any, Any, Any], error: Exception) -> ShapedResponse:
        return shapes.respond(request.url.path, bug(request.method, request.url.path, error))

    return {PlatformError: from_platform_error, HTTPException: from_http_exception, Exception: from_bug}


def refusal_of(method: str, path: str, error: PlatformError) -> Refusal:
    status, name = _PROBLEMS.get(type(error), (HTTPStatus.INTERNAL_SERVER_ERROR, "platform-error"))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s %s: %s: %s", method, path, type(error).__name__, error)
    faults = error.faults if isinstance(error, Refused) else ()
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["retry-after"] = str(error.retry_after_seconds)
    elif isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return refusal(name, status, str(error), faults, headers)


def bug(method: str, path: str, error: Exception) -> Refusal:
    """Nothing that was foreseen: the log has the trace, the client learns that it is not its fault."""
    _log.error("%s %s failed", method, path, exc_info=error)
    return refusal(
        "internal-server-error",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the API failed on this request; its log has the trace. Trying again may help.",
    )


def refusal(
    name: str,
    status: HTTPStatus,
    detail: str,
    faults: tuple[Fault, ...] = (),
    headers: dict[str, str] | None = None,
) -> Refusal:
    headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    return Refusal(f"urn:mlops-assets:problem:{name}", name.replace("-", " "), status, detail, faults, headers)


def ready_status(is_ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE


def _refused_by_litestar(method: str, path: str, error: HTTPException) -> Refusal:
    """What Litestar itself refuses: unknown paths, wrong methods, bodies above the limit, query parameters."""
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: f"nothing is at {path}. The models are listed at /v1/models, the routes at /schema.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{method} is not for {path}. The routes are shown at /schema.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than this route takes. Send it in several requests.",
    }
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        return refusal("invalid-request", status, "; ".join(map(_parameter_fault, error.extra)))
    name = status.phrase.lower().replace(" ", "-")
    return refusal(name, status, details.get(status, error.detail or status.phrase), headers=error.headers)


def _parameter_fault(fault: dict[str, Any]) -> str:
    # the body is the one parameter that is only ever missing: what is in it, we read ourselves
    empty_body = 'the body is empty. Send {"rows": [{...}, ...]}.'
    return empty_body if fault.get("key") == "data" else f"{fault.get('key')}: {fault.get('message')}"
