"""Where a product is declared: the file and the line that its user wrote."""

import dataclasses
import inspect
from dataclasses import dataclass

# a dataclass calls `__post_init__` from an `__init__` that it compiled from a string
OF_DATACLASSES = ("<string>", dataclasses.__file__)


@dataclass(frozen=True)
class Place:
    file: str
    line: int


def declared_at(*skipped_files: str) -> Place:
    """The place of the innermost call on the stack that is in none of: this file, dataclasses, the skipped files."""
    skipped = (__file__, *OF_DATACLASSES, *skipped_files)
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename in skipped:
        frame = frame.f_back
    return Place("", 0) if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)
