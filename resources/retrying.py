"""Repeats a step that failed for an external reason: a store that does not answer, a disk that is full for a moment."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from random import uniform

import dagster as dg

from mlops_assets.errors import PlatformError

# after a longer outage the sensors repeat the run, as the product's `Retries` say
WAITS_SECONDS = (1.0, 2.0, 4.0)
# qualified names, so that no library is imported only to name its errors
TRANSIENT = frozenset(
    {
        "builtins.OSError",
        "httpx.TransportError",
        "mlflow.exceptions.MlflowException",
        "obstore.exceptions.BaseError",
        "psycopg.OperationalError",
        "redis.exceptions.RedisError",
        "sqlalchemy.exc.OperationalError",
        "sqlite3.OperationalError",
    }
)


def retrying(compute: Callable[..., object], waits: Sequence[float] = WAITS_SECONDS) -> Callable[..., object]:
    """The compute function of an asset, wrapped so that Dagster repeats the step after a transient error.

    compute: its first argument is the context. waits: seconds before each repetition. Every other error fails the step at
    once, unchanged: a `RetryPolicy` would also repeat a failed gate or a broken contract."""
    if inspect.isgeneratorfunction(compute):

        @functools.wraps(compute)
        def yielded(context: dg.AssetExecutionContext, *args: object, **named: object) -> Iterator[object]:
            try:
                yield from compute(context, *args, **named)
            except Exception as error:
                if not is_transient(error):
                    raise
                raise _retry(context, error, waits) from error

        return yielded

    @functools.wraps(compute)
    def returned(context: dg.AssetExecutionContext, *args: object, **named: object) -> object:
        try:
            return compute(context, *args, **named)
        except Exception as error:
            if not is_transient(error):
                raise
            raise _retry(context, error, waits) from error

    return returned


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, PlatformError):
        return error.is_transient
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return not TRANSIENT.isdisjoint(names)


def _retry(context: dg.AssetExecutionContext, error: Exception, waits: Sequence[float]) -> dg.RetryRequested:
    wait = waits[min(context.retry_number, len(waits) - 1)] * uniform(0.8, 1.2)
    context.log.warning(f"{type(error).__name__}: {error} The step is repeated in {wait:.0f} s.")
    return dg.RetryRequested(max_retries=len(waits), seconds_to_wait=wait)
