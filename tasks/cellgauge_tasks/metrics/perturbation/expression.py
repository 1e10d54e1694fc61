"""Which genes differ from control, by the Wilcoxon rank-sum test: every condition against one control."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANT = 0.05
"""A false discovery rate below it."""
GENES = 256
"""How many are put in order at a time, of a dense matrix."""
VALUE, GROUP, POSITIVE = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(0x80000000)
"""Of a value and a group, put together in one number: where the value is, the group's part, and the first above 0."""


@dataclass(frozen=True, eq=False)
class Expression:
    """How each gene of each condition differs from control; all of shape (conditions, genes)."""

    u: NDArray[np.float64]
    """The Mann-Whitney U of the condition: in how many pairs of its cells and control cells its own is higher."""
    z: NDArray[np.float64]
    """U in standard deviations from what is expected without a difference; ties corrected, no continuity correction."""
    p: NDArray[np.float64]
    """Two-sided, with continuity correction; 1 where all cells are equal."""
    surprise: NDArray[np.float64]
    """What `p` is computed from, 0 where p is 1; keeps its order where p is too small to be told from 0."""

    @cached_property
    def fdr(self) -> NDArray[np.float64]:
        """The false discovery rate, over the genes of a condition."""
        return false_discovery(self.p)

    @cached_property
    def significant(self) -> NDArray[np.bool_]:
        """Which genes' false discovery rate is below 0.05."""
        return self.fdr < SIGNIFICANT


def wilcoxon(matrix: Any, codes: NDArray[np.int64], control: Any = None) -> Expression:
    """Test every gene of every condition against the control.

    Asymptotic, two-sided, corrected for ties and continuity, as `scipy.stats.mannwhitneyu(method="asymptotic")` does
    for one gene of one condition. Each gene's values are put in order once for all conditions.

    Parameters
    ----------
    matrix
        Shape (cells, genes), float32, dense or CSR: log1p of scaled counts.
    codes
        Shape (cells,): 0 is the control, from 1 on are the conditions; -1 takes no part.
    control
        Shape (control cells, genes): the control, if it is not in the matrix.

    References
    ----------
    Mann and Whitney 1947, Annals of Mathematical Statistics 18:50; Lehmann 1975, Nonparametrics, section 1.4 (ties).
    """
    sizes = np.bincount(codes[codes >= 0], minlength=int(codes.max(initial=0)) + 1)
    if control is not None:
        sizes[0] = control.shape[0]
    n_genes = matrix.shape[1]
    u, ties = np.empty((len(sizes) - 1, n_genes)), np.empty((len(sizes) - 1, n_genes))
    for gene, values, groups in _columns(matrix, codes, control):
        u[:, gene], ties[:, gene] = _against_control(values, groups, sizes)
    few, many = sizes[1:, None].astype(float), float(sizes[0])
    everyone = few + many
    variance = few * many / 12 * (everyone + 1 - ties / (everyone * (everyone - 1)))
    deviation = np.sqrt(np.maximum(variance, 0.0))
    away = u - few * many / 2
    z = np.divide(away, deviation, out=np.zeros_like(u), where=deviation > 0)
    surprise = np.divide(np.abs(away) - 0.5, deviation, out=np.zeros_like(u), where=deviation > 0)
    surprise = np.maximum(surprise, 0.0)
    return Expression(u, z, _two_sided(surprise), surprise)


def fold_change(means: NDArray[np.float64], control: NDArray[np.float64], *, added: float = 0.0) -> NDArray[np.float64]:
    """Compute the log2 fold change of geometric means: log2((expm1(mean) + added) / (expm1(control) + added)).

    Parameters
    ----------
    means, control
        Shape (conditions, genes) and (genes,): means of log1p, or log1p of means. Below 0 counts as 0.

    Returns
    -------
    Shape (conditions, genes); 0 where a gene is in neither, infinite where it is in one of them and nothing is added.
    """
    up, down = np.expm1(np.maximum(means, 0)) + added, np.expm1(np.maximum(control, 0)) + added
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log2(up / down)
    return np.where((up == 0) & (down == 0), 0.0, found)


def false_discovery(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values for the number of genes, each row for itself.

    References
    ----------
    Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57:289.
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, axis=1)) if p.size else p


