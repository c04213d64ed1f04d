"""Record: the base of every stored document."""

from typing import ClassVar

import msgspec


class Record(msgspec.Struct, frozen=True):
    """A stored document. asset: the asset, or the store, that it belongs to. schema: version of its fields, which rises with
    every change of them."""

    asset: ClassVar[str]
    schema: ClassVar[int] = 1
