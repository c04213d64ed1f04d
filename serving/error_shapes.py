"""How a problem is written down: RFC 9457 on the native routes, each protocol's own way on its routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from litestar import Response

PROBLEM_JSON = "application/problem+json"


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which row (counted from 0), in which field, and what would be right."""

    row: int | None
    field: str | None
    problem: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a request was not answered. headers: what the answer says beside it, such as when to try again."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Problem(msgspec.Struct, frozen=True):
    """A problem document as RFC 9457 has it; `errors` names every fault of the rows."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Shaped:
    """A problem in the words of one protocol. content: what becomes JSON."""

    content: Any
    status: int
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Shape = Callable[[Refusal], Shaped]
ShapedResponse = Response[Any]


def native(problem: Refusal) -> Shaped:
    document = Problem(problem.type, problem.title, problem.status, problem.detail, problem.errors)
    return Shaped(document, problem.status, PROBLEM_JSON)


class Shapes:
    """Which paths belong to which protocol: a path, or everything below it."""

    def __init__(self, by_path: Mapping[str, Shape]) -> None:
        self._by_path = dict(by_path)

    def shaped(self, path: str, problem: Refusal) -> Shaped:
        shape = next(
            (shape for place, shape in self._by_path.items() if path == place or path.startswith(f"{place}/")), native
        )
        shaped = shape(problem)
        return replace(shaped, headers={**problem.headers, **shaped.headers})

    def respond(self, path: str, problem: Refusal) -> ShapedResponse:
        shaped = self.shaped(path, problem)
        return Response(
            shaped.content, status_code=shaped.status, media_type=shaped.media_type, headers=dict(shaped.headers)
        )
