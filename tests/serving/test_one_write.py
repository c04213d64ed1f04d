"""What uvicorn writes in pieces leaves in one system call, whole and in its order."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serving.one_write import OneWrite


class Recording:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def after(*steps: bytes | str) -> list[bytes | str]:
    """What a transport is told when bytes are written, the loop turns ("turn") and the connection is closed ("close")."""

    async def take() -> list[bytes | str]:
        recording: Any = Recording()
        transport = OneWrite(recording, asyncio.get_running_loop())
        for step in steps:
            if isinstance(step, bytes):
                transport.write(step)
            elif step == "turn":
                await asyncio.sleep(0)
            else:
                transport.close()
        return list(recording.told)

    return asyncio.run(take())


def test_head_and_body_are_one_write():
    assert after(b"head ", b"body") == [b"head body"]


def test_a_head_without_a_body_leaves_when_the_loop_turns():
    assert after(b"head") == []
    assert after(b"head", "turn") == [b"head"]


def test_what_is_held_leaves_before_the_connection_is_closed():
    assert after(b"head", "close", "turn") == [b"head", "closed"]


def test_an_answer_in_many_pieces_is_not_held_back():
    assert after(b"1", b"2", b"3", "turn", b"4", "turn") == [b"12", b"3", b"4"]


def test_nothing_written_is_nothing_sent():
    assert after(b"", "turn") == []


def test_all_else_is_the_transport_s_own():
    async def ask() -> str:
        return OneWrite(Recording(), asyncio.get_running_loop()).get_extra_info("peername")  # type: ignore[arg-type]

    assert asyncio.run(ask()) == "the peername"


@given(st.lists(st.one_of(st.binary(max_size=4), st.just("turn")), max_size=20))
def test_every_byte_leaves_once_and_in_its_order(steps):
    told = after(*steps, "close")

    assert told[-1] == "closed"
    assert b"".join(told[:-1]) == b"".join(step for step in steps if isinstance(step, bytes))
