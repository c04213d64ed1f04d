"""Typed rows to scores: request features, looked-up features, the model's matrix, and what was missing on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_assets.errors import StoreError
from mlops_assets.features.online_path import Missed, OnlineFeatures
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.online_store import OnlineStore
from serving.errors import OnlineStoreDown, UnusableScore
from serving.schemas import RowStruct, RowWarning, Value

_REMEDIES = {
    "missing": "the online store holds nothing for {key}",
    "stale": "what the online store holds for {key} was not valid at the row's event timestamp",
    "unavailable": "the online store could not be read",
}
_NO_WARNINGS: tuple[RowWarning, ...] = ()


@dataclass(frozen=True)
class Scored:
    """inputs: what the model was given, a tuple per row in the product's order. warnings: by row number, where any.

    scores: (n,) or, for multiclass, (n, classes)."""

    scores: NDArray[np.float32]
    warnings: dict[int, tuple[RowWarning, ...]]
    inputs: list[tuple[Value, ...]]


class Scorer:
    """Features and scores of one product's rows; the same whether they come one by one or together."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._features = OnlineFeatures(product, online)

    def features(self, rows: Sequence[RowStruct]) -> tuple[list[tuple[Value, ...]], dict[int, tuple[RowWarning, ...]]]:
        """Inputs of every row, and the warnings of those for which something could not be looked up.

        Raises OnlineStoreDown: the store cannot be read, and the product would rather not answer."""
        try:
            inputs, missed = self._features.of(rows)
        except StoreError as error:
            names = ", ".join(name for view in self._product.lookups for name in view.names)
            raise OnlineStoreDown(
                f"the online store cannot be read ({error}), and {self._product.name} is declared not to answer "
                f"without it. Send {names} along, or try again."
            ) from error
        return inputs, {number: tuple(map(_lookup_warning, each)) for number, each in missed.items()}

    def score(self, bundle: Bundle, rows: Sequence[RowStruct]) -> Scored:
        """Raises UnusableScore: the model answered with NaN or infinity. Raises OnlineStoreDown."""
        inputs, warnings = self.features(rows)
        return self.score_features(bundle, inputs, warnings)

    def score_features(
        self, bundle: Bundle, inputs: list[tuple[Value, ...]], warnings: dict[int, tuple[RowWarning, ...]]
    ) -> Scored:
        matrix, strangers = bundle.encode_rows(inputs)  # type: ignore[arg-type]
        for number in strangers:
            found = tuple(_unknown_categories(bundle, inputs[number]))
            if found:
                warnings[number] = warnings.get(number, _NO_WARNINGS) + found
        scores = bundle.score(matrix)
        # one sum tells: NaN and infinity survive it, and it is made in a third of the time of isfinite().all()
        if not np.isfinite(scores.sum(dtype=np.float64)):
            number = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise UnusableScore(
                f"version {bundle.manifest.version} of {self._product.name} answers row {number} with no number. "
                "Roll back to an earlier version, or retrain with a recipe that takes missing values."
            )
        return Scored(scores, warnings, inputs)


def _unknown_categories(bundle: Bundle, inputs: tuple[Value, ...]) -> Iterator[RowWarning]:
    for name in bundle.unknown_categories(inputs):  # type: ignore[arg-type]
        value: Any = inputs[bundle.input_names.index(name)]
        message = f"version {bundle.manifest.version} never saw {name} {value!r} when it was trained"
        yield RowWarning("unknown category", (name,), message)


def _lookup_warning(missed: Missed) -> RowWarning:
    key_text = ", ".join(
        f"{name}={part:g}" if isinstance(part, float) else f"{name}={part}"
        for name, part in zip(missed.view.key, missed.key, strict=True)
    )
    reason = _REMEDIES[missed.state].format(key=key_text)
    message = f"{missed.view.name}: {reason}; null was used for {', '.join(missed.names)}"
    return RowWarning(missed.state, missed.names, message)  # type: ignore[arg-type]
