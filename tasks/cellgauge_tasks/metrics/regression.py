"""How much of an embedding's variance the batches explain."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks._input import codes
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Values

if TYPE_CHECKING:
    import scipy.sparse as sp

ROWS = 8192
"""Cells that are turned to float64 at once."""
ROUNDING = 1e-12


@dataclass(frozen=True)
class Variance:
    """An embedding taken apart, so far as a score and its bootstrap need it."""

    groups: NDArray[np.int64]
    inside: Values
    """Shape (cells, axes): places in the plane through the batches' means, from the mean of all cells."""
    outside: Values
    """Shape (cells,): squared distance from that plane, in which batches do not differ."""

    def explained(self, weights: NDArray[np.floating[Any]]) -> Values:
        """Compute the share that the batches explain, for each of several weightings of the cells.

        The plane stays where it is, and the means move within it.

        Parameters
        ----------
        weights
            Shape (weightings, cells).

        Returns
        -------
        Shape (weightings,), 0 to 1; NaN where there is no variance.
        """
        n_groups, axes = int(self.groups.max()) + 1, self.inside.shape[1]
        sums = np.zeros((n_groups, axes, len(weights)))
        sizes, squares = np.zeros((n_groups, len(weights))), np.zeros(len(weights))
        for first in range(0, len(self.groups), ROWS):
            rows = slice(first, first + ROWS)
            add, some = self._adder(rows), weights[:, rows].T
            found = (add @ some).reshape(n_groups, axes + 2, -1)
            sums += found[:, :axes]
            sizes += found[:, axes]
            squares += found[:, axes + 1].sum(axis=0)
        centre = np.square(sums.sum(axis=0)).sum(axis=0) / sizes.sum(axis=0)
        each = np.divide(np.square(sums).sum(axis=1), sizes, out=np.zeros_like(sizes), where=sizes > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share: Values = np.clip((each.sum(axis=0) - centre) / (squares - centre), 0, 1)
        return share

    def _adder(self, rows: slice) -> "sp.csr_matrix":
        """Make the matrix that adds up, for each batch, places, cells and squares: one thread, so no digit changes."""
        import scipy.sparse as sp

        inside = self.inside[rows]
        squares = np.square(inside).sum(axis=1) + self.outside[rows]
        values = np.column_stack([inside, np.ones(len(inside)), squares])
        width = values.shape[1]
        at = self.groups[rows, None] * width + np.arange(width)
        cells = np.repeat(np.arange(len(inside)), width)
        shape = ((int(self.groups.max()) + 1) * width, len(inside))
        return sp.csr_matrix((values.ravel(), (at.ravel(), cells)), shape=shape)


def variance(embedding: Any, batches: Labels, n_components: int | None = None) -> Variance:
    """Take an embedding apart; see `pcr`."""
    from threadpoolctl import threadpool_limits

    values = Space.of(embedding).values
    groups, names = codes(batches)
    if len(names) < 2:
        raise NotApplicable(f"{len(names)} distinct batch(es) among {len(groups)} cells; at least 2 are needed")
    if not (values.max(axis=0) > values.min(axis=0)).any():
        raise NotApplicable("all cells are in one place: there is no variance to explain")
    with threadpool_limits(1, user_api="blas"):  # more would add up in another order
        if n_components is not None and n_components < min(values.shape):
            values = _components(values, n_components)
        return _apart(values, groups)


def _apart(values: NDArray[Any], groups: NDArray[np.int64]) -> Variance:
    middle = values.mean(axis=0, dtype=np.float64)
    sizes = np.bincount(groups)
    means = np.zeros((len(sizes), values.shape[1]))
    parts = [slice(first, first + ROWS) for first in range(0, len(values), ROWS)]
    for rows in parts:
        at, where = values[rows] - middle, groups[rows]
        for group in np.unique(where):
            means[group] += at[where == group].sum(axis=0)
    means /= sizes[:, None]
    _, lengths, axes = np.linalg.svd(means, full_matrices=False)
    axes = axes[lengths > ROUNDING * lengths[0]]
    inside, outside = np.empty((len(values), len(axes))), np.empty(len(values))
    for rows in parts:
        at = values[rows] - middle
        inside[rows] = at @ axes.T
        outside[rows] = np.maximum(0, np.square(at).sum(axis=1) - np.square(inside[rows]).sum(axis=1))
    return Variance(groups, inside, outside)


def _components(values: NDArray[Any], n_components: int) -> Values:
    """Project on the first principal components, by the covariance of the narrower side."""
    at = values - values.mean(axis=0, dtype=np.float64)
    if at.shape[1] <= at.shape[0]:
        axes = np.linalg.eigh(at.T @ at)[1][:, ::-1][:, :n_components]
        return np.asarray(at @ axes)
    size, axes = np.linalg.eigh(at @ at.T)
    return np.asarray(axes[:, ::-1][:, :n_components] * np.sqrt(np.maximum(size[::-1][:n_components], 0)))


def pcr(embedding: Any, batches: Labels, n_components: int | None = None) -> float:
    """Compute the share of variance that the batches explain: principal component regression.

    Σ Var(PC) R²(PC | batch) / Σ Var(PC). With all components this is the variance between the batches' means over all
    variance, whatever the axes, and is computed so.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    batches
        Shape (cells,), 2 or more distinct ones; always names, never numbers to be regressed on.
    n_components
        Only the first principal components; scIB takes 50.

    Returns
    -------
    0 to 1; less is better integrated.

    Raises
    ------
    NotApplicable
        If there is one batch, or all cells are in one place.

    References
    ----------
    Büttner et al. 2019, Nature Methods 16:43; Luecken et al. 2022, Nature Methods 19:41.
    """
    return float(variance(embedding, batches, n_components).explained(np.ones((1, len(batches))))[0])


@dataclass(frozen=True)
class Comparison:
    """The same cells before an integration and after it."""

    before: Variance
    after: Variance

    def removed(self, weights: NDArray[np.floating[Any]]) -> Values:
        """Compute `pcr_comparison` for each of several weightings of the cells, shape (weightings,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = 1 - self.after.explained(weights) / self.before.explained(weights)
        return np.clip(found, 0, 1)


def comparison(unintegrated: Any, embedding: Any, batches: Labels, n_components: int | None = None) -> Comparison:
    """Take both apart; see `pcr_comparison`."""
    before, after = (variance(one, batches, n_components) for one in (unintegrated, embedding))
    if before.explained(np.ones((1, len(batches))))[0] <= 0:
        raise NotApplicable("the batches explain none of the variance before integration")
    return Comparison(before, after)


def pcr_comparison(unintegrated: Any, embedding: Any, batches: Labels, n_components: int | None = None) -> float:
    """Compute how much less of the variance the batches explain than before integration: 1 - after / before.

    Where they explain more, 0, as in scIB.

    Parameters
    ----------
    unintegrated
        Shape (cells, dimensions): the same cells in the same order before integration, log-normalised or their
        principal components.
    embedding, batches, n_components
        See `pcr`.

    Returns
    -------
    0 to 1.

    Raises
    ------
    NotApplicable
        If the batches explain nothing before integration; and see `pcr`.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    return float(comparison(unintegrated, embedding, batches, n_components).removed(np.ones((1, len(batches))))[0])
