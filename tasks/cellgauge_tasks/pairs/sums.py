"""Sums of distances to groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.pairs.distinct import Codes, Distinct
from cellgauge_tasks.pairs.points import Block, Squares

RUN = 256
"""Distances that are added up in float32; more lose digits."""

Part = tuple[Codes, slice, NDArray[np.float64]]
"""Some groups' columns, some points, and the sums to add there, shape (columns, points)."""


class Sums:
    """Adds up, for each point, its distances to the cells of each group of several groupings.

    Points are sorted by group, so a block has few groups, and its sums are a product with a slim matrix. They are
    added in float64.
    """

    def __init__(self, groupings: Sequence[Codes], distinct: Distinct, blocks: Sequence[Block]) -> None:
        self.groupings, self.distinct = groupings, distinct
        sizes = [int(one.max(initial=-1)) + 1 for one in groupings]
        self.bounds = np.cumsum([0, *sizes])
        self.totals = np.zeros((self.bounds[-1], len(distinct)))
        self._members = {one.at.start: self._slim(one) for one in blocks}

    def _slim(self, block: Block) -> tuple[Codes, Squares]:
        codes = [one[block.cells] for one in self.groupings]
        return slim(codes, self.bounds, self.distinct.weight[block.at])

    def parts(self, distances: Squares, rows: Block, columns: Block) -> list[Part]:
        """Sum the distances of two blocks, which are overwritten, both ways; of a block with itself once.

        A typical distance is taken off each and added again in float64: small numbers lose fewer digits.
        """
        typical = np.median(distances[0])
        distances -= typical
        found = [self._part(columns, rows.at, distances.T, float(typical))]
        if rows is not columns:
            found.append(self._part(rows, columns.at, distances, float(typical)))
        return found

    def _part(self, block: Block, points: slice, distances: Squares, typical: float) -> Part:
        touched, members = self._members[block.at.start]
        found = run_sums(members, distances)
        found += typical * members.sum(axis=0, dtype=np.float64)[:, None]
        return touched, points, found

    def members(self, block: Block) -> tuple[Codes, Squares]:
        """Give the columns of the groups that a block has, and how often its points are in them."""
        return self._members[block.at.start]

    def add(self, parts: Sequence[Part]) -> None:
        for touched, points, some in parts:
            self.totals[touched, points] += some

    def means(self, number: int) -> NDArray[np.float64]:
        """Divide by the number of other cells: shape (cells, groups of this grouping), NaN where there are none."""
        groups, point = self.groupings[number], self.distinct.point
        totals = self.totals[self.bounds[number] : self.bounds[number + 1]]
        sizes = np.bincount(groups[groups >= 0], minlength=len(totals)).astype(np.float64)
        found = np.empty((len(groups), len(totals)))
        for low in range(0, len(groups), 4096):
            some = slice(low, low + 4096)
            own = groups[some]
            others = np.repeat(sizes[None], len(own), axis=0)
            others[own >= 0, own[own >= 0]] -= 1
            with np.errstate(invalid="ignore"):
                found[some] = np.where(others > 0, totals[:, point[some]].T / others, np.nan)
        return found


def slim(codes: Sequence[Codes], bounds: Codes, weight: NDArray[Any]) -> tuple[Codes, Squares]:
    """Give the columns of the groups that some cells are in, and how much each counts there, (cells, columns)."""
    column = np.concatenate([one + low for one, low in zip(codes, bounds, strict=False)])
    known = np.concatenate(codes) >= 0
    cell = np.tile(np.arange(len(weight)), len(codes))[known]
    touched, place = np.unique(column[known], return_inverse=True)
    made = np.zeros((len(weight), len(touched)), dtype=np.float32)
    made[cell, place] = weight[cell]
    return touched, made


def run_sums(members: Squares, distances: Squares) -> NDArray[np.float64]:
    """Sum the rows of some distances by group, shape (groups, columns)."""
    found = np.zeros((members.shape[1], distances.shape[1]))
    for low in range(0, len(members), RUN):
        found += members[low : low + RUN].T @ distances[low : low + RUN]
    return found
