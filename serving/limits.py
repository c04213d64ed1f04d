"""How much a worker accepts: bytes of a body, time for it to arrive, requests at once, requests a second."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlops_assets.errors import DeclarationError
from mlops_assets.variables import number, whole_number
from serving.errors import BodyTooLarge, Overloaded, TooManyRequests

MOST_CLIENTS = 10_000  # that are remembered; the one that was quiet for longest is forgotten first


@dataclass(frozen=True)
class Limits:
    """The limits of one worker process.

    body_bytes: MLOPS_MAX_BODY_MB. body_seconds: MLOPS_BODY_SECONDS. concurrency: MLOPS_MAX_CONCURRENCY.
    rate: MLOPS_RATE_PER_SECOND, per key, or per address where no key is sent; a burst may hold two seconds' worth, and 0 is no
    limit. buffered_bytes: MLOPS_MAX_BUFFERED_MB, of all bodies that are arriving or being answered.
    """

    body_bytes: int = 32 * 2**20
    body_seconds: float = 20.0
    concurrency: int = 256
    rate: float = 0.0
    buffered_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        lowest = min(self.body_bytes, self.body_seconds, self.concurrency, self.buffered_bytes)
        if lowest <= 0 or not math.isfinite(self.rate) or self.rate < 0:
            raise DeclarationError(
                "MLOPS_MAX_BODY_MB, MLOPS_BODY_SECONDS, MLOPS_MAX_CONCURRENCY and MLOPS_MAX_BUFFERED_MB are above 0, "
                f"MLOPS_RATE_PER_SECOND is not below 0: {self}."
            )


def limits_from(environment: Mapping[str, str]) -> Limits:
    """Raises DeclarationError: a variable is no number, or no possible limit."""
    return Limits(
        int(number(environment, "MLOPS_MAX_BODY_MB", 32) * 2**20),
        number(environment, "MLOPS_BODY_SECONDS", Limits.body_seconds),
        whole_number(environment, "MLOPS_MAX_CONCURRENCY", Limits.concurrency),
        number(environment, "MLOPS_RATE_PER_SECOND", Limits.rate),
        int(number(environment, "MLOPS_MAX_BUFFERED_MB", 256) * 2**20),
    )


class Rate:
    """One token bucket per client, filled with `rate` tokens a second. It holds those of two seconds."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = max(1.0, 2 * rate)
        self._now = now
        self._buckets: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()  # client: tokens, when

    def take(self, client: bytes | str) -> None:
        """Raises TooManyRequests, with how many seconds to wait."""
        if not self._rate:
            return
        now = self._now()
        tokens, before = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._rate)
        self._buckets[client] = (max(tokens - 1, 0) if tokens >= 1 else tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            raise TooManyRequests(
                f"more than {self._rate:g} requests a second. Send them slower, or several rows in one request.",
                max(1, math.ceil((1 - tokens) / self._rate)),
            )


class Load:
    """The requests that this worker is answering, and the bytes of the bodies that it holds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0

    def enter(self) -> None:
        """Counts a request; whoever enters leaves by `self.requests -= 1`. Raises Overloaded at once, because a queue would make
        everybody wait."""
        if self.requests >= self._limits.concurrency:
            raise Overloaded(
                f"{self.requests} requests are in flight, and this worker takes no more. Try again in a second."
            )
        self.requests += 1

    def expect(self, declared: int) -> None:
        """Raises BodyTooLarge: the body declares more bytes than a body may have."""
        if declared > self._limits.body_bytes:
            raise BodyTooLarge(
                f"the body has more than {self._limits.body_bytes:,} bytes. Send it in several requests."
            )

    def hold(self, size: int, more: int) -> None:
        """Count `more` bytes of a body that holds `size` already. Raises BodyTooLarge or Overloaded."""
        self.expect(size + more)
        if self.bytes + more > self._limits.buffered_bytes:
            raise Overloaded("the bodies of other requests fill the memory there is for them. Try again in a second.")
        self.bytes += more
