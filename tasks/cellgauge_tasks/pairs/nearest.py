"""Keeps the nearest points of each, out of blocks of squared distances."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.pairs.points import Squares

Keys = NDArray[np.uint64]
Part = tuple[NDArray[np.int64], Keys]
"""Points, ascending, and a candidate for each."""
NOTHING = np.uint64(2**64 - 1)
ENDLESS = np.uint64(0x7F800000 << 32)
"""The first key of an infinite distance."""


class Nearest:
    """The `keep` nearest points of each by squared distance, and of equally near ones those of the lowest number.

    A candidate is a key of 64 bits: the float32 squared distance, whose bits sort as it does where it is not negative,
    and the number of the point. What is kept is therefore the same in whatever order candidates come.
    """

    def __init__(self, points: int, keep: int) -> None:
        self.keep = keep
        self.by_number = True
        """Whether of equally near ones those of the lowest number are kept."""
        self._room = keep + max(64, keep // 2)
        self._keys: Keys = np.full((points, self._room), NOTHING)
        self._count = np.zeros(points, dtype=np.int64)
        self._limit = np.full(points, np.finfo(np.float32).max)
        """Farther ones than this are no candidates any more."""

    def candidates(self, squares: Squares, points: slice, numbers: NDArray[np.int64]) -> Part:
        """Find candidates among squared distances.

        Parameters
        ----------
        squares
            Shape (points, others); infinite ones are no candidates.
        numbers
            Shape (others,): the number of each, below 2³².
        """
        near = squares <= self._limit[points, None]
        if np.count_nonzero(near) > len(squares) * (self._room - self.keep):
            return self._best(squares, points, numbers)
        if near.flags.c_contiguous:
            row, column = np.divmod(np.flatnonzero(near), near.shape[1])
        else:
            column, row = np.divmod(np.flatnonzero(near.T), near.shape[0])
            order = np.argsort(row, kind="stable")
            row, column = row[order], column[order]
        return points.start + row, _keys(squares[row, column], numbers[column])

    def _best(self, squares: Squares, points: slice, numbers: NDArray[np.int64]) -> Part:
        """Find the nearest where nearly all are candidates."""
        keys = _keys(squares, numbers)
        if self.keep < keys.shape[1]:
            keys = np.partition(keys, self.keep - 1, axis=1)[:, : self.keep]
        known = keys < ENDLESS
        return points.start + np.nonzero(known)[0], keys[known]

    def add(self, parts: list[Part]) -> None:
        for points, keys in parts:
            while len(points):
                points, keys = self._append(points, keys)

    def put(self, points: slice, numbers: NDArray[np.int64], squares: Squares) -> None:
        """Set what was found elsewhere, of equally near ones any: both of shape (points, kept)."""
        self.by_number = False
        self._keys[points, : self.keep] = _keys(squares, numbers)

    def _append(self, points: NDArray[np.int64], keys: Keys) -> Part:
        """Append as many candidates as there is room for, and give back the rest."""
        starts = np.flatnonzero(np.r_[True, points[1:] != points[:-1]])
        sizes = np.diff(np.r_[starts, len(points)])
        place = self._count[points] + np.arange(len(points)) - np.repeat(starts, sizes)
        fits = place < self._room
        self._keys[points[fits], place[fits]] = keys[fits]
        touched = points[starts]
        self._count[touched] = np.minimum(self._count[touched] + sizes, self._room)
        self._shrink(touched[self._count[touched] == self._room])
        rest, more = points[~fits], keys[~fits]
        still = _squares(more) <= self._limit[rest]
        return rest[still], more[still]

    def _shrink(self, points: NDArray[np.int64]) -> None:
        if not len(points):
            return
        keys = np.partition(self._keys[points], self.keep - 1, axis=1)
        keys[:, self.keep :] = NOTHING
        self._keys[points] = keys
        self._count[points] = self.keep
        self._limit[points] = _squares(keys[:, self.keep - 1])

    def found(self, points: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give the numbers of what is kept, and squared distances, nearest first, each (points, kept)."""
        keys = np.sort(np.partition(self._keys[points], self.keep - 1, axis=1)[:, : self.keep], axis=1)
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), _squares(keys)


def _keys(squares: Squares, numbers: NDArray[np.int64]) -> Keys:
    found: Keys = np.ascontiguousarray(squares, dtype=np.float32).view(np.uint32).astype(np.uint64)
    found <<= np.uint64(32)
    found |= numbers.astype(np.uint64)
    return found


def _squares(keys: Keys) -> NDArray[Any]:
    return (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
