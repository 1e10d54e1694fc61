"""Can simple classifiers read the cell type from the embedding?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from cellgauge_tasks._base import NotApplicable, Score, Task
from cellgauge_tasks._input import labelled
from cellgauge_tasks.metrics.classification import cross_validate

MIN_CELLS = 10
"""A class with fewer cells is left out."""
FOLDS = 5


def score(embedding: ArrayLike, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> list[Score]:
    """Predict `obs["cell_type"]` by three classifiers in stratified 5-fold cross-validation.

    Classes of fewer than 10 cells are left out. Every metric is the mean over folds, for each classifier and for
    their mean; F1, precision, recall and AUROC are averaged over classes with equal weight.
    """
    values, labels = labelled(embedding, obs, "cell_type")
    names, counts = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[counts >= MIN_CELLS])
    if (counts >= MIN_CELLS).sum() < 2:
        raise NotApplicable(f"fewer than 2 classes have {MIN_CELLS} cells or more")
    table = cross_validate(values[kept], labels[kept], folds=FOLDS, seed=seed)
    table["mean"] = {metric: float(np.mean([row[metric] for row in table.values()])) for metric in table["knn"]}
    n = int(kept.sum())
    return [
        Score(metric, value, n, {"classifier": classifier})
        for classifier, row in table.items()
        for metric, value in row.items()
    ]


TASK = Task(
    name="label_prediction",
    version="1",
    title="Can simple classifiers read the cell type from the embedding?",
    roles=("cell_type",),
    score=score,
    headline={"accuracy": "accuracy", "f1": "F1", "auroc": "AUROC"},
    baseline="hvg",
)
