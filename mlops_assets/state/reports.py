"""Reports: pages for people, one object per product, asset and key."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.state.objects import Objects

FOLDER = "reports"


@dataclass(frozen=True)
class Reports:
    objects: Objects
    product: str

    def save(self, asset: str, key: str, text: str, ending: str = "html") -> None:
        self.objects.put(self.name(asset, key, ending), text.encode())

    def replacing(self, asset: str, key: str, ending: str = "html") -> AbstractContextManager[Path]:
        """A path to write the page to; when the block ends well, it becomes the report."""
        return self.objects.replacing(self.name(asset, key, ending))

    def read(self, asset: str, key: str, ending: str = "html") -> str | None:
        content = self.objects.get(self.name(asset, key, ending))
        return None if content is None else content.decode()

    def address(self, asset: str, key: str, ending: str = "html") -> str:
        return self.objects.address(self.name(asset, key, ending))

    def name(self, asset: str, key: str, ending: str = "html") -> str:
        return f"{FOLDER}/{self.product}/{asset}/{key}.{ending}"
