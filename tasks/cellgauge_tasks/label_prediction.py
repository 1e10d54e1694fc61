"""Can simple classifiers read the cell type from the embedding?"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellgauge_tasks import _controls, _prediction
from cellgauge_tasks._base import Labels, NotApplicable, Score, Scores, Task
from cellgauge_tasks._input import cells, codes, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.classification import Split, grouped, judge, stratified

FOLDS = 5
MOST = 200_000
"""Of more cells, so many are drawn: beyond, more cells change nothing that can be seen."""


def score(embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> Scores:
    """Predict `obs["cell_type"]` by three classifiers in stratified 5-fold cross-validation.

    Classes of fewer than 10 cells are left out. Every metric is the mean over folds, for each classifier and for their
    mean; F1, precision, recall and AUROC are averaged over classes with equal weight. With five donors or more in
    `obs`, there are the same scores with whole donors in each fold (`folds: donor` in `params`), which say how well the
    cells of a new donor would be told apart. Intervals are over cells (donors, if `obs` has them), predictions as they
    are.
    """
    space, known = cells(embedding, obs, "cell_type", optional=("donor",))
    labels = known["cell_type"]
    several(labels)
    kept = _prediction.frequent(labels)
    if len(np.unique(labels[kept])) < 2:
        raise NotApplicable(f"fewer than 2 classes have {_prediction.MIN_CELLS} cells or more")
    if kept.sum() > MOST:
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(kept))[:MOST]
        kept = np.isin(np.arange(len(labels)), chosen)
        kept &= _prediction.frequent(np.where(kept, labels, ""))
    values, (numbers, names) = space.among(kept).values, codes(labels[kept])
    donors = known["donor"][kept] if "donor" in known else None
    resamples = Resamples(len(values), seed=seed, donors=donors)
    found = _cross_validated(values, numbers, names, stratified(numbers, FOLDS, seed), resamples, seed, {})
    if donors is not None and len(np.unique(donors)) >= FOLDS:
        splits = grouped(numbers, donors, FOLDS, seed)
        by_donor = _cross_validated(values, numbers, names, splits, resamples, seed, {"folds": "donor"})
        found.extend(by_donor)
        found.details |= by_donor.details
    return found


def _cross_validated(
    values: NDArray[Any],
    numbers: NDArray[np.int64],
    names: Labels,
    splits: list[Split],
    resamples: Resamples,
    seed: int,
    params: dict[str, str],
) -> Scores:
    judged = judge(values, numbers, splits, seed=seed)
    n, prefix = next(iter(judged.values())).n_judged, "".join(f"by_{one}/" for one in params.values())
    if n < len(values):
        told = f"{len(values) - n} of {len(values)} cells have a label that no other fold has"
        warnings.warn(f"{told}, with folds by {params['folds']}; they do not count there", stacklevel=2)
    tables = _prediction.in_folds(judged)
    _prediction.undefined(tables, [str(number + 1) for number in range(len(splits))], "fold")
    draws = _prediction.redrawn(judged, resamples)
    found: list[Score] = _prediction.scores(tables, draws, resamples, n, params, given=len(values))
    return Scores(found, _prediction.details(judged, names, prefix))


TASK = Task(
    name="label_prediction",
    version="2",
    title="Can simple classifiers read the cell type from the embedding?",
    roles=("cell_type",),
    optional=("donor",),
    score=score,
    headline={"accuracy": "accuracy", "f1": "F1", "auroc": "AUROC"},
    baseline="hvg",
    controls={"positive": _controls.truth("cell_type"), "negative": _controls.chance},
)
