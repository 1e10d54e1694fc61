"""The scale on which expression is compared: log1p of counts scaled to the median total of the control cells."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed

ROWS = 2048
"""So many are turned or added up in float64 at a time: of all at once the copies would be larger than the matrix."""


def common_total(truth: Perturbed) -> float:
    """Find what the cells of both are scaled to: the median total of the truth's control cells, as counts."""
    return float(np.median(row_totals(counts(truth.among(truth.codes == 0)).matrix)))


def counts(given: Perturbed) -> Perturbed:
    """Take expression back from log1p."""
    return given if given.scale == "counts" else replace(given, matrix=_each(given.matrix, np.expm1), scale="counts")


def log1p(given: Perturbed, total: float) -> Perturbed:
    """Scale each row's counts to a total, and take log1p; what is on this scale already stays as it is.

    Counts below 0, which a model may predict, are taken as 0, with a warning. A row without counts stays 0.
    """
    if given.scale == "log1p":
        return given
    matrix = _positive(given.matrix)
    totals = row_totals(matrix)
    factors = np.divide(total, totals, out=np.zeros_like(totals), where=totals > 0)
    if isinstance(matrix, np.ndarray):
        scaled = np.empty_like(matrix)
        for some, _ in _stretches(len(matrix)):
            scaled[some] = np.log1p(matrix[some] * factors[some, None])
        return replace(given, matrix=scaled, scale="log1p")
    data = np.empty_like(matrix.data)
    for some, values in _stretches(matrix.shape[0], matrix.indptr):
        each = np.repeat(factors[some], np.diff(matrix.indptr[some.start : some.stop + 1]))
        data[values] = np.log1p(matrix.data[values] * each)
    return replace(given, matrix=_alike(matrix, data), scale="log1p")


def means(given: Perturbed) -> NDArray[np.float64]:
    """Average the rows of the control, and of each condition.

    Returns
    -------
    Shape (1 + conditions, genes); NaN where there are no rows.
    """
    sums = _sums(given)
    with np.errstate(invalid="ignore"):
        return sums / given.counts[:, None]


def pooled(given: Perturbed, total: float) -> NDArray[np.float64]:
    """Add up the counts of the control and of each condition, scale each sum to a total, and take log1p.

    That is what a predicted mean of counts can be compared with: the mean of logarithms cannot be had from it.

    Returns
    -------
    Shape (1 + conditions, genes); 0 where there are no counts.
    """
    raw = counts(given)
    sums = _sums(replace(raw, matrix=_positive(raw.matrix)))
    whole = sums.sum(axis=1, keepdims=True)
    return np.asarray(np.log1p(sums * np.divide(total, whole, out=np.zeros_like(whole), where=whole > 0)))


def _sums(given: Perturbed) -> NDArray[np.float64]:
    sums = np.zeros((len(given.names) + 1, len(given.genes)))
    order = np.argsort(given.codes, kind="stable")[int((given.codes < 0).sum()) :]
    bounds = np.concatenate([[0], np.cumsum(given.counts)])
    for code, (first, last) in enumerate(pairwise(bounds.tolist())):
        for rows, _ in _stretches(last - first):
            some = given.matrix[order[first:last][rows]]
            if isinstance(some, np.ndarray):
                sums[code] += some.sum(axis=0, dtype=np.float64)
            else:  # SciPy adds up in float32 first, whatever dtype it is told
                sums[code] += np.bincount(some.indices, weights=some.data, minlength=len(given.genes))
    return sums


def _stretches(n: int, bounds: Any = None) -> Iterator[tuple[slice, slice]]:
    """Cut rows into stretches; with each come the places of their values, of a sparse matrix with such bounds."""
    for first in range(0, n, ROWS):
        last = min(n, first + ROWS)
        yield slice(first, last), slice(*((0, 0) if bounds is None else (int(bounds[first]), int(bounds[last]))))


def _each(matrix: Any, function: Any) -> Any:
    """Apply a function that leaves 0 as it is."""
    if isinstance(matrix, np.ndarray):
        return function(matrix)
    return _alike(matrix, function(matrix.data))


def _alike(matrix: Any, data: Any) -> Any:
    """Make a sparse matrix with other values in the same places, which both then share."""
    from scipy.sparse import csr_matrix

    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=False)


def row_totals(matrix: Any) -> NDArray[np.float64]:
    """Add up each row, shape (rows,)."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(matrix.sum(axis=1, dtype=np.float64))
    totals = np.zeros(matrix.shape[0])
    for some, values in _stretches(len(totals), matrix.indptr):
        rows = np.repeat(np.arange(some.stop - some.start), np.diff(matrix.indptr[some.start : some.stop + 1]))
        totals[some] = np.bincount(rows, weights=matrix.data[values], minlength=some.stop - some.start)
    return totals


def _positive(matrix: Any) -> Any:
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    if not (below := int((values < 0).sum())):
        return matrix
    warnings.warn(
        f"{below} of {values.size} counts are below 0 and taken as 0; if they are on another scale, say scale='log1p'",
        stacklevel=2,
    )
    return _each(matrix, lambda given: np.maximum(given, 0))
