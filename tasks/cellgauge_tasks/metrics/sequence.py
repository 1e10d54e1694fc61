"""Whether cells that are near are near in time too."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks._space import Space

K = 15
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def times(labels: Labels) -> NDArray[np.float64]:
    """Read times: numbers, or words that differ in one number alone (`E3.5`, `E4.5`; `day 2`, `day 10`).

    Parameters
    ----------
    labels
        Shape (cells,).

    Returns
    -------
    Shape (cells,).

    Raises
    ------
    NotApplicable
        If they are no such thing.
    """
    names, codes = np.unique(labels, return_inverse=True)
    values, words = [], set()
    for name in names.tolist():
        try:
            values.append(float(name))
            words.add("")
            continue
        except ValueError:
            found = NUMBER.findall(name.replace("-", " "))
        if len(found) != 1:
            raise NotApplicable(f"'{name}' is no time: a number is needed, or a word with one number in it")
        values.append(float(found[0]))
        words.add(NUMBER.sub("#", name.replace("-", " ")).strip())
    if len(words) > 1:
        raise NotApplicable(f"the times are not of one kind: {', '.join(sorted(repr(one) for one in words)[:3])}")
    if not np.isfinite(values).all():
        raise NotApplicable("a time is not finite")
    return np.array(values)[codes]


def disagreement(embedding: Any, times: NDArray[np.float64], k: int = K) -> NDArray[np.float64]:
    """Average, for each cell, how far the times of its `k` nearest other cells are from its own.

    Returns
    -------
    Shape (cells,), in units of time; NaN for cells whose neighbours are not looked for since there are too many.

    Raises
    ------
    NotApplicable
        If there are not more than `k` cells.
    """
    space = Space.of(embedding)
    near = space.neighbors(k, sampled=True).indices
    found = np.full(len(space), np.nan)
    found[space.queries] = np.abs(times[near] - times[space.queries, None]).mean(axis=1)
    return found


def expected_disagreement(times: NDArray[np.float64], weights: NDArray[np.floating] | None = None) -> Any:
    """Compute the mean of |y_i - y_j| over all pairs of different cells: what random neighbours would give.

    With times in order, 2 Σ (2 i - n - 1) y_(i) / (n (n - 1)), where cz-benchmarks draws at random, unseeded.

    Parameters
    ----------
    times
        Shape (cells,).
    weights
        Shape (draws, cells): how often each cell counts; copies of one cell are no pair.

    Returns
    -------
    A number, or with weights shape (draws,).
    """
    order = np.argsort(times, kind="stable")
    y = times[order]
    w = np.ones((1, len(y))) if weights is None else np.asarray(weights, dtype=np.float64)[:, order]
    before = np.cumsum(w, axis=1) - w
    total = w.sum(axis=1, keepdims=True)
    # Each cell is the later of the pairs with what is before it, and the earlier of those with what is after.
    after = total - before - w
    apart = (w * (before - after)) @ y
    pairs = (total[:, 0] ** 2 - np.square(w).sum(axis=1)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        found = apart / pairs
    return float(found[0]) if weights is None else found


def sequential_alignment(embedding: Any, times: NDArray[np.float64], k: int = K) -> float:
    """Compare how far neighbours are apart in time with what random cells would be: 1 - D / R, not below 0.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    times
        Shape (cells,).
    k
        Neighbours, without the cell itself.

    Returns
    -------
    0 to 1; 0 is chance, 1 means that all neighbours are of one time.

    Raises
    ------
    NotApplicable
        If all times are equal, or there are not more than `k` cells.

    References
    ----------
    cz-benchmarks 0.15, sequential_alignment (normalised), with the exact expectation.
    """
    expected = expected_disagreement(times)
    if expected == 0:
        raise NotApplicable("all cells are of one time")
    return float(np.clip(1 - np.nanmean(disagreement(embedding, times, k)) / expected, 0, 1))
