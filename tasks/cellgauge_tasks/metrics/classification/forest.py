"""A random forest: scikit-learn's own for few cells, one on binned features for many."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import granted
from cellgauge_tasks.metrics.classification.folds import Split

TREES = 100
BINNED = 3000
"""From so many cells on, features are cut at quantiles only."""
HALF = 128
"""Half the bins of a feature."""
SAMPLE = 50_000
"""Cells of which the quantiles are taken."""
WHOLE = 1 << 40
"""One tree's vote."""


def kind(n: int) -> str:
    """Tell which forest so many cells get: `exact` (scikit-learn's) or `binned`."""
    return "binned" if n >= BINNED else "exact"


def predict(
    values: NDArray[np.floating], codes: NDArray[np.int64], splits: list[Split], classes: int, *, seed: int = 42
) -> list[NDArray[np.float64]]:
    """Fit 100 trees on the training cells of each split, and give its other cells' probabilities.

    Each tree is grown on as many cells as there are, drawn with replacement, until its leaves are pure; the best cut,
    by Gini impurity, is looked for among the square root of the features. That is `RandomForestClassifier()`; with
    3,000 cells or more, features are cut at 254 places only, which makes other trees, no better or worse.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    codes
        Shape (cells,): the number of each cell's class.
    classes
        How many classes there are; one that is not among the training cells gets probability 0.

    Returns
    -------
    One array a split, shape (its test cells, classes).

    References
    ----------
    Breiman 2001, Machine Learning 45:5.
    """
    if kind(len(values)) == "exact":
        return [_exact(values, codes, split, classes, seed) for split in splits]
    columns, centres = binned(values)
    bins = _Bins(np.ascontiguousarray(columns.T), columns, centres)
    return [_grown(bins, codes, split, classes, [seed, number]) for number, split in enumerate(splits)]


def _exact(
    values: NDArray[Any], codes: NDArray[np.int64], split: Split, classes: int, seed: int
) -> NDArray[np.float64]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(n_estimators=TREES, random_state=seed)
    forest.fit(values[split.train], codes[split.train])
    found = np.zeros((len(split.test), classes))
    found[:, forest.classes_] = forest.predict_proba(values[split.test])
    return found


class _Bins(NamedTuple):
    rows: NDArray[np.uint8]
    columns: NDArray[np.uint8]
    centres: NDArray[np.float64]


def binned(values: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Number the values of each feature by quantiles between which they lie, shape (dimensions, cells).

    Beside them, the mean of the values in each bin, shape (dimensions, 256). Half of the quantiles are of the cells,
    half of the different values: a gene that most cells lack keeps its scale.
    """
    n = len(values)
    some = values if n <= SAMPLE else values[np.random.default_rng(0).permutation(n)[:SAMPLE]]
    found, centres = np.empty(values.shape[::-1], dtype=np.uint8), np.empty((values.shape[1], 2 * HALF))
    for number, column in enumerate(values.T):
        ordered = np.sort(some[:, number])
        different = ordered[np.concatenate([[True], ordered[1:] > ordered[:-1]])]
        edges = np.concatenate([one[np.arange(1, HALF) * len(one) // HALF] for one in (ordered, different)])
        edges = np.unique(edges).astype(np.float64)
        found[number] = np.searchsorted(edges, column)
        places = np.searchsorted(edges, ordered)
        counts = np.bincount(places, minlength=2 * HALF)
        sums = np.bincount(places, ordered, minlength=2 * HALF)
        upper = np.append(edges, np.full(2 * HALF - len(edges), edges[-1]))
        centres[number] = np.where(counts > 0, sums / np.maximum(counts, 1), upper)
    return found, centres


def _grown(
    bins: _Bins,
    codes: NDArray[np.int64],
    split: Split,
    classes: int,
    seed: list[int],
) -> NDArray[np.float64]:
    from cellgauge_tasks.metrics.classification.trees import grow

    train, test = (one.astype(np.int32) for one in split)
    tries = max(1, int(np.sqrt(bins.rows.shape[1])))

    def some_trees(numbers: range) -> NDArray[np.int64]:
        votes = np.zeros((len(codes), classes), dtype=np.int64)
        for number in numbers:
            random = np.random.default_rng([*seed, number])
            counts = np.zeros(len(codes), dtype=np.int32)
            counts[train] = np.bincount(random.integers(0, len(train), len(train)), minlength=len(train))
            known = np.flatnonzero(counts).astype(np.int32)
            grow(*bins, codes, counts, known, test.copy(), tries, int(random.integers(0, 1 << 62)), votes)
        return votes[test]

    threads = granted()
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(some_trees, [range(first, TREES, threads) for first in range(threads)]))
    votes = np.sum(parts, axis=0)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))
