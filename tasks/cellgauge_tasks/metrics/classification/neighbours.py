"""The 5 nearest training cells of each test cell, exactly, for all folds in one pass over the pairs of cells.

Each fold has a scale of its own, but they differ little. So one pass on one scale finds all cells that can be among the
nearest on any of them, which the ratio of the scales proves; those few are then put in order on the fold's own scale.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import each_alone
from cellgauge_tasks.metrics.classification.folds import Scaled, Split, shared, trained

K = 5
SMALL = 3000
"""With fewer cells scikit-learn does it: nothing has to be compiled."""
KEPT = 32
"""Candidates a cell."""
BLOCK = 1024
WIDE = 2048
AT_ONCE = 16
"""Products of blocks that are in memory at once."""
PAIRS = 32_768
"""Pairs whose exact distances are computed at a time."""


def predict(
    values: NDArray[np.floating], codes: NDArray[np.int64], splits: list[Split], classes: int
) -> list[NDArray[np.float64]]:
    """Give, for the test cells of each split, the classes' shares among the 5 nearest training cells.

    Features are standardised on the training cells; distances are euclidean. That is `StandardScaler()` and
    `KNeighborsClassifier(5)`; which of equally near cells count is open here as there.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    codes
        Shape (cells,): the number of each cell's class.

    Returns
    -------
    One array a split, shape (its test cells, classes).
    """
    if len(values) < SMALL:
        found = [_small(values, split) for split in splits]
    elif shared(splits, len(values)):
        found = _of_folds(values, splits)
    else:
        found = [_of_one(values, split) for split in splits]
    votes = []
    for near in found:
        kinds = codes[near] + classes * np.arange(len(near))[:, None]
        counts = np.bincount(kinds.ravel(), minlength=classes * len(near)).reshape(len(near), classes)
        votes.append(counts / near.shape[1])
    return votes


def _small(values: NDArray[Any], split: Split) -> NDArray[np.intp]:
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(values[split.train])
    finder = NearestNeighbors(n_neighbors=min(K, len(split.train))).fit(scaler.transform(values[split.train]))
    near = finder.kneighbors(scaler.transform(values[split.test]), return_distance=False)
    return np.asarray(split.train[near])


def _of_one(values: NDArray[Any], split: Split) -> NDArray[np.intp]:
    """Find the nearest of one split, whose scale may be its own."""
    both, n = np.concatenate([split.test, split.train]), len(split.test)
    chosen = (np.arange(len(both)) >= n)[:, None]
    scaled = Scaled.of(values[both], chosen, np.float32)
    points = scaled.values * scaled.ratio[0].astype(np.float32)
    found = _candidates(points, [(slice(0, n), slice(n, len(both)))], 1.0, asked=n)
    weights, near = scaled.ratio[0] / scaled.unit, np.empty((n, K), dtype=np.intp)
    near[found.proven] = _in_order(values[both], weights, np.arange(n), found)
    if not found.proven.all():
        lost = np.flatnonzero(~found.proven)
        wider = _wider(values[both], weights, Split(np.arange(n, len(both)), lost))
        near[lost] = _in_order(values[both], weights, lost, wider)
    return np.asarray(both[near])


def _of_folds(values: NDArray[Any], splits: list[Split]) -> list[NDArray[np.intp]]:
    """Find the nearest of all folds in one pass over the pairs of cells that are in different ones."""
    scaled = Scaled.of(values, trained(splits, len(values)), np.float32)
    order = np.concatenate([split.test for split in splits])  # each fold in one piece
    ends = np.cumsum([len(split.test) for split in splits])
    folds = [slice(end - len(split.test), end) for end, split in zip(ends, splits, strict=True)]
    pairs = [(one, other) for number, one in enumerate(folds) for other in folds[number + 1 :]]
    # A feature that is constant in a training set adds the same to all distances from a test cell.
    ratio = np.where(scaled.ratio == scaled.unit, 1.0, scaled.ratio)
    slack = float(((ratio.max(axis=1) / ratio.min(axis=1)) ** 2).max())
    found = _candidates(scaled.values[order], pairs, slack, asked=len(order))
    nearest = []
    for number, (fold, split) in enumerate(zip(folds, splits, strict=True)):
        own = Candidates(order[found.who[fold]], found.kept[fold], found.proven[fold])
        near = np.empty((len(split.test), K), dtype=np.intp)
        near[own.proven] = _in_order(values, scaled.ratio[number] / scaled.unit, split.test, own)
        if not own.proven.all():
            near[~own.proven] = _of_one(values, Split(split.train, split.test[~own.proven]))
        nearest.append(near)
    return nearest


class Candidates(NamedTuple):
    """Those that may be among the nearest of each asked cell."""

    who: NDArray[np.integer]
    """Shape (asked cells, kept)."""
    kept: NDArray[np.bool_]
    """Which of them are."""
    proven: NDArray[np.bool_]
    """Shape (asked cells,): whether no other can be."""


def _candidates(
    points: NDArray[np.float32], pairs: Iterable[tuple[slice, slice]], slack: float, *, asked: int
) -> Candidates:
    """Let the cells of some pieces meet, and keep for each of the first `asked` those that may be near.

    A squared distance on a cell's own scale is at most `slack` times that on another's. What is computed in single
    precision is off by at most (dimensions + 4) roundings of the two squared lengths; hence the margin.
    """
    from cellgauge_tasks.metrics.classification.nearest import meet

    n, dimensions = points.shape
    half = (np.einsum("ij,ij->i", points, points, dtype=np.float64) / 2).astype(np.float32)
    rounding = (dimensions + 4) * 2.0**-24
    slack = float(np.float32(slack * (1 + 20 * rounding)))
    margin = (10 * rounding * half + 1e-30).astype(np.float32)  # where all are equal, none is proven to be nearer
    # One product gives minus half the squared distance: x y - x x / 2 - y y / 2.
    ones = np.ones(n, dtype=np.float32)
    left, right = np.column_stack([points, -half, ones]), np.column_stack([points, ones, -half])
    best = np.full((n, KEPT), -np.inf, dtype=np.float32)
    who = np.zeros((n, KEPT), dtype=np.int32)
    bound = np.full(n, -np.inf, dtype=np.float32)
    bound[asked:] = np.inf
    blocks = [
        (rows, columns) for one, other in pairs for rows in _blocks(one, BLOCK) for columns in _blocks(other, WIDE)
    ]
    with each_alone() as over:
        for first in range(0, len(blocks), AT_ONCE):
            some = blocks[first : first + AT_ONCE]
            for (rows, columns), near in zip(
                some, over(lambda pair: left[pair[0]] @ right[pair[1]].T, some), strict=True
            ):
                meet(near, rows.start, columns.start, slack, margin, K, best, who, bound)
    least = best[:asked, K - 1] * np.float32(slack) - margin[:asked]
    return Candidates(who[:asked], best[:asked] > least[:, None], best[:asked, -1] <= least)


def _blocks(piece: slice, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, piece.stop)) for first in range(piece.start, piece.stop, size))


def _in_order(
    values: NDArray[Any], weights: NDArray[np.float64], test: NDArray[np.intp], found: Candidates
) -> NDArray[np.intp]:
    """Choose the nearest among the candidates of proven cells, by exact distances."""
    asked = test[found.proven]
    cells, kept = np.nonzero(found.kept[found.proven])
    others = found.who[found.proven][cells, kept]
    squares = np.empty(len(cells))
    for first in range(0, len(cells), PAIRS):
        part = slice(first, first + PAIRS)
        apart = (values[asked[cells[part]]] - values[others[part]].astype(np.float64)) * weights
        squares[part] = np.einsum("ij,ij->i", apart, apart)
    order = np.lexsort((others, squares, cells))
    starts = np.searchsorted(cells[order], np.arange(len(asked)))
    return np.asarray(others[order][starts[:, None] + np.arange(K)])


def _wider(values: NDArray[Any], weights: NDArray[np.float64], split: Split) -> Candidates:
    """Find candidates for cells that have too many for a proof, in double precision: there are many equally near."""
    known = values[split.train] * weights
    half = np.einsum("ij,ij->i", known, known) / 2
    kept = min(4 * KEPT, len(known))

    def some(rows: NDArray[np.intp]) -> NDArray[np.intp]:
        far = half - (values[rows] * weights) @ known.T
        if kept == len(known):
            return np.broadcast_to(split.train, far.shape)
        return np.asarray(split.train[np.argpartition(far, kept - 1, axis=1)[:, :kept]])

    with each_alone() as over:
        who = np.concatenate(list(over(some, [split.test[at : at + 128] for at in range(0, len(split.test), 128)])))
    return Candidates(who, np.ones(who.shape, dtype=bool), np.ones(len(who), dtype=bool))
