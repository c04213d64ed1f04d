"""Limits of a worker: bytes of a body, time for it to arrive, requests at once, requests a second."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlops_assets.errors import DeclarationError
from mlops_assets.variables import number, whole_number
from serving.errors import BodyTooLarge, Overloaded, TooManyRequests

MOST_CLIENTS = 10_000  # clients with a rate; the one whose last request is oldest is dropped first


@dataclass(frozen=True)
class Limits:
    """The limits of one worker process.

    body_bytes: MLOPS_MAX_BODY_MB. body_seconds: MLOPS_BODY_SECONDS. concurrency: MLOPS_MAX_CONCURRENCY.
    rate: MLOPS_RATE_PER_SECOND, per key, or per address where no key is sent; a burst may have the requests of two seconds;
    0: no limit. buffered_bytes: MLOPS_MAX_BUFFERED_MB, of all bodies that are arriving or being answered.
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
                "MLOPS_MAX_BODY_MB, MLOPS_BODY_SECONDS, MLOPS_MAX_CONCURRENCY and MLOPS_MAX_BUFFERED_MB must be above 0, and "
                f"MLOPS_RATE_PER_SECOND must not be negative: {self}."
            )


def limits_from(environment: Mapping[str, str]) -> Limits:
    """Raises DeclarationError: a variable is not a number, or not a possible limit."""
    return Limits(
        int(number(environment, "MLOPS_MAX_BODY_MB", 32) * 2**20),
        number(environment, "MLOPS_BODY_SECONDS", Limits.body_seconds),
        whole_number(environment, "MLOPS_MAX_CONCURRENCY", Limits.concurrency),
        number(environment, "MLOPS_RATE_PER_SECOND", Limits.rate),
        int(number(environment, "MLOPS_MAX_BUFFERED_MB", 256) * 2**20),
    )


class Rate:
    """One token bucket per client, filled with `rate` tokens a second, up to the tokens of two seconds."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = max(1.0, 2 * rate)
        self._now = now
        self._buckets: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()  # client: tokens, when

    def take(self, client: bytes | str) -> None:
        """Raises TooManyRequests, with the seconds to wait."""
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
                f"this client sends more than {self._rate:g} requests a second. Send fewer, with several rows in each.",
                max(1, math.ceil((1 - tokens) / self._rate)),
            )


class Load:
    """The requests that this worker is answering, and the bytes of the bodies that it holds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0

    def enter(self) -> None:
        """Counts a request; the caller ends it with `self.requests -= 1`. Raises Overloaded at once, because a queue would delay
        every request."""
        if self.requests >= self._limits.concurrency:
            raise Overloaded(
                f"{self.requests} requests are in flight, and this worker accepts no more. Try again in a second."
            )
        self.requests += 1

    def expect(self, declared: int) -> None:
        """Raises BodyTooLarge: the declared length is above the limit."""
        if declared > self._limits.body_bytes:
            raise BodyTooLarge(
                f"the body has more than {self._limits.body_bytes:,} bytes. Send it in several requests."
            )

    def hold(self, size: int, more: int) -> None:
        """Count `more` bytes of a body of which `size` bytes are buffered already. Raises BodyTooLarge or Overloaded."""
        self.expect(size + more)
        if self.bytes + more > self._limits.buffered_bytes:
            raise Overloaded("the bodies of other requests fill the memory for bodies. Try again in a second.")
        self.bytes += more
