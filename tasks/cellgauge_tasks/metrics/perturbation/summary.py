"""Sums a metric's values up over conditions, with intervals by drawing conditions again."""

import hashlib
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Interval, Labels, Score, Scores
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.perturbation.effects import PerCondition
from cellgauge_tasks.metrics.perturbation.suite import Correlated, Measured

Params = Mapping[str, str | int | float]
FACTS = ("scaled_to", "n_conditions", "undefined_in")
"""Params that say what a number came of, and not which metric it is."""
ALIKE = ("means_of", "n_genes")
"""Params in which two scores have to agree to be compared: errors over other genes, or on another scale, differ."""


def summary(
    measured: Sequence[Measured],
    correlated: Sequence[Correlated],
    names: Labels,
    n_cells: int,
    *,
    params: Params,
    headline: Collection[str] = (),
    seed: int = 42,
) -> Scores:
    """Take the mean and the median of each metric over the conditions that have a value.

    How many have none is in a score's params, as `undefined_in`; a metric that has no value at all is left out, with a
    warning that says why. Scores over different conditions are not compared in pairs: their intervals' `resamples`
    differ, since a model could else gain by having no value where it is bad. The same goes for scores over another
    number of genes, or on another scale.

    Parameters
    ----------
    names
        The conditions, in the order of the values.
    params
        Of every score.
    headline
        Metrics whose number, the first of that name, is warned of where some conditions have no value.

    Returns
    -------
    The scores; in their details the table of all values, conditions x metrics.
    """
    from threadpoolctl import threadpool_limits

    draws = Resamples(len(names), seed=seed, unit="conditions")
    params = {**params, "n_conditions": len(names)}
    kept = [one for one in measured if np.isfinite(one.values).any()]
    _warn_of((one for one in measured if one not in kept), len(names))
    _warn_of_some(kept, headline)
    with threadpool_limits(1, user_api="blas"):  # more would add up in another order
        scores = list(_averaged(kept, n_cells, draws, params))
    scores += [score for one in correlated for score in _over_conditions(one, n_cells, draws, params)]
    scores = [replace(one, interval=_apart(one.interval, params)) for one in scores]
    labels = [" ".join([one.metric, *map(str, one.params.values())]) for one in measured]
    table = np.column_stack([one.values for one in measured]) if measured else np.zeros((len(names), 0))
    return Scores(scores, {"conditions": names, "metrics": np.array(labels, dtype=str), "values": table})


