"""Errors as HTTP answers: a problem document (RFC 9457) named after the error, or the error format of another protocol.

Only this file chooses HTTP status codes.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from mlops_assets.errors import ApprovalRefused, NoChampion, PlatformError, UnknownProduct
from serving import errors
from serving.errors import Fault

PROBLEM_JSON = "application/problem+json"
STATUS: dict[type[PlatformError], HTTPStatus] = {
    errors.MalformedRequest: HTTPStatus.BAD_REQUEST,
    errors.MalformedBody: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.CrossSite: HTTPStatus.FORBIDDEN,
    UnknownProduct: HTTPStatus.NOT_FOUND,
    errors.UnknownVersion: HTTPStatus.NOT_FOUND,
    errors.SlowHeaders: HTTPStatus.REQUEST_TIMEOUT,
    errors.SlowBody: HTTPStatus.REQUEST_TIMEOUT,
    ApprovalRefused: HTTPStatus.CONFLICT,
    errors.NotExplainable: HTTPStatus.CONFLICT,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooManyRows: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnknownHost: HTTPStatus.MISDIRECTED_REQUEST,
    errors.InvalidRows: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.HeadersTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnusableScore: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    NoChampion: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotServing: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OnlineStoreDown: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotLogged: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotKept: HTTPStatus.SERVICE_UNAVAILABLE,
}
_log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True):
    """A problem document as RFC 9457 defines it; `errors` names every fault of the rows."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Shaped:
    """A problem in the format of a protocol. content: the value to encode as JSON."""

    content: Any
    status: int
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Shape = Callable[[Problem], Shaped]


class Problems:
    """Answers errors in the format that the clients of a path expect. shapes: by path, for everything below it."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = dict(shapes)

    def answer(self, method: str, path: str, error: Exception) -> Shaped:
        shape = next(
            (shape for root, shape in self._shapes.items() if path == root or path.startswith(f"{root}/")), native
        )
        problem = problem_of(method, path, error)
        shaped = shape(problem)
        return replace(shaped, headers={**_headers(error, problem.status), **shaped.headers})

    @property
    def handlers(self) -> dict[int | type[Exception], Any]:
        """Litestar's exception handlers."""

        def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
            shaped = self.answer(request.method, request.url.path, error)
            return Response(
                shaped.content, status_code=shaped.status, media_type=shaped.media_type, headers=dict(shaped.headers)
            )

        return dict.fromkeys((PlatformError, HTTPException, Exception), respond)


def native(problem: Problem) -> Shaped:
    return Shaped(problem, problem.status, PROBLEM_JSON)


def problem_of(method: str, path: str, error: Exception) -> Problem:
    """The problem document; errors of this server are logged as well."""
    if isinstance(error, HTTPException):
        return _refused_by_litestar(method, path, error)
    if not isinstance(error, PlatformError):
        _log.error("%s %s failed", method, path, exc_info=error)
        return _problem(
            "internal-server-error",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "the API failed on this request; its log has the trace. Trying again may help.",
        )
    status = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s %s: %s: %s", method, path, type(error).__name__, error)
    name = re.sub("(?<!^)(?=[A-Z])", "-", type(error).__name__).lower() if type(error) in STATUS else "platform-error"
    return _problem(name, status, str(error), error.faults if isinstance(error, errors.Refused) else ())


def ready_status(is_ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE


def _problem(name: str, status: HTTPStatus, detail: str, faults: tuple[Fault, ...] = ()) -> Problem:
    return Problem(f"urn:mlops-assets:problem:{name}", name.replace("-", " "), status, detail, faults)


def _headers(error: Exception, status: int) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, errors.TooManyRequests):
        headers["retry-after"] = str(error.retry_after_seconds)
    elif isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    return headers


def _refused_by_litestar(method: str, path: str, error: HTTPException) -> Problem:
    """Litestar itself refuses unknown paths, wrong methods, bodies above the limit and wrong query parameters."""
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: f"there is no route {path}. The models are listed at /v1/models, the routes at /schema.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{path} has no {method}. The routes are listed at /schema.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than this route takes. Send it in several requests.",
    }
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        return _problem("invalid-request", status, "; ".join(map(_parameter_fault, error.extra)))
    return _problem(status.phrase.lower().replace(" ", "-"), status, details.get(status, error.detail or status.phrase))


def _parameter_fault(fault: dict[str, Any]) -> str:
    # this API decodes bodies itself, so the only fault of a body that Litestar reports is that it is missing
    empty_body = 'the body is empty. Send {"rows": [{...}, ...]}.'
    return empty_body if fault.get("key") == "data" else f"{fault.get('key')}: {fault.get('message')}"
