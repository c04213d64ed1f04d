"""Typed rows to scores: request features, looked-up features, the model's matrix, and what was missing on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.dtypes import input_schema
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.stores.online_features import Missed, OnlineFeatures
from mlops_assets.stores.online_store import OnlineStore
from serving.errors import UnusableScore
from serving.schemas import RowStruct, RowWarning, Value

FEW_ROWS = 64  # up to here a data frame costs more than it saves
_REMEDIES = {
    "missing": "the online store holds nothing for {key}",
    "stale": "what the online store holds for {key} was not valid at the row's event timestamp",
    "unavailable": "the online store could not be read",
}


@dataclass(frozen=True)
class Scored:
    """scores: (n,) or, for multiclass, (n, classes). values: request columns and features as served, by row."""

    scores: NDArray[np.float32]
    warnings: list[tuple[RowWarning, ...]]
    values: list[dict[str, Value]]


class Scorer:
    """Features and scores of one product's rows; the same whether they come one by one or together."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._schema = input_schema(product)
        self._features = OnlineFeatures(product, online)

    def score(self, bundle: Bundle, rows: Sequence[RowStruct]) -> Scored:
        """Raises UnusableScore: the model answered with NaN or infinity."""
        found = self._features.of(rows)
        values = [row.values for row in found]
        warnings = [(*map(_lookup_warning, row.missed), *_unknown_categories(bundle, row.values)) for row in found]
        scores = bundle.score(self._matrix(bundle, values))
        if not np.isfinite(scores).all():
            number = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise UnusableScore(
                f"version {bundle.manifest.version} of {self._product.name} answers row {number} with no number. "
                "Roll back to an earlier version, or retrain with a recipe that takes missing values."
            )
        return Scored(scores, warnings, values)

    def _matrix(self, bundle: Bundle, values: list[dict[str, Value]]) -> NDArray[np.float32]:
        if len(values) <= FEW_ROWS:
            return np.array([bundle.encode_row(of_row) for of_row in values], dtype=np.float32)  # type: ignore[arg-type]
        columns = {name: [of_row[name] for of_row in values] for name in self._schema}
        return bundle.encode(pl.DataFrame(columns, schema=self._schema))


def _unknown_categories(bundle: Bundle, values: dict[str, Value]) -> Iterator[RowWarning]:
    for name in bundle.unknown_categories(values):  # type: ignore[arg-type]
        message = f"version {bundle.manifest.version} never saw {name} {values[name]!r} when it was trained"
        yield RowWarning("unknown category", (name,), message)


def _lookup_warning(missed: Missed) -> RowWarning:
    key_text = ", ".join(
        f"{name}={part:g}" if isinstance(part, float) else f"{name}={part}"
        for name, part in zip(missed.view.key, missed.key, strict=True)
    )
    reason = _REMEDIES[missed.state].format(key=key_text)
    message = f"{missed.view.name}: {reason}; null was used for {', '.join(missed.names)}"
    return RowWarning(missed.state, missed.names, message)  # type: ignore[arg-type]
