"""Takes cells together that are the same point in the same groups, and sorts them by group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


class Distinct:
    """Distinct points, sorted by group; each stands for one cell, or for several copies of it.

    An embedding may hold one vector many thousand times (a constant, one vector a label): as one point, the copies are
    neither compared with each other nor do they crowd out the neighbours that differ.

    Parameters
    ----------
    values
        Shape (cells, dimensions), float32 or float64.
    groupings
        Each of shape (cells,): the number of each cell's group, -1 for none.
    """

    def __init__(self, values: NDArray[np.floating[Any]], groupings: Sequence[Codes]) -> None:
        group = refined(groupings, len(values))
        row = same_rows(values)
        if row is None:
            order = np.argsort(group, kind="stable")
            self.first: Codes = order
            """Shape (points,): the first cell that each stands for."""
            self.point: Codes = np.empty(len(values), dtype=np.int64)
            """Shape (cells,): the point that stands for each."""
            self.point[order] = np.arange(len(values))
        else:
            _, self.first, self.point = np.unique(
                group * (row.max(initial=0) + 1) + row, return_index=True, return_inverse=True
            )
            order = np.lexsort((self.first, group[self.first]))
            place = np.empty(len(order), dtype=np.int64)
            place[order] = np.arange(len(order))
            self.first, self.point = self.first[order], place[self.point]
        self.weight: Codes = np.bincount(self.point, minlength=len(self.first))
        """Shape (points,): how many cells each stands for."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def copies(self) -> bool:
        """Whether a point stands for more than one cell."""
        return len(self.first) < len(self.point)

    def cells(self) -> tuple[Codes, Codes]:
        """Give the cells of all points, one point after the other and ascending in each, and where each one's begin."""
        return np.argsort(self.point, kind="stable"), np.cumsum(self.weight) - self.weight


def refined(groupings: Sequence[Codes], cells: int) -> Codes:
    """Number the combinations of several groupings, those of the finest first: shape (cells,), from 0."""
    found = np.zeros(cells, dtype=np.int64)
    for one in sorted(groupings, key=lambda one: -int(one.max(initial=-1))):
        found = np.unique(found * (one.max(initial=-1) + 2) + one + 1, return_inverse=True)[1].astype(np.int64)
    return found


def same_rows(values: NDArray[np.floating[Any]]) -> Codes | None:
    """Number equal rows alike, shape (cells,); None where no two are equal."""
    told = _fingerprint(values)
    if len(np.unique(told)) == len(values):
        return None
    _, first, number = np.unique(told, return_index=True, return_inverse=True)
    # Different rows of one fingerprint, should it ever happen, each become a row of their own.
    again = np.flatnonzero(first[number] != np.arange(len(values)))
    parts = np.array_split(again, 1 + len(again) // 1024)
    parted = again[np.concatenate([(values[one] != values[first[number[one]]]).any(axis=1) for one in parts])]
    number[parted] = len(first) + np.arange(len(parted))
    return number.astype(np.int64)


def _fingerprint(values: NDArray[np.floating[Any]]) -> NDArray[np.uint64]:
    """Hash each row, exactly: integers wrap around, whatever the order of the sum."""
    kind = np.uint32 if values.dtype.itemsize == 4 else np.uint64
    factors = np.random.default_rng(0).integers(1 << 62, size=values.shape[1], dtype=np.uint64) * 2 + 1
    found = np.empty(len(values), dtype=np.uint64)
    for low in range(0, len(values), 1024):
        block = np.ascontiguousarray(values[low : low + 1024]) + values.dtype.type(0)  # there is one zero then
        bits = block.view(kind).astype(np.uint64)
        bits ^= bits >> np.uint64(15)
        found[low : low + 1024] = np.einsum("ij,j->i", bits * (bits | np.uint64(1)), factors)
    return found
