"""Objects that fail, wait or count, in front of real ones."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from mlops_assets.errors import StoreError
from mlops_assets.state.objects import Objects


class Watched:
    """Counts what is read; while `is_away` it cannot be reached; a put waits until `may_put`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.is_away = False
        self.is_putting, self.may_put = threading.Event(), threading.Event()
        self.may_put.set()
        self.listed: list[str] = []
        self.got: list[str] = []

    @property
    def url(self) -> str:
        return self._objects.url

    def get(self, name: str) -> bytes | None:
        self.got.append(name)
        return self._objects.get(name)

    def open(self, name: str) -> BinaryIO | None:
        return self._objects.open(name)

    def put(self, name: str, content: bytes) -> None:
        self.is_putting.set()
        assert self.may_put.wait(20)
        if self.is_away:
            raise StoreError(f"{self.url} cannot be used: nobody answers.")
        self._objects.put(name, content)

    def create(self, name: str, content: bytes) -> bool:
        return self._objects.create(name, content)

    def names(self, folder: str, after: str = "") -> list[str]:
        self.listed.append(folder)
        return self._objects.names(folder, after)

    def folders(self, folder: str) -> list[str]:
        return self._objects.folders(folder)

    def delete(self, name: str) -> None:
        self._objects.delete(name)

    def stamp(self, name: str) -> str | None:
        return self._objects.stamp(name)

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        return self._objects.replacing(name)

    def address(self, name: str) -> str:
        return self._objects.address(name)
