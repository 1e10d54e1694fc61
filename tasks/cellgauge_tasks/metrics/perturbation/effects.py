"""How well predicted effects agree with true ones: correlations and errors, one value a condition."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
"""Conditions x genes."""
PerCondition = NDArray[np.float64]
"""Shape (conditions,); NaN where it is not defined."""
FLAT = 1e-6
"""A row that varies by less than this part of its largest value is constant, as far as float32 can tell."""
NOTHING = 1e-5
"""A change of a mean by less than this part of it is none: sums of float32 differ by that much."""


def effect(means: Rows, reference: NDArray[np.float64]) -> Rows:
    """Subtract a reference, and take what float32 cannot tell from 0 as no effect at all.

    Without that, a model that copies the control would have its rounding errors ranked and correlated.

    Parameters
    ----------
    means
        Shape (conditions, genes).
    reference
        Shape (genes,): the control's mean, or that of all perturbed.
    """
    found = np.asarray(means, dtype=np.float64) - reference
    precision = NOTHING * np.maximum(np.abs(means), np.abs(reference))
    return np.where(np.abs(found) <= precision, 0.0, found)


def pearson(predicted: Rows, true: Rows) -> PerCondition:
    """Correlate predicted with true effects over genes.

    Parameters
    ----------
    predicted, true
        Shape (conditions, genes); NaN in either leaves a gene out of a condition.

    Returns
    -------
    -1 to 1 a condition; NaN where either is constant, or fewer than two genes are left.
    """
    a, b, known = _known(predicted, true)
    found = _correlation(_centred(a, known), _centred(b, known))
    return np.where(_flat(a, known) | _flat(b, known), np.nan, found)


def spearman(predicted: Rows, true: Rows) -> PerCondition:
    """Correlate the ranks of predicted and true effects over genes, equal ones with their mean rank.

    Parameters
    ----------
    predicted, true
        Shape (conditions, genes); NaN in either leaves a gene out of a condition, infinite values count.

    Returns
    -------
    As of `pearson`.
    """
    from scipy.stats import rankdata

    a, b, known = _known(predicted, true)
    some = known.any(axis=0)  # only significant genes count, for instance
    a, b, known = a[:, some], b[:, some], known[:, some]
    if not known.size:
        return np.full(len(a), np.nan)
    ranks = (rankdata(np.where(known, one, np.nan), axis=1, nan_policy="omit") for one in (a, b))
    found = _correlation(*(_centred(np.where(known, one, 0.0), known) for one in ranks))
    return np.where(_flat(a, known) | _flat(b, known), np.nan, found)


def mean_squared_error(predicted: Rows, true: Rows) -> PerCondition:
    """Average squared differences over genes: 0 or more a condition."""
    return np.asarray(((np.asarray(predicted) - true) ** 2).mean(axis=1))


def mean_absolute_error(predicted: Rows, true: Rows) -> PerCondition:
    """Average absolute differences over genes: 0 or more a condition."""
    return np.asarray(np.abs(np.asarray(predicted) - true).mean(axis=1))


def _known(predicted: Rows, true: Rows) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """Put 0 where either has no value."""
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    return np.where(known, a, 0.0), np.where(known, b, 0.0), known


def _correlation(a: Rows, b: Rows) -> PerCondition:
    scale = np.sqrt((a * a).sum(axis=1)) * np.sqrt((b * b).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.clip((a * b).sum(axis=1) / scale, -1.0, 1.0))


def _centred(rows: Rows, known: NDArray[np.bool_]) -> Rows:
    size = np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, rows - rows.sum(axis=1, keepdims=True) / size, 0.0)


def _flat(rows: Rows, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which rows are constant."""
    low = np.where(known, rows, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, rows, -np.inf).max(axis=1, initial=-np.inf)
    low, high = np.nan_to_num(low, posinf=1e300, neginf=-1e300), np.nan_to_num(high, posinf=1e300, neginf=-1e300)
    return np.asarray(high - low <= FLAT * np.maximum(np.abs(low), np.abs(high)))
