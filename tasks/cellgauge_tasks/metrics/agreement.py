"""How well two groupings of the same cells agree."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Crossed(NamedTuple):
    """How many cells two groupings have in common, group by group."""

    counts: NDArray[np.float64]
    """Shape (groups of one, groups of the other)."""
    squares: NDArray[np.float64]
    """The same shape: each cell's weight squared. Without weights it is `counts`."""


class Crossing:
    """Two groupings of the same cells, each of shape (cells,)."""

    def __init__(self, one: ArrayLike, other: ArrayLike) -> None:
        rows, columns = (np.unique(np.asarray(grouping), return_inverse=True)[1] for grouping in (one, other))
        if len(rows) != len(columns):
            raise ValueError(f"{len(rows)} and {len(columns)} cells are not the same cells")
        self._shape = (int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
        self._pair = rows * self._shape[1] + columns

    def table(self, weights: NDArray[np.floating] | None = None) -> Crossed:
        """Count the cells in every pair of groups, each as often as it weighs, shape (cells,)."""
        counts = self._sum(weights)
        return Crossed(counts, counts if weights is None else self._sum(np.square(weights)))

    def _sum(self, weights: NDArray[np.floating] | None) -> NDArray[np.float64]:
        found = np.bincount(self._pair, weights, self._shape[0] * self._shape[1])
        return found.reshape(self._shape).astype(np.float64)


def rand_index(table: Crossed) -> float:
    """Compute the adjusted Rand index of a table, of pairs of different cells; see `adjusted_rand_index`."""

    def pairs(*axes: int) -> float:
        # Of a cell that was drawn twice the copies are no pair, or every bootstrap sample would agree too well.
        return float((np.square(table.counts.sum(axis=axes)) - table.squares.sum(axis=axes)).sum() / 2)

    both, rows, columns, every = pairs(), pairs(1), pairs(0), pairs(0, 1)
    chance = rows * columns / every if every else 0.0
    most = (rows + columns) / 2
    # Nothing to tell: one cell, or all cells in one group, or each in one of its own, in both.
    return (both - chance) / (most - chance) if most != chance else 1.0


def mutual_information(table: Crossed) -> float:
    """Compute the normalized mutual information of a table; see `normalized_mutual_info`."""

    def entropy(shares: NDArray[np.float64]) -> float:
        known = shares[shares > 0]
        return float(-(known * np.log(known)).sum())

    shares = table.counts / table.counts.sum()
    one, other, both = entropy(shares.sum(axis=1)), entropy(shares.sum(axis=0)), entropy(shares)
    mean = (one + other) / 2
    return min(max((one + other - both) / mean, 0.0), 1.0) if mean > 0 else 1.0


def adjusted_rand_index(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Compute the Rand index corrected for chance.

    (R - E) / (M - E), where R counts the pairs of cells that are together in both groupings, E is expected of R if
    the groups' sizes stay and the cells are dealt out at random, and M is the mean of the pairs in each grouping.

    Parameters
    ----------
    labels, clusters
        Shape (cells,). Names do not matter, only which cells are together.

    Returns
    -------
    -0.5 to 1; 0 is expected of random groupings, 1 means the same grouping.

    Raises
    ------
    ValueError
        If the lengths differ.

    References
    ----------
    Hubert and Arabie 1985, Journal of Classification 2:193.
    """
    return rand_index(Crossing(labels, clusters).table())


def normalized_mutual_info(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Compute mutual information divided by the arithmetic mean of the two entropies.

    Not corrected for chance: many small clusters raise it.

    Parameters
    ----------
    labels, clusters
        Shape (cells,).

    Returns
    -------
    0 to 1; 1 means the same grouping.

    Raises
    ------
    ValueError
        If the lengths differ.

    References
    ----------
    Strehl and Ghosh 2002, Journal of Machine Learning Research 3:583; the arithmetic mean as in scikit-learn.
    """
    return mutual_information(Crossing(labels, clusters).table())


def best_f1(members: NDArray[np.bool_], clusters: NDArray[np.int64]) -> tuple[float, int]:
    """Find the cluster that a set of cells comes nearest to, by the harmonic mean of precision and recall.

    Parameters
    ----------
    members
        Shape (cells,), at least one of them.
    clusters
        Shape (cells,), numbers from 0.

    Returns
    -------
    The best F1, 0 to 1, and the first cluster that has it.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41 (isolated label F1).
    """
    sizes = np.bincount(clusters)
    shared = np.bincount(clusters[members], minlength=len(sizes))
    found = 2 * shared / (sizes + members.sum())
    return float(found.max()), int(found.argmax())
