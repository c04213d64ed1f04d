"""New lines of a growing log that begin with a mark."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class MarkedLines:
    """Lines that are written to `log` from now on. A log that became shorter is a new one and is read from its beginning."""

    log: Path
    mark: str

    def __post_init__(self) -> None:
        self._position = self._size()

    def new(self) -> list[str]:
        """Whole lines since the last call, without the mark; the rest of a line that is being written comes with the next call."""
        if (size := self._size()) < self._position:
            self._position = 0
        if size == self._position:
            return []
        with self.log.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        lines = whole.decode(errors="replace").splitlines()
        return [line.removeprefix(self.mark) for line in lines if line.startswith(self.mark)]

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0
