"""Can the cell types of one species be read from what a classifier learnt of another?"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cellgauge_tasks import _controls, _prediction
from cellgauge_tasks._base import Labels, NotApplicable, Score, Scores, Task
from cellgauge_tasks._input import cells, codes, donors_apart, several
from cellgauge_tasks._resample import FEWEST_DONORS, Resamples
from cellgauge_tasks.metrics.classification import Judged, Split, grouped, judge, stratified

FOLDS = 5
FEWEST = 5
"""Points to train on: as many as there are neighbours to ask."""


def score(
    embedding: Any,
    obs: Mapping[str, ArrayLike],
    *,
    seed: int = 42,
    aggregations: Sequence[str] = ("none", "mean", "median"),
) -> Scores:
    """Train three classifiers on the cells of one `obs["organism"]`, predict `obs["cell_type"]` of another.

    For each ordered pair (`train` and `test` in `params`), their mean (`species: different`), and within each species
    by stratified 5-fold cross-validation. Labels of fewer than 10 cells in a species are left out of it; only labels
    that the training species has too are tested. Where `obs` has donors, all of it also with one point for each donor
    and label, the `mean` or `median` of its cells (`aggregation` in `params`); then folds are of whole donors.
    Intervals are over cells (donors, if `obs` has them), predictions as they are.

    Parameters
    ----------
    aggregations
        Which of `none`, `mean` and `median` to do.
    """
    space, known = cells(embedding, obs, "cell_type", "organism", optional=("donor",))
    several(known["cell_type"])
    several(known["organism"], "organism")
    whole = _Points(space.values, known["cell_type"], known["organism"], donors_apart(known))
    found = Scores()
    for aggregation in aggregations:
        params = {} if aggregation == "none" else {"aggregation": aggregation}
        if aggregation == "none":
            points = whole.frequent(_prediction.MIN_CELLS)
        elif whole.donors is None:
            continue
        else:
            points = whole.frequent(_prediction.MIN_CELLS).aggregated(aggregation)
        try:
            part = _of(points, seed, params)
        except NotApplicable as problem:
            if not params:
                raise
            warnings.warn(f"aggregation {aggregation}: {problem}", stacklevel=2)
            continue
        found.extend(part)
        found.details |= part.details
    return found


class _Points(NamedTuple):
    values: NDArray[Any]
    labels: Labels
    species: Labels
    donors: Labels | None

    def frequent(self, least: int) -> "_Points":
        """Leave out labels of fewer cells in a species from it."""
        both = np.char.add(np.char.add(self.species, "\x1f"), self.labels)
        kept = _prediction.frequent(both, least)
        return _Points(
            self.values[kept], self.labels[kept], self.species[kept], None if self.donors is None else self.donors[kept]
        )

    def aggregated(self, how: str) -> "_Points":
        """Make one point of the cells of each donor and label, wherever they stand and whatever they are called."""
        assert self.donors is not None  # noqa: S101 - the caller looks
        keys = pd.DataFrame({"species": self.species, "donor": self.donors, "label": self.labels})
        groups = keys.groupby(["species", "donor", "label"], sort=True)
        order = groups.ngroup().to_numpy()
        values = pd.DataFrame(self.values).groupby(order).agg(how).to_numpy()
        first = np.unique(order, return_index=True)[1]
        return _Points(values, self.labels[first], self.species[first], self.donors[first])


def _of(points: _Points, seed: int, params: dict[str, str]) -> Scores:
    species = [str(one) for one in np.unique(points.species)]
    data = _Data(points, *codes(points.labels), Resamples(len(points.labels), seed=seed, donors=points.donors), seed)
    pairs = {pair: judged for pair in permutations(species, 2) if (judged := data.across(*pair))}
    if not pairs:
        none = f"{', '.join(species) or 'the organisms'} have 2 labels of {_prediction.MIN_CELLS} cells in common"
        raise NotApplicable(f"no two of {none}")
    each = list(pairs.values())
    tested = np.unique(np.concatenate([next(iter(one.values())).folds[0].cells for one in each]))
    tables, draws = _prediction.in_pairs(each), _prediction.redrawn_pairs(each, data.resamples)
    told = {"species": "different", **params}
    given = len(points.values)
    found = Scores(_prediction.scores(tables, draws, data.resamples, len(tested), told, given=given))
    prefix = "".join(f"{one}/" for one in params.values())
    for (train, test), judged in [*pairs.items(), *(((one, one), data.within(one, bool(params))) for one in species)]:
        if judged:
            found.extend(_evaluated(judged, data.drawn(test), {"train": train, "test": test, **params}, given))
            found.details |= _prediction.details(judged, data.names, f"{prefix}{train} to {test}/")
    return found


class _Data(NamedTuple):
    points: _Points
    numbers: NDArray[np.int64]
    names: Labels
    resamples: Resamples
    seed: int

    def drawn(self, test: str) -> Resamples:
        """Draw donors if the tested species has enough of them, else cells."""
        donors = self.points.donors
        if donors is None or len(np.unique(donors[self.points.species == test])) >= FEWEST_DONORS:
            return self.resamples
        return Resamples(len(self.points.labels), seed=self.seed)

    def across(self, train: str, test: str) -> dict[str, Judged]:
        """Train on one species, test another; nothing where they have too little in common."""
        split = Split(np.flatnonzero(self.points.species == train), np.flatnonzero(self.points.species == test))
        both = np.intersect1d(self.numbers[split.train], self.numbers[split.test])
        if len(both) < 2 or len(split.train) < FEWEST:
            told = f"{len(both)} labels in common, and {len(split.train)} points to train on"
            warnings.warn(f"{train} to {test}: {told}: left out", stacklevel=2)
            return {}
        judged = judge(self.points.values, self.numbers, [split], seed=self.seed)
        if unseen := len(split.test) - next(iter(judged.values())).n_judged:
            told = f"{unseen} of {len(split.test)} have a label that {train} lacks"
            warnings.warn(f"{train} to {test}: {told}; they do not count", stacklevel=2)
        return judged

    def within(self, species: str, by_donor: bool) -> dict[str, Judged]:
        """Cross-validate in one species; nothing where it has too few labels or donors."""
        here = np.flatnonzero(self.points.species == species)
        inner = codes(self.points.labels[here])[0]
        donors = None if self.points.donors is None else self.points.donors[here]
        few = by_donor and (donors is None or len(np.unique(donors)) < FOLDS)
        if len(here) == 0 or inner.max() == 0 or few:
            return {}
        by = grouped(inner, donors, FOLDS, self.seed) if by_donor and donors is not None else None
        splits = by or stratified(inner, FOLDS, self.seed)
        splits = [Split(here[one.train], here[one.test]) for one in splits]
        return judge(self.points.values, self.numbers, splits, seed=self.seed)


def _evaluated(judged: Mapping[str, Judged], resamples: Resamples, told: dict[str, str], given: int) -> list[Score]:
    tables = _prediction.in_folds(judged)
    n = next(iter(judged.values())).n_judged
    return _prediction.scores(tables, _prediction.redrawn(judged, resamples), resamples, n, told, given=given)


TASK = Task(
    name="cross_species_label_prediction",
    version="1",
    title="Can the cell types of one species be read from what a classifier learnt of another?",
    roles=("cell_type", "organism"),
    optional=("donor",),
    shown=("organism",),
    score=score,
    headline={"accuracy": "accuracy", "f1": "F1", "auroc": "AUROC"},
    baseline="hvg",
    controls={"positive": _controls.truth("cell_type"), "negative": _controls.chance},
)
