"""Micro-batching: what the requests of one turn of the event loop have in common is done once for all of them.

No timer: a request that is alone is answered in the same turn. The queue is bounded by rows, and a batch by what an event
loop may be held up for; requests of many rows are scored in a thread, one batch each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from serving.errors import Overloaded

INLINE_ROWS = 64  # more rows than this in one request are scored in a thread, so that the event loop stays free
BATCH_ROWS = 256  # and so many of several requests on the loop before it turns again
THREADS = 2  # more of them would only share the interpreter
MOST_WAITING_ROWS = 50_000


class Call(Protocol):
    """A request that waits, on the event loop that it came by."""

    rows: Sequence[object]
    loop: asyncio.AbstractEventLoop

    def fail(self, error: Exception) -> None: ...


C = TypeVar("C", bound=Call)


class Batcher(Generic[C]):
    """Collects calls and hands them, together, to `answer`, which ends each of them: on the loop, or in a thread."""

    def __init__(self, answer: Callable[[Sequence[C]], None], *, most_waiting_rows: int = MOST_WAITING_ROWS) -> None:
        self._answered_by = answer
        self._most_waiting_rows = most_waiting_rows
        self._waiting: deque[C] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._is_due = False
        self.waiting_rows = 0

    def put(self, call: C) -> None:
        """Raises Overloaded: so many rows wait already."""
        rows = len(call.rows)
        if self.waiting_rows and self.waiting_rows + rows > self._most_waiting_rows:
            raise Overloaded(
                f"{self.waiting_rows:,} rows wait for their answers, and this worker holds {self._most_waiting_rows:,}. "
                "Try again in a moment, or start more workers."
            )
        self.waiting_rows += rows
        if rows > INLINE_ROWS:
            self._in_thread(call)
            return
        self._waiting.append(call)
        if not self._is_due:
            self._is_due = True
            call.loop.call_soon(self._turn)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _turn(self) -> None:
        calls: list[C] = []
        rows = 0
        while self._waiting and (not calls or rows + len(self._waiting[0].rows) <= BATCH_ROWS):
            call = self._waiting.popleft()
            calls.append(call)
            rows += len(call.rows)
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._waiting[0].loop.call_soon(self._turn)
        self.waiting_rows -= rows
        self.answer(calls)

    def _in_thread(self, call: C) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="scoring")

        def left_queue(_: object) -> None:
            self.waiting_rows -= len(call.rows)

        call.loop.run_in_executor(self._pool, self.answer, [call]).add_done_callback(left_queue)

    def answer(self, calls: list[C]) -> None:
        """Now. An error is the answer of all of them."""
        try:
            self._answered_by(calls)
        except Exception as error:  # noqa: BLE001 (whatever it is, nobody may wait for ever)
            for call in calls:
                call.fail(error)
