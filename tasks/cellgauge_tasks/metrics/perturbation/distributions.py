"""How far predicted cells are from true ones as distributions, not only in their means."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import in_order

Cells = NDArray[np.floating]
"""Cells x genes."""
MOST = 1_000
"""Cells of a condition, or of the control, that are compared with each other; of more, so many are drawn."""


class Points(NamedTuple):
    """Cells, and the squares of their distances from the origin, shape (cells,)."""

    values: NDArray[np.float32]
    lengths: NDArray[np.float64]

    @classmethod
    def of(cls, cells: Cells, centre: NDArray[np.float64]) -> "Points":
        """Subtract a centre, which changes no distance: the nearer the origin, the more exact they are."""
        values = (np.asarray(cells) - centre).astype(np.float32)
        return cls(values, np.einsum("ij,ij->i", values, values, dtype=np.float64))


class Pairs(NamedTuple):
    """What all pairs of two groups of cells say of them."""

    distance: float
    """The mean euclidean distance."""
    kernel: float
    """The mean of a Gaussian kernel."""


class Distributions(NamedTuple):
    """How far apart the cells of one condition are."""

    energy: float
    """The energy distance of predicted and true cells."""
    mmd: float
    """Their maximum mean discrepancy; the kernel is as wide as the median distance of the true cells."""
    true_to_control: float
    """The energy distance of true cells and control cells."""
    predicted_to_control: float
    """The energy distance of predicted cells and control cells."""


def compare(
    true: Iterable[Cells], predicted: Iterable[Cells], control: Cells, *, seed: int = 42
) -> list[Distributions]:
    """Compare the cells of each condition, predicted, true and control; at most `MOST` of each.

    Parameters
    ----------
    true, predicted
        For each condition its cells, shape (cells, genes).
    control
        Shape (cells, genes).
    """
    control = drawn(np.asarray(control), seed)
    centre = control.mean(axis=0, dtype=np.float64)
    c = Points.of(control, centre)
    (within,) = in_order(lambda points: pairs(points, points).distance, [c])

    def one(given: tuple[Cells, Cells]) -> Distributions:
        t, p = (Points.of(drawn(np.asarray(cells), seed), centre) for cells in given)
        width = median_distance(t)
        tt, pp, tp = pairs(t, t, width), pairs(p, p, width), pairs(t, p, width)
        tc, pc = pairs(t, c).distance, pairs(p, c).distance
        squared = tt.kernel + pp.kernel - 2 * tp.kernel
        return Distributions(
            max(0.0, 2 * tp.distance - tt.distance - pp.distance),
            float(np.sqrt(max(0.0, squared))) if width > 0 else float("nan"),
            max(0.0, 2 * tc - tt.distance - within),
            max(0.0, 2 * pc - pp.distance - within),
        )

    return list(in_order(one, zip(true, predicted, strict=True)))


def energy_distance(a: Cells, b: Cells) -> float:
    """Compute the energy distance of two groups of cells: 2 E|a - b| - E|a - a'| - E|b - b'|, euclidean.

    Parameters
    ----------
    a, b
        Shape (cells, genes). Every cell is paired with itself, too, so that it is never below 0; with few cells it is
        some way above 0 for two groups of one distribution.

    References
    ----------
    Székely and Rizzo 2013, Journal of Statistical Planning and Inference 143:1249.
    """
    xx, yy, xy = _of_both(a, b)
    return max(0.0, 2 * xy.distance - xx.distance - yy.distance)


def mmd(a: Cells, b: Cells, width: float) -> float:
    """Compute the maximum mean discrepancy of two groups of cells with a Gaussian kernel, exp(-d² / (2 width²)).

    Parameters
    ----------
    a, b
        Shape (cells, genes).
    width
        Of the kernel; see `median_distance`.

    Returns
    -------
    0 to √2, biased upwards where there are few cells, as every cell is paired with itself, too.

    References
    ----------
    Gretton et al. 2012, Journal of Machine Learning Research 13:723, equation 5.
    """
    xx, yy, xy = _of_both(a, b, width)
    return float(np.sqrt(max(0.0, xx.kernel + yy.kernel - 2 * xy.kernel)))


def pairs(a: Points, b: Points, width: float = np.inf) -> Pairs:
    """Average over all pairs of a cell of one group with one of another; with the group itself, also with itself."""
    squares = squared_distances(a, b)
    kernel = 1.0
    if np.isfinite(width) and width > 0:
        kernel = float(np.exp(squares * np.float32(-0.5 / width**2)).mean(dtype=np.float64))
    return Pairs(float(np.sqrt(squares, out=squares).mean(dtype=np.float64)), kernel)


def median_distance(cells: Points) -> float:
    """Find the median distance of different cells, the width of a kernel that suits them; NaN of fewer than two."""
    squares = squared_distances(cells, cells)[np.triu_indices(len(cells.values), k=1)]
    return float(np.sqrt(np.median(squares))) if len(squares) else float("nan")


def squared_distances(a: Points, b: Points) -> NDArray[np.float32]:
    """Compute squared euclidean distances of all pairs, shape (cells of a, cells of b).

    In float32 by a product of matrices; what float32 cannot tell from 0 is 0.
    """
    squares = np.asarray(a.values @ b.values.T)
    squares *= -2
    outer = (a.lengths[:, None] + b.lengths).astype(np.float32)
    squares += outer
    outer *= 8 * np.finfo(np.float32).eps
    squares[squares <= outer] = 0
    return squares


def drawn(cells: Cells, seed: int) -> Cells:
    """Draw `MOST` cells if there are more."""
    chosen = which(len(cells), seed)
    return cells if chosen is None else cells[chosen]


def which(n: int, seed: int) -> NDArray[np.int64] | None:
    """Draw which `MOST` of so many cells are compared; None: all of them."""
    return np.sort(np.random.default_rng(seed).choice(n, MOST, replace=False)) if n > MOST else None


def _of_both(a: Cells, b: Cells, width: float = np.inf) -> Iterator[Pairs]:
    """Of pairs within the first group, within the second, and between them."""
    centre = np.asarray(b, dtype=np.float64).mean(axis=0)
    x, y = Points.of(a, centre), Points.of(b, centre)
    return in_order(lambda both: pairs(*both, width), [(x, x), (y, y), (x, y)])
