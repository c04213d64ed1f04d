"""The reasons for which the API refuses a request. `problems.py` translates each error to HTTP."""

import msgspec

from mlops_assets.errors import PlatformError


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which row (counted from 0), in which field, and what would be right."""

    row: int | None
    field: str | None
    problem: str
    choices: tuple[str, ...] = ()


class Refused(PlatformError):
    """The API does not answer this request."""

    def __init__(self, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        self.faults = faults
        super().__init__(detail)


class MalformedRequest(Refused):
    """The bytes are not an HTTP/1.1 request as RFC 9112 defines it."""


class MalformedBody(Refused):
    """The body is not a JSON object with rows."""


class Unauthenticated(Refused):
    """The key of the request is missing or unknown."""


class Forbidden(Refused):
    """The key does not have the role that the route needs."""


class CrossSite(Refused):
    """A page of another site sent the request, of a kind that browsers send without a preflight request."""


class UnknownHost(Refused):
    """The request names a host that is not this server."""


class SlowHeaders(Refused):
    """The headers did not arrive in time."""


class SlowBody(Refused):
    """The body did not arrive in time."""


class BodyTooLarge(Refused):
    """The body has more bytes than any route takes."""


class TooManyRows(Refused):
    """The request has more rows than the product takes at once."""


class UnsupportedBody(Refused):
    """The body is not JSON, or it is compressed."""


class InvalidRows(Refused):
    """The rows do not fit the product's declaration."""


class NotExplainable(Refused):
    """The version has no baseline row to compare with."""


class HeadersTooLarge(Refused):
    """The headers have more bytes than any request needs."""


class TooManyRequests(Refused):
    """The caller sends more requests a second than this server allows."""

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(detail)


class Overloaded(Refused):
    """This worker has as many requests or rows waiting as it may hold."""


class NotServing(PlatformError):
    """A champion is deployed, but it is not open."""


class OnlineStoreDown(PlatformError):
    """The online store cannot be read, and the product does not answer without it."""


class NotLogged(PlatformError):
    """The prediction log cannot be written, and the product does not answer without it."""


class NotKept(PlatformError):
    """The reported labels could not be written."""


class UnknownVersion(PlatformError):
    """This version of the product was never deployed."""


class UnusableScore(PlatformError):
    """The model answered a row with NaN or infinity."""
