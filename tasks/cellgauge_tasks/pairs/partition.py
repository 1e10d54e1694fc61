"""Finds the neighbours of each cell in its own part of the space, where all pairs would be too many."""

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import in_order
from cellgauge_tasks.pairs.distinct import Distinct
from cellgauge_tasks.pairs.nearest import Nearest
from cellgauge_tasks.pairs.points import BLOCK, Block, Cells, Floats, Points
from cellgauge_tasks.pairs.ranking import SPARE, Ranking, Spread, spread

PART = 1000
"""Points of a part, on average."""
SEARCHED = 65_536
"""Points that are looked at for the neighbours of each, those of the nearest parts."""


class Partition:
    """Points by the nearest of some drawn centres; a point's neighbours are looked for in the nearest parts.

    They are exact but for neighbours that lie in other parts, so the effort grows with the cells and not their square.
    """

    def __init__(self, values: Floats, distinct: Distinct, *, seed: int) -> None:
        self.points, self.distinct = Points(values), distinct
        count = max(1, len(distinct) // PART)
        self.centres = np.sort(np.random.default_rng(seed).permutation(distinct.first)[:count])
        home = np.empty(len(distinct), dtype=np.int64)
        blocks = self.points.blocks(self.centres)
        for low, found in in_order(lambda low: (low, self._homes(low, blocks)), range(0, len(distinct), BLOCK)):
            home[low : low + BLOCK] = found
        order = np.argsort(home, kind="stable")
        self.parts: list[Cells] = np.split(distinct.first[order], np.cumsum(np.bincount(home, minlength=count))[:-1])
        """The points of each, by their first cells."""

    def _homes(self, low: int, blocks: list[Block]) -> Cells:
        rows = self.points.block(self.distinct.first[low : low + BLOCK])
        left = rows.left()
        squares = np.concatenate([self.points.squares(left, rows, columns) for columns in blocks], axis=1)
        return np.asarray(squares.argmin(axis=1))

    def searched(self, part: int) -> Cells:
        """Give the points of the parts nearest to one, its own first."""
        away = self.points.precise(self.centres[[part]], self.centres)[0]
        away[part] = -1
        order = np.argsort(away, kind="stable")
        reached = np.cumsum([len(self.parts[one]) for one in order])
        return np.concatenate([self.parts[one] for one in order[: np.searchsorted(reached, SEARCHED) + 1]])

    def neighbors(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Give each cell `k` near other cells and their distances, nearest first, each of shape (cells, k)."""
        shape = (len(self.distinct.point), k)
        indices, distances = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
        for parts in in_order(lambda part: self._part(part, k), range(len(self.parts))):
            for found in parts:
                indices[found.cells], distances[found.cells] = found.others, np.sqrt(found.squares)
        return indices, distances

    def _part(self, part: int, k: int) -> list[Spread]:
        others = self.searched(part)
        keep = min(k + SPARE, len(others) - 1)
        columns, found = self.points.blocks(others), list[Spread]()
        for rows in self.points.blocks(self.parts[part]):
            left, nearest = rows.left(), Nearest(len(rows.cells), keep)
            everyone = slice(0, len(rows.cells))
            for some in columns:
                squares = self.points.squares(left, rows, some)
                if some.at.start == rows.at.start:  # a part's own points come first
                    np.fill_diagonal(squares, np.inf)
                nearest.add([nearest.candidates(squares, everyone, some.cells)])
            ranking = Ranking(self.points, rows.cells, nearest, others, k)
            for one in ranking.rows():
                found.append(spread(self.distinct, rows.cells[one], ranking.ranked(one), k, each=True))
        return found
