"""Whether a predicted effect is nearer to its own condition's true effect than to those of the others."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.perturbation.effects import PerCondition, Rows

Distance = Literal["l1", "l2", "cosine"]
CLOSE = 1e-9
"""Distances that differ by less than this part count as equal."""


def discrimination(
    predicted: Rows, true: Rows, targeted: Sequence[NDArray[np.int64]] = (), distance: Distance = "l1"
) -> PerCondition:
    """Rank each condition's true effect among those of all conditions, by distance from its predicted effect.

    Parameters
    ----------
    predicted, true
        Shape (conditions, genes): effects.
    targeted
        For each condition the columns of the genes that it targets, which are left out of its distances: how far these
        fall is known without a model.

    Returns
    -------
    1 - (nearer ones + half of the equally near) / (others): 1 is the nearest of all, 0 the farthest, and 0.5 what is
    expected by chance; NaN where there is no other condition, or a cosine with no effect at all.
    cell-eval divides by the number of all conditions, itself included: 1 - (1 - x) (n - 1) / n with n conditions.

    References
    ----------
    Wu et al. 2024 (PerturBench, arXiv:2408.10609; rank metrics); the Virtual Cell Challenge 2025 (l1; cell-eval 0.8).
    """
    n = len(true)
    if n < 2:
        return np.full(n, np.nan)
    left_out = [np.asarray(one, dtype=np.int64) for one in targeted] or [np.zeros(0, dtype=np.int64)] * n
    distances = _distances(np.asarray(predicted, float), np.asarray(true, float), left_out, distance)
    own = np.diagonal(distances)[:, None]
    equal = np.abs(distances - own) <= CLOSE * np.maximum(np.abs(distances), np.abs(own))
    with np.errstate(invalid="ignore"):
        nearer = ((distances < own) & ~equal).sum(axis=1) + 0.5 * (equal.sum(axis=1) - 1)
    return np.where(np.isfinite(distances).all(axis=1), 1 - nearer / (n - 1), np.nan)


def _distances(predicted: Rows, true: Rows, left_out: Sequence[NDArray[np.int64]], distance: Distance) -> Rows:
    """From each prediction to each truth, shape (conditions, conditions), without the genes left out of its row."""
    from scipy.spatial.distance import cdist

    metric = {"l1": "cityblock", "l2": "sqeuclidean"}
    if distance in metric:
        found = cdist(predicted, true, metric[distance])
        power = 1 if distance == "l1" else 2
        for row, genes in enumerate(left_out):
            found[row] -= (np.abs(predicted[row, genes] - true[:, genes]) ** power).sum(axis=1)
        found = np.maximum(found, 0.0)
        return np.asarray(found if distance == "l1" else np.sqrt(found))
    # A product of two matrices adds up in another order with another number of threads; einsum does not.
    product = np.einsum("ig,jg->ij", predicted, true)
    squares = np.tile((true**2).sum(axis=1), (len(predicted), 1))
    own = (predicted**2).sum(axis=1)
    for row, genes in enumerate(left_out):
        product[row] -= (predicted[row, genes] * true[:, genes]).sum(axis=1)
        squares[row] -= (true[:, genes] ** 2).sum(axis=1)
        own[row] -= (predicted[row, genes] ** 2).sum()
    scale = np.sqrt(np.maximum(own, 0.0)[:, None] * np.maximum(squares, 0.0))
    return np.asarray(1 - np.divide(product, scale, out=np.full_like(product, np.nan), where=scale > 0))
