"""Encoding of features as the float32 matrix of a model: from a data frame, or from rows without a data frame."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.state.manifest import Input

UNKNOWN = -1.0  # code of null and of categories that did not occur in the training window


def encode(features: pl.DataFrame, inputs: tuple[Input, ...]) -> NDArray[np.float32]:
    """Categories as codes (-1 for null and unknown ones) and numbers as float32 (NaN for null); (n, inputs)."""
    return np.ascontiguousarray(features.select(_encoded(item) for item in inputs).to_numpy(), dtype=np.float32)


def row_encoder(inputs: tuple[Input, ...]) -> Callable[[Sequence[Any], list[int]], list[float]]:
    """A function (rows, unknown_rows) -> flat matrix. It appends the numbers of rows with a null or unknown category to
    `unknown_rows`.

    It is `encode` for rows, as code that is generated for these inputs: a loop over them takes five times as long."""
    names = [f"a{position}" for position in range(len(inputs))]
    codes = {
        name: {category: float(code) for code, category in enumerate(item.categories)}.get
        for name, item in zip(names, inputs, strict=True)
        if item.kind is FeatureKind.CATEGORICAL
    }
    body = [f"{name} = code_{name}({name}, UNKNOWN)" for name in codes]
    if codes:
        body.append(f"if {' or '.join(f'{name} < 0' for name in codes)}: unknown_rows.append(number)")
    values = [name if name in codes else f"NAN if {name} is None else {name}" for name in names]
    body.append(f"flat += ({''.join(f'{value}, ' for value in values)})")
    source = [
        "def encode_rows(rows, unknown_rows):",
        "    flat = []",
        f"    for number, ({''.join(f'{name}, ' for name in names)}) in enumerate(rows):",
        *(f"        {line}" for line in body),
        "    return flat",
    ]
    namespace: dict[str, Any] = {f"code_{name}": code for name, code in codes.items()}
    namespace |= {"UNKNOWN": UNKNOWN, "NAN": float("nan")}
    exec("\n".join(source), namespace)  # the code contains only positions, no name or category of the manifest
    return namespace["encode_rows"]  # type: ignore[no-any-return]


def _encoded(item: Input) -> pl.Expr:
    column = pl.col(item.name)
    if item.kind is FeatureKind.NUMERIC:
        return column.cast(pl.Float32).fill_null(float("nan"))
    if not item.categories:
        return (
            column.is_null().replace_strict({True: UNKNOWN, False: UNKNOWN}, return_dtype=pl.Float32).alias(item.name)
        )
    codes = dict(zip(item.categories, map(float, range(len(item.categories))), strict=True))
    return column.replace_strict(codes, default=UNKNOWN, return_dtype=pl.Float32).fill_null(UNKNOWN)
