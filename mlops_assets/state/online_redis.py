"""Online store on Redis: one hash per view; a script compares and replaces in one step on the server."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mlops_assets.addresses import reason, shown
from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.state.online_backend import StoredValue
from mlops_assets.state.online_outage import READ_SECONDS

_CLOCKS = struct.Struct(">qq")  # event, created; the content follows
_BATCH = 1_000
# microseconds since 1970 stay below 2**53, so Lua's numbers represent them exactly
_UPSERT = """
local changed = 0
local newest = tonumber(redis.call('GET', KEYS[2]) or '-9e15')
for i = 1, #ARGV, 4 do
  local event, created = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  local is_newer = true
  if stored then
    local stored_event, stored_created = struct.unpack('>l>l', stored)
    is_newer = event > stored_event or (event == stored_event and created > stored_created)
  end
  if is_newer then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 3])
    changed = changed + 1
    if event > newest then newest = event; redis.call('SET', KEYS[2], ARGV[i + 1]) end
  end
end
return changed
"""


class RedisBackend:
    """Raises DeclarationError: the address cannot be used."""

    def __init__(self, url: str) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._url = url
        # a connection that the server closed (a restart) is opened anew, once; a server that is silent is not asked twice
        once_more: Any = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=READ_SECONDS, socket_connect_timeout=READ_SECONDS, retry=once_more
            )
            self._client.connection_pool.make_connection()  # which does not connect, and takes only known parameters
        except (ValueError, TypeError) as error:
            raise DeclarationError(
                f"the address {shown(url)} of the online store cannot be used: {reason(error, url)}. Write it as "
                "redis://:password@host:6379/0."
            ) from None
        self._upsert = self._client.register_script(_UPSERT)

    def upsert(self, product: str, view: str, rows: Mapping[str, StoredValue]) -> int:
        changed, items = 0, iter(rows.items())
        with self._reachable():
            while batch := list(islice(items, _BATCH)):
                arguments = [
                    part
                    for key, value in batch
                    for part in (
                        key,
                        value.event,
                        value.created,
                        _CLOCKS.pack(value.event, value.created) + value.content,
                    )
                ]
                changed += int(self._upsert(keys=_keys(product, view), args=arguments))
        return changed

    def fetch(self, product: str, keys: Sequence[tuple[str, str]]) -> list[StoredValue | None]:
        by_view: dict[str, list[int]] = {}
        for number, (view, _) in enumerate(keys):
            by_view.setdefault(view, []).append(number)
        with self._reachable(), self._client.pipeline(transaction=False) as pipeline:
            for view, numbers in by_view.items():
                pipeline.hmget(_keys(product, view)[0], [keys[number][1] for number in numbers])
            answers = pipeline.execute()
        values: list[StoredValue | None] = [None] * len(keys)
        for numbers, answer in zip(by_view.values(), answers, strict=True):
            for number, packed in zip(numbers, answer, strict=True):
                if packed is not None:
                    event, created = _CLOCKS.unpack_from(packed)
                    values[number] = StoredValue(event, created, packed[_CLOCKS.size :])
        return values

    def newest(self, product: str, view: str) -> int | None:
        with self._reachable():
            newest = self._client.get(_keys(product, view)[1])
        return None if newest is None else int(newest)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise StoreError(
                f"the online store on Redis at {shown(self._url)} cannot be used: {reason(error, self._url)}. Check that "
                "it is up."
            ) from None


def _keys(product: str, view: str) -> list[str]:
    """The keys of the values and of the newest event. The braces put both on the same node of a cluster."""
    return [f"mlops:{{{product}:{view}}}", f"mlops:{{{product}:{view}}}:newest"]
