"""Squared distances between blocks of points, to a known precision."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Points of a block: products of two are large enough for BLAS, and small enough for the cache."""
NEAR = 2.0**-6
"""Squared distances below this part of the points' squared norms have lost too many digits in a float32 product."""
VERY_NEAR = 2.0**-24
"""The same for a float64 product; then the coordinates are subtracted one by one."""
FEW = BLOCK * BLOCK // 1024
"""So many near pairs of two blocks are computed one by one; with more, the product is done again in float64."""
CHUNK = 1 << 22
"""Coordinates that are subtracted at once."""
FLAT = 1e-25
"""Where squared norms are smaller than this, float32 products run out of exponents."""

FEW_POINTS = 256
"""So many are compared in float64 from the start."""

Floats = NDArray[np.floating[Any]]
Cells = NDArray[np.int64]
Squares = NDArray[np.floating[Any]]
"""Float64 of few points, else float32."""


class Block(NamedTuple):
    """Some points, ready for products."""

    cells: Cells
    at: slice
    """Where they are among the points."""
    right: Squares
    """Shape (cells, dimensions + 4)."""
    norms: NDArray[np.float64]
    """Squared."""

    def left(self) -> Squares:
        """Make the other factor."""
        made = np.empty_like(self.right)
        np.multiply(self.right[:, :-4], np.float32(-2), out=made[:, :-4])
        made[:, -4:-2], made[:, -2:] = 1, self.right[:, -4:-2]
        return made


class Points:
    """Cells as points around their middle.

    |a - b|² = |a|² + |b|² - 2 a·b is one float32 product of [-2a, 1, |a|²] and [b, |b|², 1], the norms in two halves.
    It loses digits where the points are nearer to each other than to the middle; such pairs are computed again from
    the values given.

    Parameters
    ----------
    values
        Shape (cells, dimensions), float32 or float64, of a size whose squares are finite in float32.
    """

    def __init__(self, values: Floats) -> None:
        self.values, self.dimensions = values, values.shape[1]
        some = values[:: max(1, len(values) // 100)].astype(np.float64)
        # A median: one far cell would move a mean away from all others.
        self.middle = np.median(some, axis=0) if len(some) else np.zeros(self.dimensions)

    def block(self, cells: Cells, start: int = 0) -> Block:
        right = np.empty((len(cells), self.dimensions + 4), dtype=np.float32)
        right[:, :-4] = self.values[cells] - self.middle
        norms = np.einsum("ij,ij->i", right[:, :-4], right[:, :-4], dtype=np.float64)
        right[:, -4] = norms
        right[:, -3] = norms - right[:, -4]
        right[:, -2:] = 1
        return Block(cells, slice(start, start + len(cells)), right, norms)

    def blocks(self, cells: Cells) -> list[Block]:
        return [self.block(cells[low : low + BLOCK], low) for low in range(0, len(cells), BLOCK)]

    def squares(self, left: Squares, rows: Block, columns: Block) -> Squares:
        """Compute the squared distances of two blocks, shape (rows, columns); infinite of a point to itself.

        Zero only where two points are equal.
        """
        if len(self.values) <= FEW_POINTS:
            return self._again(rows, columns)
        found: Squares = left @ columns.right.T
        if rows is columns:
            np.fill_diagonal(found, np.inf)
        norm = rows.norms.max() + columns.norms.max()
        if norm < FLAT:
            return self._again(rows, columns)
        if found.min(initial=np.inf) < norm * NEAR:
            near = np.flatnonzero(found < _sums(rows.norms, columns.norms) * np.float32(NEAR))
            if len(near) > FEW:
                return self._again(rows, columns)
            row, column = np.divmod(near, found.shape[1])
            found.ravel()[near] = self.exact(rows.cells[row], columns.cells[column])
        return found

    def _again(self, rows: Block, columns: Block) -> NDArray[np.float64]:
        found = self.precise(rows.cells, columns.cells)
        if rows is columns:
            np.fill_diagonal(found, np.inf)
        return found

    def precise(self, rows: Cells, columns: Cells) -> NDArray[np.float64]:
        """Compute squared distances in float64, shape (rows, columns)."""
        first, second = (self.values[which].astype(np.float64) for which in (rows, columns))
        middle = np.median(first[:: max(1, len(first) // 32)], axis=0)
        first -= middle
        second -= middle
        norms, others = (np.einsum("ij,ij->i", one, one) for one in (first, second))
        found: NDArray[np.float64] = first @ (-2 * second.T)
        found += norms[:, None]
        found += others
        near = np.flatnonzero(found <= norms[:, None] * VERY_NEAR + others * VERY_NEAR)
        if len(near):
            row, column = np.divmod(near, found.shape[1])
            found.ravel()[near] = self.exact(rows[row], columns[column])
        return found

    def exact(self, rows: Cells, columns: Cells) -> NDArray[np.float64]:
        """Compute the squared distances of pairs of cells from their differences in float64, shape (pairs,)."""
        found = np.empty(len(rows))
        step = max(1, CHUNK // max(1, self.dimensions))
        for low in range(0, len(rows), step):
            some = slice(low, low + step)
            apart = self.values[rows[some]].astype(np.float64)
            apart -= self.values[columns[some]]
            found[some] = np.einsum("ij,ij->i", apart, apart)
        return found

    def error(self, squares: NDArray[np.float64], cells: Cells) -> NDArray[np.float64]:
        """Bound how wrong a squared distance of about `squares` may be, one a cell, as `squares` gave it.

        Rounding of a sum of d products, taken as a random walk with a wide margin. Of the other point it is known that
        it is not farther from the middle than this one and the distance together.
        """
        away = self.values[cells] - self.middle
        size = 3 * np.einsum("ij,ij->i", away, away) + 2 * squares
        return np.asarray(np.finfo(np.float32).eps * (4 + np.sqrt(self.dimensions)) * size)


def _sums(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Squares:
    return np.add.outer(rows.astype(np.float32), columns.astype(np.float32))
