"""Turns what classifiers predicted into scores, with intervals and what a report shows beside them."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, Score
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.classification import METRICS, Judged, averaged
from cellgauge_tasks.metrics.classification.evaluation import mean
from cellgauge_tasks.metrics.classification.forest import kind

MIN_CELLS = 10
"""A class with fewer cells is left out."""
Key = TypeVar("Key", bound=Hashable)
Params = Mapping[str, str | int | float]
Tables = dict[str, dict[str, NDArray[np.float64]]]
"""Classifier → metric → one value a fold, or a draw."""


def frequent(labels: Labels, least: int = MIN_CELLS) -> NDArray[np.bool_]:
    """Tell which cells are of a label that has so many or more."""
    names, counts = np.unique(labels, return_counts=True)
    return np.isin(labels, names[counts >= least])


def with_mean(tables: Tables) -> Tables:
    """Add the mean of the classifiers."""
    return {**tables, "mean": averaged(tables)}


def in_folds(judged: Mapping[str, Judged]) -> Tables:
    """Give what each classifier, and their mean, reaches in each fold; NaN where a fold has no value."""
    return with_mean({name: one.values for name, one in judged.items()})


def redrawn(judged: Mapping[str, Judged], resamples: Resamples) -> Tables:
    """Compute the mean over folds for every draw of cells, predictions as they are."""
    return with_mean(_redrawn(judged, resamples))


def _redrawn(judged: Mapping[Key, Judged], resamples: Resamples) -> dict[Key, dict[str, NDArray[np.float64]]]:
    parts: dict[Key, dict[str, list[NDArray[np.float64]]]] = {key: {one: [] for one in METRICS} for key in judged}
    for block in resamples.weights():
        weights = np.ascontiguousarray(block.T)
        for key, one in judged.items():
            for metric, values in one.weighted(weights).items():
                parts[key][metric].append(mean(values))
    return {key: {metric: np.concatenate(one) for metric, one in table.items()} for key, table in parts.items()}


def in_pairs(judged: Sequence[Mapping[str, Judged]]) -> Tables:
    """Give what each classifier, and their mean, reaches in each of several evaluations."""
    each = [in_folds(one) for one in judged]
    return {
        name: {metric: np.array([mean(one[name][metric]) for one in each]) for metric in METRICS} for name in each[0]
    }


def redrawn_pairs(judged: Sequence[Mapping[str, Judged]], resamples: Resamples) -> Tables:
    """Compute the mean over several evaluations of the same cells for every draw of cells."""
    draws = _redrawn(
        {(number, name): one for number, pair in enumerate(judged) for name, one in pair.items()}, resamples
    )
    names = list(judged[0])
    return with_mean(
        {
            name: {
                metric: mean(np.stack([draws[number, name][metric] for number in range(len(judged))]))
                for metric in METRICS
            }
            for name in names
        }
    )


def of_folds(tables: Tables, resamples: Resamples) -> Tables:
    """Compute the mean over folds for every draw of folds, where folds are what was drawn."""
    return {
        name: {metric: resamples.means(values) for metric, values in table.items()} for name, table in tables.items()
    }


def scores(
    tables: Tables, draws: Tables | None, resamples: Resamples, n: int, params: Params, *, given: int
) -> list[Score]:
    """Give the mean over folds of each metric, for each classifier and for their mean; what has none is left out.

    Parameters
    ----------
    tables
        One value a fold, see `in_folds`.
    draws
        One value a draw of the resamples; None: no intervals.
    n
        How many cells went into it.
    params
        What belongs to every score, beside the classifier.
    given
        How many cells the classifiers were given, to train on or to predict.
    """
    found = []
    for name, table in tables.items():
        # Which forest it was depends on the number of cells: numbers of one are no numbers of the other.
        forest = (
            {"forest": kind(given)} if name == "random_forest" or (name == "mean" and "random_forest" in tables) else {}
        )
        told = {"classifier": name, **forest, **params}
        for metric, values in table.items():
            if np.isfinite(values).any():
                value = float(mean(values))
                interval = resamples.interval(draws[name][metric], value) if draws else None
                found.append(Score(metric, value, n, told, interval))
    return found


def undefined(tables: Tables, folds: Labels | list[str], what: str) -> None:
    """Warn of metrics that some folds have no value of, since a mean over fewer folds is another mean."""
    for metric, values in tables["mean"].items():
        if len(lost := [fold for fold, value in zip(folds, values, strict=True) if not np.isfinite(value)]):
            names = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            warnings.warn(f"{metric} has no value in {what} {names}: one label only; not in the mean", stacklevel=2)


def details(judged: Mapping[str, Judged], classes: Labels, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Give what a report shows: values by fold and by class, and confusion matrices (true label by predicted one)."""
    found: dict[str, NDArray[Any]] = {f"{prefix}classes": classes}
    for name, one in judged.items():
        found[f"{prefix}{name}/confusion"] = one.confusion
        found |= {f"{prefix}{name}/{metric}/per_class": values for metric, values in one.by_class.items()}
    for name, table in in_folds(judged).items():
        found |= {f"{prefix}{name}/{metric}/per_fold": values for metric, values in table.items()}
    return found
