"""Goes over the pairs of all cells with some drawn ones, where all pairs would be too many."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import in_order
from cellgauge_tasks.pairs.distinct import Codes, Distinct, refined
from cellgauge_tasks.pairs.nearest import Nearest, Part
from cellgauge_tasks.pairs.points import BLOCK, Block, Cells, Floats, Points, Squares
from cellgauge_tasks.pairs.ranking import SPARE, Ranking, spread
from cellgauge_tasks.pairs.sums import run_sums, slim

REFERENCES = 1000
"""Cells that stand for a group, fewer where a grouping has so many groups that they would exceed `MOST`."""
FEWEST, MOST = 100, 50_000
QUERIES = 50_000
"""Cells whose neighbours among all cells are found."""


class Sampled(NamedTuple):
    """What the pairs with drawn cells told."""

    means: list[NDArray[np.float64]]
    """Of each grouping, shape (cells, groups): the mean distance to a group's references, itself left out."""
    errors: list[NDArray[np.float32]]
    """Their standard errors; 0 where every cell of the group is a reference."""
    queries: Cells
    indices: NDArray[np.int32] | None
    """Shape (queries, k): their nearest other cells among all."""
    distances: NDArray[np.float32] | None


def sampled(
    values: Floats, groupings: Sequence[Codes], k: int, *, seed: int, queries: int | None = None, distinct: Distinct
) -> Sampled:
    """Compute mean distances to references drawn from each group, and the exact neighbours of drawn cells.

    One random order of the cells decides all: the queries are the first cells in it, a group's references the first of
    the group. So the samples overlap, which spares pairs, and each is a plain random sample by itself.

    Parameters
    ----------
    distinct
        The cells' distinct points, in no groups.
    """
    order = np.random.default_rng(seed).permutation(len(values))
    asking = drawn(len(values), seed, queries) if k else order[:0]
    asking = asking[np.argsort(refined(groupings, len(values))[asking], kind="stable")]
    codes = [np.where(references(one, order), one, -1) for one in groupings]
    more = np.zeros(len(values), dtype=bool)
    for one in codes:
        more |= one >= 0
    more[asking] = False
    rest = np.flatnonzero(more)
    rest = rest[np.argsort(refined(codes, len(values))[rest], kind="stable")]
    points = Points(values)
    landmarks = [points.blocks(asking), points.blocks(rest)]
    nearest = Nearest(len(asking), min(k + SPARE, len(distinct) - 1)) if k else None
    work = _Work(points, distinct, groupings, codes, landmarks, nearest)
    for cells, means, errors, near in in_order(work.rows, range(0, len(distinct), BLOCK)):
        work.means[cells], work.errors[cells] = means, errors
        if nearest:
            nearest.add(near)
    parts = list(pairwise(work.bounds))
    averages = [work.means[:, low:high] for low, high in parts]
    deviations = [work.errors[:, low:high] for low, high in parts]
    if nearest is None:
        return Sampled(averages, deviations, asking, None, None)
    asking, indices, distances = _neighbors(Ranking(points, asking, nearest, distinct.first, k), distinct, k)
    return Sampled(averages, deviations, asking, indices, distances)


