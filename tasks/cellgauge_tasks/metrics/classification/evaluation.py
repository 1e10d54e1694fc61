"""How well predicted labels fit the true ones: by fold, by class, and however much each cell counts."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.classification.folds import Split

METRICS = ("accuracy", "f1", "precision", "recall", "auroc")


class Judged:
    """The probabilities that a classifier gave to the test cells of each fold, to be held against the truth.

    A cell whose class its fold had no training cell of cannot be predicted right, and takes no part. Only classes that
    have a test cell in a fold count there.

    Parameters
    ----------
    truth
        Shape (cells,): the number of each cell's class.
    splits
        One a fold. No cell is tested twice.
    probabilities
        One array a fold, shape (its test cells, classes).
    """

    def __init__(
        self, truth: NDArray[np.int64], splits: list[Split], probabilities: Sequence[NDArray[np.floating]]
    ) -> None:
        self.n, self.classes = len(truth), probabilities[0].shape[1]
        self.folds = [_Fold(truth, *one) for one in zip(splits, probabilities, strict=True)]

    @property
    def n_judged(self) -> int:
        """How many cells take part."""
        return sum(len(fold.cells) for fold in self.folds)

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """By metric, the value in each fold; NaN where it has none."""
        return {metric: found[:, 0] for metric, found in self.weighted(np.ones((self.n, 1))).items()}

    @cached_property
    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """By metric but accuracy, the mean over folds for each class; NaN where it has none."""
        found = [fold.by_class(np.ones((len(fold.cells), 1))) for fold in self.folds]
        return {metric: mean(np.stack([one[metric][:, 0] for one in found])) for metric in METRICS[1:]}

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """How many cells of each class (row) were predicted to be of each (column)."""
        pairs = [fold.truth * self.classes + fold.predicted for fold in self.folds]
        counts = np.bincount(np.concatenate(pairs), minlength=self.classes**2)
        return counts.reshape(self.classes, self.classes)

    def weighted(self, weights: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
        """Compute every metric in every fold, for several weights of the cells.

        Parameters
        ----------
        weights
            Shape (cells, draws).

        Returns
        -------
        By metric, shape (folds, draws); NaN where a fold has no value.
        """
        found: dict[str, list[NDArray[np.float64]]] = {metric: [] for metric in METRICS}
        for fold in self.folds:
            here = np.ascontiguousarray(weights[fold.cells])
            right, all_ = (fold.predicted == fold.truth) @ here, here.sum(axis=0)
            found["accuracy"].append(divide(right, all_))
            for metric, values in fold.by_class(here).items():
                found[metric].append(mean(values))
        return {metric: np.stack(values) for metric, values in found.items()}


class _Fold:
    def __init__(self, truth: NDArray[np.int64], split: Split, probabilities: NDArray[np.floating]) -> None:
        self.classes = probabilities.shape[1]
        seen = np.bincount(truth[split.train], minlength=self.classes) > 0
        judged = seen[truth[split.test]]
        self.cells, self.chances = split.test[judged], probabilities[judged]
        self.truth = truth[self.cells]
        self.predicted = self.chances.argmax(axis=1) if len(self.cells) else self.truth

    def by_class(self, weights: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
        """Give the metrics of each class against the rest, shape (classes, draws); NaN where no cell is of it.

        A class that is never predicted has precision 0.
        """
        own, given = _sums(self.truth, self.classes) @ weights, _sums(self.predicted, self.classes) @ weights
        right = _sums(np.where(self.truth == self.predicted, self.truth, -1), self.classes) @ weights
        absent = own == 0
        precision = np.where(absent, np.nan, divide(right, np.where(given > 0, given, 1)))
        ranked = np.full(own.shape, np.nan)
        for number, ranks in enumerate(self._ranks):
            if ranks is not None:
                ranked[number] = ranks.auroc(weights, own[number])
        return {
            "f1": divide(2 * right, np.where(absent, 0, own + given)),
            "precision": precision,
            "recall": divide(right, own),
            "auroc": ranked,
        }

    @cached_property
    def _ranks(self) -> "list[_Ranks | None]":
        mixed = len(np.unique(self.truth)) > 1
        return [
            _Ranks.of(self.chances[:, number], self.truth == number) if mixed and (self.truth == number).any() else None
            for number in range(self.classes)
        ]


class _Ranks(NamedTuple):
    """Where the cells of a class stand among the others when ordered by their probability of it.

    A rank is a probability that a cell of the class has.
    """

    positives: Any
    """Sparse, shape (ranks, cells): which cells of the class have it."""
    others: Any
    """Sparse, shape (2 ranks + 1, cells): which others have it (odd rows), or lie between it and the one before."""

    @classmethod
    def of(cls, chances: NDArray[np.floating], positive: NDArray[np.bool_]) -> "_Ranks":
        ranks = np.unique(chances[positive])
        below = np.searchsorted(ranks, chances, side="left")
        tied = np.searchsorted(ranks, chances, side="right") > below
        return cls(
            _sums(np.where(positive, below, -1), len(ranks)),
            _sums(np.where(positive, -1, 2 * below + tied), 2 * len(ranks) + 1),
        )

    def auroc(self, weights: NDArray[np.floating], own: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give the chance that a cell of the class ranks above another, ties counting half (Hanley and McNeil 1982)."""
        others = (self.others @ weights).astype(np.float64)
        lower = np.cumsum(others, axis=0)
        wins = lower[0:-1:2] + others[1::2] / 2
        total = (wins * (self.positives @ weights)).sum(axis=0)
        return divide(total, own.astype(np.float64) * lower[-1])


def _sums(groups: NDArray[np.integer], n: int) -> Any:
    """Make the matrix that adds up what the cells of each group have, shape (groups, cells); -1 is in none."""
    from scipy.sparse import csr_array

    cells = np.flatnonzero(groups >= 0)
    order = cells[np.argsort(groups[cells], kind="stable")]
    ends = np.cumsum(np.bincount(groups[cells], minlength=n))
    shape = (n, len(groups))
    return csr_array((np.ones(len(order), dtype=np.float32), order, np.concatenate([[0], ends])), shape=shape)


def divide(above: NDArray[np.floating], below: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divide, giving NaN for a division by zero."""
    found = np.full(np.shape(above), np.nan)
    # Sums of weights are whole numbers, exact in single precision too; quotients are not.
    np.divide(np.asarray(above, np.float64), np.asarray(below, np.float64), out=found, where=np.asarray(below) > 0)
    return found


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average what is defined over the first axis; NaN where nothing is."""
    known = np.isfinite(values)
    return divide(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def averaged(tables: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Average the metrics of several classifiers."""
    return {metric: np.mean([one[metric] for one in tables.values()], axis=0) for metric in METRICS}
