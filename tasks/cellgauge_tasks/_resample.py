"""Draws cells (or donors) again and again, so that a score can say how far it would move with others.

Neighbours, distances and predictions stay as they are; only how much each cell counts changes. The draws depend on
the cells' number, their donors and the seed alone, so two models are compared on the same ones.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import LEVEL, Interval, Labels
from cellgauge_tasks._threads import one_thread

DRAWS = 200
FEWEST_DONORS = 5
"""With fewer, drawing donors says little; cells are drawn then, and the interval says so."""
KEPT = 64 << 20
"""Bytes of draws that are kept for the next metric; more are drawn again."""
BLOCK = 32 << 20
"""Bytes of weights that are in memory at once."""


class Resamples:
    """Bootstrap samples: how often each of `n` cells is in each of `draws` of them.

    Parameters
    ----------
    donors
        Shape (n,); with five different ones or more, whole donors are drawn.
    unit
        What a cell is called.

    References
    ----------
    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 13 (percentile intervals); Davison and
    Hinkley 1997, Bootstrap Methods, section 3.8 (drawing whole clusters).
    """

    def __init__(
        self, n: int, *, seed: int = 42, donors: Labels | None = None, draws: int = DRAWS, unit: str = "cells"
    ) -> None:
        self.n, self.draws, self._seed = n, draws, seed
        self._groups: NDArray[np.int64] | None = None
        self.unit, self.n_units = unit, n
        if donors is not None:
            names, groups = np.unique(donors, return_inverse=True)
            if len(names) >= FEWEST_DONORS:
                self._groups, self.unit, self.n_units = groups, "donors", len(names)

    @cached_property
    def name(self) -> str:
        """Names the draws: other cells, donors, seed or number of draws have another name."""
        told = hashlib.blake2b(f"{self.n} {self.unit} {self._seed} {self.draws}".encode(), digest_size=8)
        if self._groups is not None:
            told.update(np.ascontiguousarray(self._groups).tobytes())
        return told.hexdigest()

    def weights(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape (some draws, n), in order: how often each cell counts."""
        rows = max(1, BLOCK // (4 * self.n))
        drawn = self._drawn if self.draws * self.n_units <= KEPT else self._draw()
        source = iter(drawn)
        for first in range(0, self.draws, rows):
            block = np.empty((min(rows, self.draws - first), self.n_units), dtype=np.float32)
            for row in block:
                row[:] = next(source)
            yield block if self._groups is None else block[:, self._groups]

    @cached_property
    def _drawn(self) -> list[NDArray[np.uint8]]:
        return list(self._draw())

    def _draw(self) -> Iterator[NDArray[np.uint8]]:
        """Draw how often each unit counts, one draw at a time; a count beyond 255 does not come up in any lifetime."""
        random = np.random.default_rng(self._seed)
        for _ in range(self.draws):
            found = np.bincount(random.integers(0, self.n_units, self.n_units), minlength=self.n_units)
            yield np.minimum(found, 255).astype(np.uint8)

    def means(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Average values a cell in every draw.

        Parameters
        ----------
        values
            Shape (n,) or (n, several); NaN in a column leaves that cell out of it.

        Returns
        -------
        Shape (draws,) or (draws, several); NaN where no cell was drawn that has a value.
        """
        columns = np.asarray(values, dtype=np.float64).reshape(self.n, -1)
        known = np.isfinite(columns)
        filled = np.where(known, columns, 0.0)
        parts = []
        with one_thread():
            for block in self.weights():
                with np.errstate(invalid="ignore"):
                    parts.append((block @ filled) / (block @ known))
        return np.concatenate(parts).reshape(self.draws, *np.shape(values)[1:])

    def apply(self, function: Callable[[NDArray[np.float32]], float]) -> NDArray[np.float64]:
        """Call a function with the weights of each draw, shape (n,)."""
        return np.array([function(row) for block in self.weights() for row in block])

    def interval(self, replicates: NDArray[np.floating], value: float | None = None) -> Interval | None:
        """Take the middle `LEVEL` of the replicates, shape (draws,); None where too few are defined.

        With the score's value, the replicates are moved so that their mean is there: a sample with fewer different
        cells makes some scores larger (mutual information) or smaller, whatever the cells are.
        """
        known = replicates[np.isfinite(replicates)]
        least, most = (known.min(initial=np.inf), known.max(initial=-np.inf))
        if value is not None and len(known):
            replicates, known = (each + (value - known.mean()) for each in (replicates, known))
        if len(known) < max(2, self.draws // 2) or self.n_units < 2:
            return None
        low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if value is not None:
            # Within the range that all samples keep to, 0…1 or -1…1, and around the value also of a handful of cells,
            # whose draws are mostly of another kind.
            floor, top = next(((a, 1.0) for a in (0.0, -1.0) if a <= least and most <= 1), (-np.inf, np.inf))
            low, high = min(max(low, floor), value), max(min(high, top), value)
        kept = replicates.astype(np.float32)
        return Interval(float(low), float(high), self.unit, self.n_units, self.name, kept)
