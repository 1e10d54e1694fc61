"""What each cell adds to a score, so that the score and its bootstrap come of the same numbers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import NotApplicable
from cellgauge_tasks._resample import Resamples

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """One value a cell, and how a score is made of them.

    The score is their mean; with `groups` the mean in each group, then that of all groups with equal weight; or the
    median.

    Raises
    ------
    NotApplicable
        If no cell has a value.
    """

    values: Values
    """Shape (cells,); NaN: the cell takes no part."""
    groups: NDArray[np.int64] | None = None
    """Shape (cells,), numbers from 0."""
    statistic: Literal["mean", "median"] = "mean"
    """Groups have no median."""
    errors: Values | None = None
    """Shape (cells,): standard errors of the values where they rest on drawn cells, the same ones for all; NaN as in
    `values`. None: they are exact."""

    def __post_init__(self) -> None:
        if not self._known.any():
            raise NotApplicable("no cell has a value")

    @property
    def _known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.values)

    @property
    def n_cells(self) -> int:
        """How many take part."""
        return int(self._known.sum())

    def value(self) -> float:
        """Make the score."""
        if self.statistic == "median":
            return float(np.median(self.values[self._known]))
        return float(np.mean(self.values[self._known] if self.groups is None else self.used()))

    def error(self) -> float:
        """Tell the standard error of the score, as if all values were off to the same side."""
        return 0.0 if self.errors is None else Contributions(self.errors, self.groups).value()

    def per_group(self) -> Values:
        """Average in each group, shape (groups,); NaN where none of a group takes part."""
        if self.groups is None:
            return np.array([self.value()])
        n = int(self.groups.max()) + 1
        with np.errstate(invalid="ignore"):
            return np.bincount(self.groups, np.where(self._known, self.values, 0.0), n) / np.bincount(
                self.groups, self._known, n
            )

    def used(self) -> Values:
        """Give those of `per_group` that went into the score."""
        means = self.per_group()
        return means[np.isfinite(means)]

    def replicates(self, resamples: Resamples) -> Values:
        """Make the score in each draw, shape (draws,); NaN where it has none.

        A group of which nothing was drawn is left out of that draw. With `errors`, draws lie as much farther from their
        mean as that adds to their spread.
        """
        rows = self._medians if self.statistic == "median" else self._means
        found = np.concatenate([rows(block) for block in resamples.weights()])
        if not (error := self.error()) or not (spread := np.nanstd(found)):
            return found
        middle = np.nanmean(found)
        return np.asarray(middle + (found - middle) * np.hypot(spread, error) / spread)

    def _means(self, weights: NDArray[np.float32]) -> Values:
        import scipy.sparse as sp

        at = np.flatnonzero(self._known)
        groups = np.zeros(len(at), dtype=np.int64) if self.groups is None else self.groups[at]
        shape = (int(groups.max()) + 1, len(self.values))
        # Sparse products run in one thread, so the last digit does not hang on how many there are.
        sums = sp.csr_matrix((self.values[at], (groups, at)), shape=shape) @ weights.T
        counts = sp.csr_matrix((np.ones(len(at)), (groups, at)), shape=shape) @ weights.T
        drawn = counts > 0
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=drawn)
        with np.errstate(invalid="ignore"):
            found: Values = means.sum(axis=0) / drawn.sum(axis=0)
        return found

    def _medians(self, weights: NDArray[np.float32]) -> Values:
        known = np.flatnonzero(self._known)
        order = known[np.argsort(self.values[known], kind="stable")]
        values = self.values[order]
        found = np.full(len(weights), np.nan)
        for row, one in enumerate(weights):
            until = np.cumsum(one[order], dtype=np.float64)
            half = until[-1] / 2
            if half > 0:
                low, high = np.searchsorted(until, half, "left"), np.searchsorted(until, half, "right")
                found[row] = (values[low] + values[min(high, len(values) - 1)]) / 2
        return found
