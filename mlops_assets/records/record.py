"""Record: what every stored document is derived from."""

from typing import ClassVar

import msgspec


class Record(msgspec.Struct, frozen=True):
    """A stored document. asset: the asset, or the store, that it belongs to. schema: number of its form, which rises with
    every change of its fields."""

    asset: ClassVar[str]
    schema: ClassVar[int] = 1
