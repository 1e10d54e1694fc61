"""How well labels can be predicted, by plain classifiers.

Logistic regression and 5 nearest neighbours on standardised features, a random forest of 100 trees on features as they
are. F1, precision, recall and AUROC (one label against the rest) are means over labels of equal weight, also where
there are two. A label that is never predicted has precision 0.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellgauge_tasks._base import Labels
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.classification import forest, logistic, neighbours
from cellgauge_tasks.metrics.classification.evaluation import METRICS, Judged, averaged
from cellgauge_tasks.metrics.classification.folds import Split, grouped, stratified

__all__ = ["CLASSIFIERS", "METRICS", "Judged", "Split", "averaged", "cross_validate", "grouped", "judge", "stratified"]

CLASSIFIERS = ("logistic_regression", "knn", "random_forest")
Table = dict[str, dict[str, float]]
"""Classifier → metric → value."""


def judge(
    values: NDArray[np.floating],
    codes: NDArray[np.int64],
    splits: list[Split],
    *,
    classifiers: Iterable[str] = CLASSIFIERS,
    seed: int = 42,
) -> dict[str, Judged]:
    """Train classifiers on the training cells of each split, and hold what they say of its test cells to the truth.

    Parameters
    ----------
    values
        Shape (cells, dimensions), finite.
    codes
        Shape (cells,): the number of each cell's label, from 0.
    seed
        Of the forest; the others draw nothing.
    """
    classes = int(codes.max()) + 1
    found = {}
    for name in classifiers:
        if name == "random_forest":
            chances = forest.predict(values, codes, splits, classes, seed=seed)
        else:
            chances = {"logistic_regression": logistic, "knn": neighbours}[name].predict(values, codes, splits, classes)
        found[name] = Judged(codes, splits, chances)
    return found


def cross_validate(embedding: ArrayLike | Space, labels: Labels, *, folds: int = 5, seed: int = 42) -> Table:
    """Score three classifiers in stratified, shuffled cross-validation.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions).
    labels
        Shape (cells,); each label needs at least `folds` cells, so that every metric is defined in every fold.
    folds
        Number of folds.
    seed
        Of the folds and the forest.

    Returns
    -------
    Per classifier, the mean over folds of accuracy, f1, precision, recall and auroc, each 0 to 1.

    Raises
    ------
    ValueError
        If a label has fewer cells than there are folds.
    """
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    judged = judge(Space.of(embedding).values, codes, stratified(codes, folds, seed), seed=seed)
    return {name: {metric: float(one.values[metric].mean()) for metric in METRICS} for name, one in judged.items()}
