"""Explanations: how much each feature moved a prediction away from the baseline row. Shapley values by one pair of orders.

Features change from their baseline value to the row's value one after the other, first in their order and then in reverse. The
contribution of a feature is the mean of the two changes of the score. The contributions of a row always add up to its score
minus the score of the baseline row. They are exact Shapley values where at most two features interact, because each of two
features comes first once; otherwise they are an estimate.

Castro, Gómez, Tejada (2009), Polynomial calculation of the Shapley value based on sampling. Mitchell, Cooper, Frank,
Holmes (2022), Sampling permutations for Shapley value estimation, JMLR 23: pairs of an order and its reverse. 2 x inputs
scores a row, in one batch.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlops_assets.state.bundle import Bundle
from serving.errors import NotExplainable, TooManyRows

MOST_ROWS = 100  # of one request: 2 x inputs rows are scored for each

Array = NDArray[np.floating]


def refuse_to_explain(bundle: Bundle, rows: int) -> None:
    """Raises NotExplainable: the version has no baseline row. Raises TooManyRows."""
    if bundle.baseline_row() is None:
        raise NotExplainable(
            f"version {bundle.manifest.version} of {bundle.manifest.product} has no baseline row. Retrain to have explanations."
        )
    if rows > MOST_ROWS:
        raise TooManyRows(
            f"the request asks to explain {rows:,} rows. Send at most {MOST_ROWS} rows with explain=true."
        )


def explain(bundle: Bundle, matrix: NDArray[np.float32]) -> tuple[Array, Array]:
    """Score of the baseline row (n,) and contributions (n, inputs); for multiclass, of the most likely class.

    Raises NotExplainable or TooManyRows."""
    refuse_to_explain(bundle, len(matrix))
    baseline = bundle.baseline_row()
    assert baseline is not None
    return contributions(bundle.score, matrix, baseline)


def contributions(
    score: Callable[[NDArray[np.float32]], Array], matrix: NDArray[np.float32], baseline: NDArray[np.float32]
) -> tuple[Array, Array]:
    """score: (m, inputs) -> (m,) or (m, classes). Returns (n,) and (n, inputs)."""
    rows, inputs = matrix.shape
    # step k takes the first k features from the row in the first half, the last k features in the second half
    forward = np.tri(inputs + 1, inputs, -1, dtype=bool)
    taken = np.concatenate([forward, forward[:, ::-1]])
    mixed = np.where(taken[None], matrix[:, None, :], baseline[None, None, :]).astype(np.float32)
    scores = np.asarray(score(mixed.reshape(-1, inputs)), np.float64)
    if scores.ndim == 2:
        by_row = scores.reshape(rows, len(taken), -1)
        scores = np.take_along_axis(by_row, by_row[:, inputs].argmax(-1)[:, None, None], -1)
    steps = np.diff(scores.reshape(rows, 2, inputs + 1), axis=2)
    return scores.reshape(rows, 2, inputs + 1)[:, 0, 0], (steps[:, 0] + steps[:, 1, ::-1]) / 2
