"""Can the cell types of one batch be read from what a classifier learnt of others?"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellgauge_tasks import _controls, _prediction
from cellgauge_tasks._base import Labels, NotApplicable, Scores, Task
from cellgauge_tasks._input import cells, codes, several
from cellgauge_tasks._resample import FEWEST_DONORS, Resamples
from cellgauge_tasks.metrics.classification import Judged, Split, judge

CLASSIFIERS = ("logistic_regression", "knn")
MOST_PAIRED = 6
"""With more batches, only one against all others is tried: pairs would be many."""


def score(
    embedding: Any,
    obs: Mapping[str, ArrayLike],
    *,
    seed: int = 42,
    group: str = "batch",
    classifiers: tuple[str, ...] = CLASSIFIERS,
) -> Scores:
    """Train on all batches but one (`train: others`), predict `obs["cell_type"]` of that one, and average over batches.

    With six batches or fewer, train also on one batch (`train: one`) and predict each other. Labels of fewer than 10
    cells are left out; a batch counts with 10 cells and 2 labels that are in the training cells too. Cells with other
    labels do not count: their share is told. Intervals are over batches where there are five, else over cells (donors).

    Parameters
    ----------
    group
        The column of what is held out: `batch`, or for instance `donor`.
    classifiers
        Which to use: `random_forest` is the third.
    """
    space, known = cells(embedding, obs, "cell_type", group, optional=("donor",))
    several(known["cell_type"])
    several(known[group], group)
    kept = _prediction.frequent(known["cell_type"])
    if len(np.unique(known["cell_type"][kept])) < 2:
        raise NotApplicable(f"fewer than 2 labels have {_prediction.MIN_CELLS} cells or more")
    values = space.among(kept).values
    numbers, names = codes(known["cell_type"][kept])
    groups, levels = codes(known[group][kept])
    donors = known["donor"][kept] if "donor" in known else None
    data = _Data(values, numbers, names, groups, levels, group, Resamples(len(values), seed=seed, donors=donors), seed)
    found = _from_others(data, classifiers)
    if 2 < len(levels) <= MOST_PAIRED:
        pairs = _from_one(data, classifiers)
        found.extend(pairs)
        found.details |= pairs.details
    return found


class _Data(NamedTuple):
    values: NDArray[Any]
    numbers: NDArray[np.int64]
    names: Labels
    groups: NDArray[np.int64]
    levels: Labels
    role: str
    resamples: Resamples
    seed: int

    def split(self, test: int, train: int | None = None) -> Split | None:
        """Train on one group (all others), test another; None where they have too little in common."""
        asked = np.flatnonzero(self.groups == test)
        known = np.flatnonzero(self.groups != test if train is None else self.groups == train)
        both = np.intersect1d(self.numbers[asked], self.numbers[known])
        enough = np.isin(self.numbers[asked], both).sum() >= _prediction.MIN_CELLS
        return Split(known, asked) if len(both) > 1 and enough and len(known) >= _prediction.MIN_CELLS else None


def _from_others(data: _Data, classifiers: tuple[str, ...]) -> Scores:
    tried = [(level, data.split(number)) for number, level in enumerate(data.levels)]
    splits = [split for _, split in tried if split]
    tested = np.array([level for level, split in tried if split], dtype=str)
    if not splits:
        least = f"{_prediction.MIN_CELLS} cells and 2 labels"
        raise NotApplicable(f"no {data.role} of {len(data.levels)} shares {least} with the others")
    if len(splits) < len(tried):
        left = ", ".join(level for level, split in tried if split is None)
        warnings.warn(f"too few cells or labels shared with the others in {data.role} {left}: left out", stacklevel=2)
    judged = judge(data.values, data.numbers, splits, classifiers=classifiers, seed=data.seed)
    tables = _prediction.in_folds(judged)
    _prediction.undefined(tables, list(tested), data.role)
    n, asked = next(iter(judged.values())).n_judged, sum(len(split.test) for split in splits)
    if n < asked:
        warnings.warn(f"{1 - n / asked:.1%} of the cells have a label that no other {data.role} has", stacklevel=2)
    draws, resamples = _drawn(judged, tables, data, len(splits))
    found = _prediction.scores(tables, draws, resamples, n, {"train": "others"}, given=len(data.values))
    shown = _prediction.details(judged, data.names) | {"tested": tested, "unseen": np.array(1 - n / asked)}
    return Scores(found, shown)


def _drawn(
    judged: Mapping[str, Judged], tables: _prediction.Tables, data: _Data, folds: int
) -> tuple[_prediction.Tables, Resamples]:
    if folds < FEWEST_DONORS:
        return _prediction.redrawn(judged, data.resamples), data.resamples
    unit = f"{data.role}es" if data.role.endswith("ch") else f"{data.role}s"
    resamples = Resamples(folds, seed=data.seed, unit=unit)
    return _prediction.of_folds(tables, resamples), resamples


def _from_one(data: _Data, classifiers: tuple[str, ...]) -> Scores:
    """Train on each group alone, and test each other; a cell is tested several times, so pairs are judged apart."""
    size = len(data.levels)
    judged = {}
    for train, test in np.argwhere(~np.eye(size, dtype=bool)):
        if split := data.split(test, train):
            judged[train, test] = judge(data.values, data.numbers, [split], classifiers=classifiers, seed=data.seed)
    if not judged:
        return Scores()
    each = list(judged.values())
    tables = _prediction.in_pairs(each)
    draws = _prediction.redrawn_pairs(each, data.resamples)
    tested = np.concatenate([next(iter(one.values())).folds[0].cells for one in each])
    shown: dict[str, NDArray[Any]] = {"levels": data.levels}
    for name, table in tables.items():
        for metric, values in table.items():
            shown[f"{name}/{metric}/pairs"] = matrix = np.full((size, size), np.nan)
            matrix[tuple(np.transpose(list(judged)))] = values
    n = len(np.unique(tested))
    told = {"train": "one"}
    return Scores(_prediction.scores(tables, draws, data.resamples, n, told, given=len(data.values)), shown)


TASK = Task(
    name="label_transfer",
    version="1",
    title="Can the cell types of one batch be read from what a classifier learnt of others?",
    roles=("cell_type", "batch"),
    optional=("donor",),
    shown=("batch",),
    score=score,
    headline={"accuracy": "accuracy", "f1": "F1"},
    baseline="hvg",
    controls={"positive": _controls.truth("cell_type"), "negative": _controls.chance},
)
