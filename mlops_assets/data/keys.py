"""Keys of rows as numbers, so that what is known of them can be looked up in an array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_assets.data.grid import Numbers, most_places, parts

# of each column: a digit for each code, and the rows' codes. A row's digits make its number
Digits = list[tuple[Numbers, npt.NDArray[np.int32]]]
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


@dataclass(frozen=True)
class KeyColumn:
    """A column of keys in small numbers: a code for each row, and what each code stands for."""

    dtype: pl.DataType
    codes: npt.NDArray[np.int32]  # (rows,) from 0; the last one is that of nulls
    values: npt.NDArray[Any]  # (codes - 1,) the whole number, or the text's hash

    @classmethod
    def of(cls, keys: pl.Series) -> Self | None:
        """None: they are neither texts nor whole numbers.

        Texts are told apart by 64 bits: among a million of them two are alike once in 37 million tables.
        Method: dictionary encoding (`pyarrow.Array.dictionary_encode`), which needs no lock of the interpreter."""
        keys = keys.cast(pl.String) if keys.dtype in (pl.Categorical, pl.Enum) else keys
        if keys.dtype == pl.String:
            values = keys.hash().set(keys.is_null(), None) if keys.has_nulls() else keys.hash()
        elif keys.dtype in _WHOLE:
            values = keys
        else:
            return None
        encoded = values.to_arrow().dictionary_encode()
        by_code, codes = pl.Series(encoded.dictionary), pl.Series(encoded.indices)
        if codes.has_nulls():
            codes = codes.fill_null(len(by_code))
        return cls(keys.dtype, codes.to_numpy(), by_code.to_numpy())

    def digits(self, values: npt.NDArray[Any]) -> Numbers:
        """By code: from 1 for one of the values, else 0. values: in their order."""
        place = np.searchsorted(values, self.values)
        is_one = values.take(place, mode="clip") == self.values if len(values) else False
        return np.append(np.where(is_one, place + 1, 0), 0)


class Keys:
    """The keys of which something is learned as numbers from 1; 0 is any other one, and one with a null."""

    def __init__(self) -> None:
        self.count = 1
        self.learned = Digits()  # of the rows that they are made of
        self._columns: list[tuple[pl.DataType, npt.NDArray[Any]]] = []  # values in their order
        self._joints: list[Numbers] = []  # of the columns but the first: the number of what they are together

    @classmethod
    def of(cls, columns: Sequence[KeyColumn | None]) -> Self | None:
        """None: the columns have far more combinations than there are rows, or one has neither texts nor numbers."""
        keys = cls()
        for column in columns:
            if column is None:
                return None
            values = np.unique(column.values)
            if keys.count * (len(values) + 1) > most_places(len(column.codes)):
                return None
            keys._add(column, values)
        return keys

    def digits(self, columns: Sequence[KeyColumn | None]) -> Digits | None:
        """Of other rows. None: their keys are of other types than those of which something is learned."""
        digits = Digits()
        for column, (dtype, values) in zip(columns, self._columns, strict=True):
            if column is None or column.dtype != dtype:
                return None
            digits.append((column.digits(values), column.codes))
        return digits

    def numbers(self, digits: Digits, part: slice = slice(None)) -> Numbers:
        (number, *others) = (by_code.take(codes[part], mode="clip") for by_code, codes in digits)
        for digit, joint, (_, values) in zip(others, self._joints, self._columns[1:], strict=True):
            number = joint.take(number * (len(values) + 1) + digit)
        return number

    def _add(self, column: KeyColumn, values: npt.NDArray[Any]) -> None:
        by_code, count = column.digits(values), len(values) + 1
        if self._columns:
            is_learned = np.zeros(self.count * count, bool)
            for part in parts(column.codes):
                is_learned[self.numbers(self.learned, part) * count + by_code.take(column.codes[part])] = True
            is_learned[:count] = is_learned[::count] = False
            self._joints.append(np.where(is_learned, np.cumsum(is_learned), 0))
            count = int(self._joints[-1].max()) + 1
        self._columns.append((column.dtype, values))
        self.learned.append((by_code, column.codes))
        self.count = count