def drawn(cells: int, seed: int, queries: int | None = None) -> Cells:
    """Draw the cells whose neighbours are found, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(cells)[: queries or QUERIES])


def references(groups: Codes, order: Cells) -> NDArray[np.bool_]:
    """Choose the first cells of each group in a random order of all cells, shape (cells,)."""
    most = max(FEWEST, min(REFERENCES, MOST // max(1, int(groups.max(initial=-1)) + 1)))
    shuffled = groups[order]
    by_group = np.argsort(shuffled, kind="stable")
    ordered = shuffled[by_group]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[by_group[(place < most) & (ordered >= 0)]]] = True
    return chosen


class _Work:
    """What is done with each block of points: all its pairs with landmarks."""

    def __init__(
        self,
        points: Points,
        distinct: Distinct,
        groupings: Sequence[Codes],
        codes: Sequence[Codes],
        landmarks: list[list[Block]],
        nearest: Nearest | None,
    ) -> None:
        self.points, self.distinct, self.nearest = points, distinct, nearest
        self.groupings, self.codes = groupings, codes
        sizes = [int(one.max(initial=-1)) + 1 for one in groupings]
        self.bounds = np.cumsum([0, *sizes])
        self.sizes, self.drawn = (self._sizes(which) for which in (groupings, codes))
        self.landmarks = [(one, asks == 0, self._slim(one)) for asks, some in enumerate(landmarks) for one in some]
        self.means = np.empty((len(distinct.point), self.bounds[-1]))
        self.errors = np.empty(self.means.shape, dtype=np.float32)
        self._cells, self._starts = distinct.cells()

    def _sizes(self, codes: Sequence[Codes]) -> NDArray[np.float64]:
        found = np.zeros(self.bounds[-1])
        for one, low in zip(codes, self.bounds, strict=False):
            np.add.at(found, one[one >= 0] + low, 1)
        return found

    def _slim(self, block: Block) -> tuple[Codes, Squares]:
        if not self.codes:
            return np.empty(0, dtype=np.int64), np.empty((len(block.cells), 0), dtype=np.float32)
        return slim([one[block.cells] for one in self.codes], self.bounds, np.ones(len(block.cells)))

    def rows(self, start: int) -> tuple[Cells, NDArray[np.float64], NDArray[np.float32], list[Part]]:
        rows = self.points.block(self.distinct.first[start : start + BLOCK], start)
        left, near = rows.left(), list[Part]()
        totals, squared = (np.zeros((self.bounds[-1], len(rows.cells))) for _ in range(2))
        for columns, asks, (touched, members) in self.landmarks:
            squares = self.points.squares(left, rows, columns)
            if asks and self.nearest:
                place = self.distinct.point[columns.cells] - start
                itself = np.flatnonzero((place >= 0) & (place < len(rows.cells)))
                squares[place[itself], itself] = np.inf
                near.append(self.nearest.candidates(squares.T, columns.at, rows.cells))
                squares[place[itself], itself] = 0
            if len(touched):
                squared[touched] += run_sums(members, squares.T)
                totals[touched] += run_sums(members, np.sqrt(squares, out=squares).T)
        last = start + len(rows.cells) - 1
        cells = self._cells[self._starts[start] : self._starts[last] + self.distinct.weight[last]]
        mine = self.distinct.point[cells] - start
        return cells, *self._means(cells, totals[:, mine].T, squared[:, mine].T), near

    def _means(self, cells: Cells, totals: Any, squared: Any) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        drawn, sizes = (np.repeat(one[None], len(cells), axis=0) for one in (self.drawn, self.sizes))
        for which, others in ((self.codes, drawn), (self.groupings, sizes)):
            for one, low in zip(which, self.bounds, strict=False):
                known = one[cells] >= 0
                others[known, one[cells[known]] + low] -= 1  # not the cell itself
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(drawn > 0, totals / drawn, np.nan)
            variances = np.maximum(squared - totals * means, 0) / (drawn - 1)
            errors = np.sqrt(variances / drawn * np.maximum(1 - drawn / sizes, 0))
        errors[drawn >= sizes] = 0
        return means, errors.astype(np.float32)


def _neighbors(ranking: Ranking, distinct: Distinct, k: int) -> tuple[Cells, NDArray[np.int32], NDArray[np.float32]]:
    parts = list(
        in_order(
            lambda rows: spread(distinct, ranking.cells[rows], ranking.ranked(rows), k, each=False), ranking.rows()
        )
    )
    cells = np.concatenate([one.cells for one in parts])
    order = np.argsort(cells)
    indices = np.concatenate([one.others for one in parts])[order].astype(np.int32)
    return cells[order], indices, np.sqrt(np.concatenate([one.squares for one in parts])[order]).astype(np.float32)
