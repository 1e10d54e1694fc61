"""Keeps the nearest cells that a pass over pairs has met so far. Compiled at first use, and kept compiled."""

from typing import Any

from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def meet(
    near: NDArray[Any],
    first: int,
    second: int,
    slack: float,
    margin: NDArray[Any],
    k: int,
    best: NDArray[Any],
    who: NDArray[Any],
    bound: NDArray[Any],
) -> None:
    """Let two blocks of cells meet: each cell of one takes those of the other that may be among its nearest.

    Parameters
    ----------
    near
        Shape (cells of the first block, cells of the second): minus half the squared distances.
    first, second
        The rows at which the blocks begin.
    slack
        What a squared distance may be larger than the `k`-th smallest by, as a factor, to be kept;
    margin
        and beyond that, shape (cells,).
    best, who
        Shape (cells, kept): the largest of `near` so far, in order, and whose they are.
    bound
        Shape (cells,): what has to be exceeded to be kept.
    """
    for row in range(near.shape[0]):
        own = first + row
        least = bound[own]
        for column in range(near.shape[1]):
            value = near[row, column]
            if value > least:
                keep(own, second + column, value, slack, margin, k, best, who, bound)
                least = bound[own]
            if value > bound[second + column]:
                keep(second + column, own, value, slack, margin, k, best, who, bound)


@njit(cache=True, nogil=True)
def keep(
    own: int,
    other: int,
    value: float,
    slack: float,
    margin: NDArray[Any],
    k: int,
    best: NDArray[Any],
    who: NDArray[Any],
    bound: NDArray[Any],
) -> None:
    """Put one cell where it belongs in another's list, whose last falls out."""
    at = best.shape[1] - 1
    while at > 0 and best[own, at - 1] < value:
        best[own, at], who[own, at] = best[own, at - 1], who[own, at - 1]
        at -= 1
    best[own, at], who[own, at] = value, other
    bound[own] = max(best[own, -1], best[own, k - 1] * slack - margin[own])
