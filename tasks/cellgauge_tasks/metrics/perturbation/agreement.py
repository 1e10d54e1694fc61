"""How well predicted differential expression agrees with the true one; one value a condition."""

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.perturbation.effects import PerCondition, Rows

Marks = NDArray[np.bool_]
"""Shape (conditions, genes)."""
Places = NDArray[np.int64]
"""Shape (conditions, genes): the place of each gene in an order, from 0."""


def places(strength: Rows, tiebreak: Rows, among: Marks | None = None) -> Places:
    """Put the genes of each condition in order, strongest first; of equal ones the first in the matrix.

    Parameters
    ----------
    strength, tiebreak
        Shape (conditions, genes): how strong a change is, for instance the absolute fold change, and what decides
        between equal ones.
    among
        Only these; others come after all of them.
    """
    found = np.empty(strength.shape, dtype=np.int64)
    for row, (first, second) in enumerate(zip(strength, tiebreak, strict=True)):
        left_out = np.zeros(len(first), dtype=bool) if among is None else ~among[row]
        order = np.lexsort((-second, -first, left_out))
        found[row, order] = np.arange(len(order))
    return found


def overlap(
    predicted: Places, true: Places, n_predicted: NDArray[np.int64], n_true: NDArray[np.int64], k: int | None
) -> PerCondition:
    """Share of the k strongest significant true genes that are among the k strongest significant predicted ones.

    Parameters
    ----------
    predicted, true
        Orders of genes, significant ones first: see `places`.
    n_predicted, n_true
        Shape (conditions,): how many genes are significant; of a prediction without cells, how many change at all.
    k
        Never more than are truly significant; None: so many.

    Returns
    -------
    0 to 1; NaN where no gene is significant in truth, which cell-eval calls 0.

    References
    ----------
    cell-eval 0.8 (`overlap_at_k`), the differential expression score of the Virtual Cell Challenge 2025 with k None.
    """
    size = n_true if k is None else np.minimum(n_true, k)
    return _shared(predicted, true, np.minimum(size, n_predicted), size, of=size)


def precision(
    predicted: Places, true: Places, n_predicted: NDArray[np.int64], n_true: NDArray[np.int64], k: int | None
) -> PerCondition:
    """Share of the k strongest genes predicted to be significant that are among the k strongest true ones.

    Returns
    -------
    0 to 1; NaN where no gene is significant in truth, 0 where none is predicted to be although some are.
    """
    size = n_predicted if k is None else np.minimum(n_predicted, k)
    found = _shared(predicted, true, size, np.minimum(size, n_true), of=np.maximum(size, 1))
    return np.where(n_true > 0, found, np.nan)


def recall(predicted: Marks, true: Marks) -> PerCondition:
    """Share of the truly significant genes that are predicted to be significant; NaN where there are none."""
    return _share(predicted & true, true)


def direction_match(predicted: Rows, true: Rows, significant: Marks) -> PerCondition:
    """Share of the truly significant genes whose predicted effect has the true sign; NaN where there are none.

    No effect at all is not the true sign.
    """
    return _share((np.sign(predicted) == np.sign(true)) & significant, significant)


def auroc(scores: Rows, significant: Marks) -> PerCondition:
    """Area under the ROC curve of the truly significant genes, ranked by a score; ties count half.

    Parameters
    ----------
    scores
        Shape (conditions, genes), higher where a gene is rather predicted to be significant.

    Returns
    -------
    0 to 1, 0.5 by chance; NaN where all genes are significant, or none.
    """
    from scipy.stats import rankdata

    positive = significant.sum(axis=1).astype(float)
    negative = significant.shape[1] - positive
    ranks = (rankdata(scores, axis=1) * significant).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (ranks - positive * (positive + 1) / 2) / (positive * negative)
    return np.where((positive > 0) & (negative > 0), found, np.nan)


def auprc(scores: Rows, significant: Marks) -> PerCondition:
    """Average precision of the truly significant genes, ranked by a score; equal scores are one step.

    Returns
    -------
    0 to 1, the share of significant genes by chance; NaN where all genes are significant, or none.
    """
    found = np.full(len(scores), np.nan)
    for row in np.flatnonzero(significant.any(axis=1) & ~significant.all(axis=1)):
        order = np.argsort(-scores[row], kind="stable")
        last = np.append(np.diff(scores[row][order]) != 0, True)  # of each step
        hits = np.cumsum(significant[row][order])[last]
        sizes = np.flatnonzero(last) + 1
        found[row] = (np.diff(hits, prepend=0) * hits / sizes).sum() / hits[-1]
    return found


def _shared(
    predicted: Places,
    true: Places,
    n_predicted: NDArray[np.int64],
    n_true: NDArray[np.int64],
    *,
    of: NDArray[np.int64],
) -> PerCondition:
    both = (predicted < n_predicted[:, None]) & (true < n_true[:, None])
    with np.errstate(invalid="ignore"):
        return np.asarray(both.sum(axis=1) / of)


def _share(found: Marks, of: Marks) -> PerCondition:
    with np.errstate(invalid="ignore"):
        return np.asarray(found.sum(axis=1) / of.sum(axis=1))
