"""Goes once over all pairs of points."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import in_order
from cellgauge_tasks.pairs.device import over_all_pairs
from cellgauge_tasks.pairs.distinct import Codes, Distinct
from cellgauge_tasks.pairs.nearest import Nearest
from cellgauge_tasks.pairs.points import Block, Points
from cellgauge_tasks.pairs.ranking import SPARE, Ranking, Spread, spread
from cellgauge_tasks.pairs.sums import Sums

BAND = 8
"""Blocks of columns that share a block of rows, one after the other."""


class Found(NamedTuple):
    """What all pairs told."""

    means: list[NDArray[np.float64]]
    """Of each grouping, shape (cells, groups): the mean distance to the other cells of a group; NaN without any."""
    indices: NDArray[np.int32] | None
    """Shape (cells, k): the nearest other cells, nearest first."""
    distances: NDArray[np.float32] | None


def sweep(values: NDArray[np.floating[Any]], groupings: Sequence[Codes], k: int, *, device: str | None = None) -> Found:
    """Compute the distances of all pairs, block by block, and keep their sums over groups and the nearest ones.

    Parameters
    ----------
    values
        Shape (cells, dimensions), finite, float32 or float64.
    groupings
        Each of shape (cells,): the number of each cell's group, -1 for none.
    k
        How many neighbours are wanted, fewer than there are cells; 0 for none.
    device
        Where torch does it; None: here.
    """
    distinct = Distinct(values, groupings)
    points = Points(values)
    blocks = points.blocks(distinct.first)
    sums = Sums(groupings, distinct, blocks) if groupings else None
    keep = min(k + SPARE, len(distinct) - 1) if k else 0
    nearest = Nearest(len(distinct), keep) if k else None
    candidates = nearest if keep else None
    if device is None:
        _over_all_pairs(points, blocks, sums, candidates)
    else:
        over_all_pairs(points, blocks, sums, candidates, device)
    del blocks
    means = [sums.means(number) for number in range(len(groupings))] if sums else []
    del sums
    if nearest is None:
        return Found(means, None, None)
    return Found(means, *_neighbors(Ranking(points, distinct.first, nearest, distinct.first, k), distinct, k))


def _over_all_pairs(points: Points, blocks: list[Block], sums: Sums | None, nearest: Nearest | None) -> None:
    def work(task: tuple[int, range]) -> list[tuple[Any, Any]]:
        rows, found = blocks[task[0]], list[tuple[Any, Any]]()
        left = rows.left()
        for columns in (blocks[which] for which in task[1]):
            squares = points.squares(left, rows, columns)
            near = []
            if nearest:
                near = [nearest.candidates(squares, rows.at, columns.cells)]
                if rows is not columns:
                    near.append(nearest.candidates(squares.T, columns.at, rows.cells))
            if rows is columns:
                np.fill_diagonal(squares, 0)
            found.append((sums.parts(np.sqrt(squares, out=squares), rows, columns) if sums else [], near))
        return found

    for found in in_order(work, _tasks(len(blocks))):
        for some, near in found:
            if sums:
                sums.add(some)
            if nearest:
                nearest.add(near)


def _neighbors(ranking: Ranking, distinct: Distinct, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    shape = (len(distinct.point), k)
    indices, distances = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)

    def work(rows: slice) -> Spread:
        return spread(distinct, distinct.first[rows], ranking.ranked(rows), k, each=True)

    for found in in_order(work, ranking.rows()):
        indices[found.cells], distances[found.cells] = found.others, np.sqrt(found.squares)
    return indices, distances


def _tasks(blocks: int) -> Iterator[tuple[int, range]]:
    """Go along the diagonal first: points of one group lie there, and near ones found early spare many candidates."""
    for row in range(blocks):
        yield row, range(row, row + 1)
    for low in range(1, blocks, BAND):
        for row in range(blocks - low):
            yield row, range(row + low, min(row + low + BAND, blocks))
