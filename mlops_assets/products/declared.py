"""Where a product is declared: the file and the line that its users wrote."""

import dataclasses
import inspect
from dataclasses import dataclass

# a dataclass calls `__post_init__` from an `__init__` that it compiled from a string
OF_DATACLASSES = ("<string>", dataclasses.__file__)


@dataclass(frozen=True)
class Place:
    file: str
    line: int


def declared_at(*passed_over: str) -> Place:
    """Where the call stands that led here, past this file, dataclasses and the files that are passed over."""
    inner = (__file__, *OF_DATACLASSES, *passed_over)
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename in inner:
        frame = frame.f_back
    return Place("", 0) if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)