def weighted_median(values: PerCondition, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Find the median of values that count more than once, for each row of weights.

    Parameters
    ----------
    values
        Shape (conditions,).
    weights
        Shape (draws, conditions): whole numbers.

    Returns
    -------
    Shape (draws,); NaN where nothing counts.
    """
    order = np.argsort(values, kind="stable")
    values, below = values[order], np.cumsum(weights[:, order], axis=1, dtype=np.float64)
    half = below[:, -1:] / 2
    low, high = (below < half).sum(axis=1), (below <= half).sum(axis=1)
    last = len(values) - 1
    return np.where(half[:, 0] > 0, (values[np.minimum(low, last)] + values[np.minimum(high, last)]) / 2, np.nan)


def correlation(
    a: PerCondition, b: PerCondition, weights: NDArray[np.floating], *, ranks: bool = False
) -> NDArray[np.float64]:
    """Correlate two values of each condition over conditions that count more than once, for each row of weights.

    Parameters
    ----------
    a, b
        Shape (conditions,).
    weights
        Shape (draws, conditions).
    ranks
        Spearman's in place of Pearson's: ranks are of each draw.

    Returns
    -------
    Shape (draws,); NaN where either is constant among the conditions that count.
    """
    w = np.asarray(weights, dtype=np.float64)
    x, y = (_ranks(one, w) if ranks else np.broadcast_to(one, w.shape) for one in (a, b))
    total = np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    x, y = (one - (w * one).sum(axis=1, keepdims=True) / total for one in (x, y))
    xx, yy, xy = (w * x * x).sum(axis=1), (w * y * y).sum(axis=1), (w * x * y).sum(axis=1)
    limit = 1e-24 * total[:, 0]
    found = np.full(len(w), np.nan)
    np.divide(xy, np.sqrt(xx) * np.sqrt(yy), out=found, where=(xx > limit * _largest(a)) & (yy > limit * _largest(b)))
    return np.asarray(np.clip(found, -1.0, 1.0))


def _largest(values: PerCondition) -> float:
    return max(1e-300, float(np.abs(values).max()) ** 2)


def _ranks(values: PerCondition, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each condition the mean rank of its copies and their equals, for each row of weights."""
    distinct, which = np.unique(values, return_inverse=True)
    many = np.zeros((len(weights), len(distinct)))
    for column, place in enumerate(which):
        many[:, place] += weights[:, column]
    return np.asarray((np.cumsum(many, axis=1) - many / 2 + 0.5)[:, which])


def _averaged(kept: Sequence[Measured], n_cells: int, draws: Resamples, params: Params) -> Iterator[Score]:
    if not kept:
        return
    means = draws.means(np.column_stack([one.values for one in kept]))
    weights = np.concatenate(list(draws.weights()))
    for column, one in enumerate(kept):
        known = np.isfinite(one.values)
        told: dict[str, Any] = {**one.params, **params}
        if not known.all():
            told["undefined_in"] = int((~known).sum())
        for name, value, replicates in (
            ("mean", np.mean(one.values[known]), means[:, column]),
            ("median", np.median(one.values[known]), weighted_median(one.values[known], weights[:, known])),
        ):
            interval = _named(draws.interval(replicates), known)
            yield Score(one.metric, float(value), n_cells, {"over": name, **told}, interval, one.better)


def _named(interval: Interval | None, known: NDArray[np.bool_]) -> Interval | None:
    """Let the name of the draws tell which conditions have a value, where not all have."""
    if interval is None or known.all():
        return interval
    mask = hashlib.blake2b(np.packbits(known).tobytes(), digest_size=4).hexdigest()
    return replace(interval, resamples=f"{interval.resamples}-{mask}")


def _apart(interval: Interval | None, params: Params) -> Interval | None:
    """Let the name of the draws tell what two scores have to agree in."""
    told = ", ".join(str(params[name]) for name in ALIKE if name in params)
    return replace(interval, resamples=f"{interval.resamples} ({told})") if interval and told else interval


def _over_conditions(one: Correlated, n_cells: int, draws: Resamples, params: Params) -> Iterator[Score]:
    everything = np.ones((1, len(one.true)))
    value = float(correlation(one.predicted, one.true, everything, ranks=one.ranks)[0])
    if not np.isfinite(value) or len(one.true) < 3:
        warnings.warn(
            f"{one.metric}: left out, since it needs 3 conditions that differ, in truth and in prediction", stacklevel=4
        )
        return
    weights = np.concatenate(list(draws.weights()))
    interval = draws.interval(correlation(one.predicted, one.true, weights, ranks=one.ranks))
    yield Score(one.metric, value, n_cells, dict(params), interval)


def _warn_of(left_out: Iterable[Measured], n_conditions: int) -> None:
    """Say once for each reason what is left out."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in left_out:
        reasons.setdefault(one.undefined, {}).setdefault(one.metric, []).extend(map(str, one.params.values()))
    for reason, metrics in reasons.items():
        told = (f"{name} ({', '.join(which)})" if which else name for name, which in metrics.items())
        warnings.warn(
            f"{', '.join(told)}: left out, not defined for any of {n_conditions} conditions: {reason}", stacklevel=4
        )


def _warn_of_some(kept: Sequence[Measured], headline: Collection[str]) -> None:
    """Say of the numbers that are read first over how many conditions they are."""
    first: dict[str, Measured] = {}
    for one in kept:
        first.setdefault(one.metric, one)
    for one in (one for name, one in first.items() if name in headline):
        if undefined := int((~np.isfinite(one.values)).sum()):
            n = len(one.values)
            warnings.warn(
                f"{one.metric}: over {n - undefined} of {n} conditions only, not defined for {undefined}: "
                f"{one.undefined}; it is not compared with a score over other conditions",
                stacklevel=4,
            )
