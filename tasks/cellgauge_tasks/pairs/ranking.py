"""Puts the nearest candidates of each point in their true order, and gives each cell its neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.pairs.distinct import Distinct
from cellgauge_tasks.pairs.nearest import Nearest
from cellgauge_tasks.pairs.points import BLOCK, Cells, Points

ROWS = 256
"""Points that are ranked in one go."""
SPARE = 16
"""Candidates that are kept beyond those wanted: enough that rounding can hardly have lost one."""
ALIKE = 2.0**-19
"""Squared distances in float32 whose relative difference is below this are computed again in float64."""
SURELY = 1 + 2.0**-18
"""How far beyond the last one wanted a float64 product has to reach."""


class Ranked(NamedTuple):
    """The nearest other points of some points, nearest first, and of equally near ones the lowest number."""

    numbers: Cells
    """Shape (points, wanted): the first cell of each."""
    squares: NDArray[np.float64]


class Spread(NamedTuple):
    """Cells, and the neighbours of each, nearest first."""

    cells: Cells
    others: Cells
    """Shape (cells, k)."""
    squares: NDArray[np.float64]


class Ranking:
    """Ranks candidates by the differences of their coordinates, and looks again where one may have been missed.

    Parameters
    ----------
    cells
        Shape (asking,): the cells whose neighbours are wanted, one a row of `nearest`.
    others
        Shape (points,): the first cell of each point that there is.
    """

    def __init__(self, points: Points, cells: Cells, nearest: Nearest, others: Cells, k: int) -> None:
        self.points, self.cells, self.nearest, self.others = points, cells, nearest, others
        self.wanted = min(k, nearest.keep)

    def rows(self) -> Iterator[slice]:
        for low in range(0, len(self.cells), ROWS):
            yield slice(low, min(low + ROWS, len(self.cells)))

    def ranked(self, rows: slice) -> Ranked:
        """Rank the other points by distance from each of these cells, as far as wanted."""
        numbers, rough = self.nearest.found(rows)
        farthest = rough.max(axis=1, initial=0).astype(np.float64)
        numbers.sort(axis=1)
        squares = self._squares(rows, numbers)
        if self.points.values.dtype == np.float32:
            self._sharpen(rows, numbers, squares)
        order = np.argsort(squares, axis=1, kind="stable")[:, : self.wanted]
        numbers, squares = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(squares, order, axis=1)
        if 0 < self.nearest.keep < len(self.others) - 1:
            # Zeros are exact, so those of the lowest numbers are there.
            doubtful = squares[:, -1] >= farthest - self.points.error(farthest, self.cells[rows])
            sure = (farthest == 0) & self.nearest.by_number
            for row in np.flatnonzero(doubtful & ~sure):
                numbers[row], squares[row] = self._searched(self.cells[rows.start + row])
        return Ranked(numbers, squares)

    def _squares(self, rows: slice, numbers: Cells) -> NDArray[np.float64]:
        values, found = self.points.values, np.empty(numbers.shape)
        for row, (cell, others) in enumerate(zip(self.cells[rows], numbers, strict=True)):
            apart = values[others]
            apart -= values[cell]
            found[row] = np.einsum("ij,ij->i", apart, apart)
        return found

    def _sharpen(self, rows: slice, numbers: Cells, squares: NDArray[np.float64]) -> None:
        """Compute again, in float64, those that are too alike to be told apart."""
        order = np.argsort(squares, axis=1)
        ordered = np.take_along_axis(squares, order, axis=1)
        alike = np.diff(ordered, axis=1) <= ordered[:, 1:] * ALIKE
        unsure = np.zeros(squares.shape, dtype=bool)
        unsure[:, 1:] = alike
        unsure[:, :-1] |= alike
        row, place = np.nonzero(unsure)
        column = order[row, place]
        squares[row, column] = self.points.exact(self.cells[rows.start + row], numbers[row, column])

    def _searched(self, cell: np.int64) -> tuple[Cells, NDArray[np.float64]]:
        """Search all points for the nearest to one cell."""
        one = np.array([cell])
        parts = [self.others[low : low + BLOCK] for low in range(0, len(self.others), BLOCK)]
        rough = np.concatenate([self.points.precise(one, part)[0] for part in parts])
        rough[self.others == cell] = np.inf
        near = np.flatnonzero(rough <= np.partition(rough, self.wanted - 1)[self.wanted - 1] * SURELY)
        near = near[np.isfinite(rough[near])]
        numbers = self.others[near]
        squares = self.points.exact(np.repeat(one, len(near)), numbers)
        order = np.lexsort((numbers, squares))[: self.wanted]
        return numbers[order], squares[order]


def spread(distinct: Distinct, asking: Cells, ranked: Ranked, k: int, *, each: bool) -> Spread:
    """Count copies as the neighbours that they are, copies of a cell itself first.

    Parameters
    ----------
    asking
        Shape (asking,): the cells of the rows of `ranked`.
    each
        Give neighbours to all copies of a cell.
    """
    if not distinct.copies:
        return Spread(asking, ranked.numbers, ranked.squares)
    members, starts = distinct.cells()
    parts: list[Spread] = []
    for cell, numbers, squares in zip(asking, *ranked, strict=True):
        near = distinct.point[np.r_[cell, numbers]]
        sizes = np.minimum(distinct.weight[near], k + 1)
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        others = members[np.repeat(starts[near], sizes) + place]
        away = np.repeat(np.r_[0.0, squares], sizes)
        order = np.lexsort((others, away))[: k + 1]
        copies = members[starts[near[0]] : starts[near[0]] + distinct.weight[near[0]]] if each else np.array([cell])
        kept = others[order] != copies[:, None]
        kept[kept.all(axis=1), -1] = False
        found = (np.broadcast_to(one[order], kept.shape)[kept].reshape(-1, k) for one in (others, away))
        parts.append(Spread(copies, *found))
    return Spread(*(np.concatenate(one) for one in zip(*parts, strict=True)))