def _two_sided(surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtr

    return np.asarray(np.minimum(2 * ndtr(-surprise), 1.0))


def _columns(
    matrix: Any, codes: NDArray[np.int64], control: Any
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.uint32]]]:
    """Yield each gene's number, its values that are not 0, and the codes of their cells."""
    kept = np.flatnonzero(codes >= (0 if control is None else 1))
    groups = codes[kept].astype(np.uint32)
    matrix = matrix if len(kept) == len(codes) else matrix[kept]
    parts = [matrix] if control is None else [control, matrix]
    if control is not None:
        groups = np.concatenate([np.zeros(control.shape[0], dtype=np.uint32), groups])
    if all(isinstance(one, np.ndarray) for one in parts):
        for first in range(0, matrix.shape[1], GENES):
            block = np.concatenate([one[:, first : first + GENES].T for one in parts], axis=1)
            for offset, values in enumerate(block):
                there = np.flatnonzero(values)
                yield first + offset, values[there], groups[there]
        return
    from scipy.sparse import csc_matrix

    columns = [csc_matrix(one) for one in parts]
    owners = np.split(groups, [parts[0].shape[0]])  # of the rows of each
    for gene in range(matrix.shape[1]):
        found = [_stored(one, gene, theirs) for one, theirs in zip(columns, owners, strict=False)]
        if len(found) == 1:
            yield gene, *found[0]
        else:
            values, whose = zip(*found, strict=True)
            yield gene, np.concatenate(values), np.concatenate(whose)


def _stored(columns: Any, gene: int, groups: NDArray[np.uint32]) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Give the values of a gene that are not 0, and the codes of their cells."""
    first, last = columns.indptr[gene], columns.indptr[gene + 1]
    there = np.flatnonzero(columns.data[first:last])  # zeros may be stored
    return columns.data[first:last][there], groups[columns.indices[first:last][there]]


def _against_control(
    values: NDArray[np.float32], groups: NDArray[np.uint32], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute U and the sum of t³ - t over ties, of one gene in each condition together with the control.

    Cells whose value is 0 are not in `values`: they are one large tie.
    """
    keys = _ordered(values)
    keys <<= VALUE
    keys |= groups
    keys.sort()
    group = (keys & GROUP).view(np.int64)
    zeros = (sizes - np.bincount(group, minlength=len(sizes))).astype(float)
    negative = int(np.searchsorted(keys, POSITIVE << VALUE))
    below = np.cumsum(group == 0, dtype=np.float64)  # of equal values the control's come first: they are counted, too
    u = zeros * ((below[negative - 1] if negative else 0.0) + 0.5 * zeros[0])
    below[negative:] += zeros[0]
    u += np.bincount(group, below, minlength=len(sizes))
    ties = _cubed(zeros + zeros[0]) + np.zeros(len(sizes))
    same = keys[1:] ^ keys[:-1] <= GROUP
    if same.any():
        tied = np.zeros(len(keys), dtype=bool)
        tied[1:] = same
        tied[:-1] |= same
        half, more = _tied(keys[tied], len(sizes))
        u, ties = u - half, ties + more
    return u[1:], ties[1:]


def _tied(keys: NDArray[np.uint64], n_groups: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of values that several cells have, in order: half the ties with the control, and the sum of t³ - t, by group."""
    changes = keys[1:] ^ keys[:-1]
    starts = np.flatnonzero(np.concatenate([[True], changes > 0]))
    many = np.diff(starts, append=len(keys)).astype(float)
    group = (keys[starts] & GROUP).view(np.int64)
    which = np.cumsum(np.concatenate([[False], changes[starts[1:] - 1] > GROUP]))
    own = group == 0
    control = np.zeros(int(which[-1]) + 1)
    control[which[own]] = many[own]
    equal = control[which]
    half = np.bincount(group, 0.5 * many * equal, minlength=n_groups).astype(float)
    # A value that only the control has is tied with itself; where a condition has it too, the tie is larger:
    # (m + e)³ - (m + e) - (e³ - e) = m (m² + 3 m e + 3 e² - 1).
    more = np.bincount(group, many * (many * (many + 3 * equal) + 3 * equal * equal - 1), minlength=n_groups)
    return half, more + _cubed(many[own]).sum()


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Turn floats into integers that have the same order."""
    bits = values.view(np.uint32)
    if values.min(initial=0) >= 0:
        return (bits | np.uint32(POSITIVE)).astype(np.uint64)
    return np.where(values < 0, ~bits, bits | np.uint32(POSITIVE)).astype(np.uint64)


def _cubed(size: Any) -> Any:
    size = np.asarray(size, dtype=float)
    return size * size * size - size
