"""Micro-batching: requests that arrive in one iteration of the event loop are scored as one batch.

There is no timer: a single request is answered in the same iteration. The number of waiting rows is bounded, and so is the
size of a batch, as it blocks the event loop. A request with many rows is scored in a thread, in a batch of its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from serving.errors import Overloaded

INLINE_ROWS = 64  # a request with more rows is scored in a thread, so that the event loop stays free
BATCH_ROWS = 256  # rows of several requests that are scored at once on the event loop
THREADS = 2  # more would only compete for the interpreter
MOST_WAITING_ROWS = 50_000


class Call(Protocol):
    """A request that waits, on the event loop that received it."""

    rows: Sequence[object]
    loop: asyncio.AbstractEventLoop


C = TypeVar("C", bound=Call)


class Batcher(Generic[C]):
    """Collects calls into batches. `answer` ends every call of a batch and raises nothing; it runs on the loop or in a thread."""

    def __init__(self, answer: Callable[[list[C]], None], *, most_waiting_rows: int = MOST_WAITING_ROWS) -> None:
        self._answer = answer
        self._most_waiting_rows = most_waiting_rows
        self._waiting: deque[C] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._is_scheduled = False
        self.waiting_rows = 0

    def put(self, call: C) -> None:
        """Raises Overloaded: too many rows wait already."""
        rows = len(call.rows)
        if self.waiting_rows and self.waiting_rows + rows > self._most_waiting_rows:
            raise Overloaded(
                f"{self.waiting_rows:,} rows wait for their answers, and this worker holds {self._most_waiting_rows:,}. "
                "Try again in a moment, or start more workers."
            )
        self.waiting_rows += rows
        if rows > INLINE_ROWS:
            self._answer_in_thread(call)
            return
        self._waiting.append(call)
        if not self._is_scheduled:
            self._is_scheduled = True
            call.loop.call_soon(self._answer_next_batch)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _answer_next_batch(self) -> None:
        calls: list[C] = []
        rows = 0
        while self._waiting and (not calls or rows + len(self._waiting[0].rows) <= BATCH_ROWS):
            call = self._waiting.popleft()
            calls.append(call)
            rows += len(call.rows)
        self._is_scheduled = bool(self._waiting)
        if self._is_scheduled:
            self._waiting[0].loop.call_soon(self._answer_next_batch)
        self.waiting_rows -= rows
        self._answer(calls)

    def _answer_in_thread(self, call: C) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="scoring")

        def leave_queue(_: object) -> None:
            self.waiting_rows -= len(call.rows)

        call.loop.run_in_executor(self._pool, self._answer, [call]).add_done_callback(leave_queue)
