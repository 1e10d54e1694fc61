"""How many labels a cell's neighbourhood has in effect."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks._input import codes
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Contributions, Values

PERPLEXITY = 30
START = 4 / 3
"""Of ln β: about what it is where a third of the neighbours count, as usual. What is found does not depend on it."""
STEPS = 100
TOLERANCE = 1e-9
"""Of the entropy, in nats. Peers stop at 1e-5."""
ROWS = 1024
"""Cells that are searched together: what they need stays in the processor's cache."""


def neighborhood(n: int, perplexity: int = PERPLEXITY, *, itself: bool = True) -> tuple[int, int]:
    """Say how many other cells count, and with which perplexity: of three times as many cells, `itself` among them.

    With fewer cells than that, the perplexity is a third of them.
    """
    kept = max(1, min(perplexity, n // 3))
    return min(3 * kept - itself, n - 1), kept


def lisi(embedding: Any, groupings: Sequence[Labels], perplexity: int = PERPLEXITY, *, itself: bool = True) -> Values:
    """Compute the inverse Simpson index of labels around each cell.

    The 3 x perplexity - 1 nearest other cells have weights exp(-β d), with β such that their entropy is ln(perplexity).
    The index is 1 / Σ p², with p the share of a label in these weights. Neighbours are exact.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    groupings
        Several kinds of labels, each of shape (cells,).
    perplexity
        Of the neighbourhood; see `neighborhood` for few cells.
    itself
        Count the cell among the 3 x perplexity, and leave it out: as lisi in R, harmonypy 0 and scib-metrics do.
        harmonypy 2 takes so many others.

    Returns
    -------
    Shape (cells, kinds), each 1 to the number of labels; NaN where neighbours were not looked for, see `Space`.

    Raises
    ------
    NotApplicable
        If there is one cell.

    References
    ----------
    Korsunsky et al. 2019, Nature Methods 16:1289; harmonypy 0.0.10, compute_lisi.
    """
    space = Space.of(embedding)
    k, kept = neighborhood(len(space), perplexity, itself=itself)
    near, asked = space.neighbors(k, sampled=True), space.queries
    coded = [codes(one) for one in groupings]
    found = np.full((len(space), len(coded)), np.nan)
    for first in range(0, len(asked), ROWS):
        rows = slice(first, first + ROWS)
        weights = _weights(near.distances[rows].astype(np.float64), kept)
        for column, (group, names) in enumerate(coded):
            at = group[near.indices[rows]] + len(names) * np.arange(len(weights))[:, None]
            shares = np.bincount(at.ravel(), weights.ravel(), len(weights) * len(names)).reshape(len(weights), -1)
            found[asked[rows], column] = 1 / np.square(shares).sum(axis=1)
    return found


def _weights(distances: Values, perplexity: int) -> Values:
    """Weigh each row's neighbours, nearest first, such that all rows have the same perplexity.

    Newton's method in ln β, between bounds that close in on each side, for all rows together.
    """
    # What is taken from all distances of a row, or multiplied to them, changes β alone and keeps exp() in range.
    beyond = distances - distances[:, :1]
    scale = beyond.mean(axis=1, keepdims=True)
    beyond = np.divide(beyond, scale, out=np.zeros_like(beyond), where=scale > 0)
    # With as many in the nearest place as count in effect, no β is large enough: these alone have weight then.
    nearest = beyond == 0
    found: Values = nearest / nearest.sum(axis=1, keepdims=True)
    open_ = np.flatnonzero((nearest.sum(axis=1) < perplexity) & (beyond.shape[1] > perplexity))
    at = np.full(len(open_), START)
    low, high = np.full(len(open_), -50.0), np.full(len(open_), 50.0)
    target = np.log(perplexity)
    for number in range(1, STEPS + 1):
        if not len(open_):
            break
        beta, rows = np.exp(at), beyond[open_]
        weights = np.multiply(rows, -beta[:, None])
        np.exp(weights, out=weights)
        total = weights.sum(axis=1)
        first = weights * rows
        mean = first.sum(axis=1) / total
        spread = np.einsum("ij,ij->i", first, rows) / total - mean**2
        excess = np.log(total) + beta * mean - target
        low, high = np.where(excess > 0, at, low), np.where(excess > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = at + excess / (beta**2 * spread)
        at = np.where((step > low) & (step < high), step, (low + high) / 2)
        still = np.abs(excess) >= TOLERANCE if number < STEPS else np.zeros(len(at), dtype=bool)
        found[open_[~still]] = weights[~still] / total[~still, None]
        open_, at, low, high = open_[still], at[still], low[still], high[still]
    return found


def of_batches(found: Values, batches: Labels, *, scale: bool = True) -> Contributions:
    """Give each cell's part in `ilisi`, from its index in `lisi`."""
    n = _several(batches)
    return Contributions((found - 1) / (n - 1) if scale else found, statistic="median")


def of_labels(found: Values, labels: Labels, *, scale: bool = True) -> Contributions:
    """Give each cell's part in `clisi`, from its index in `lisi`."""
    n = _several(labels)
    return Contributions((n - found) / (n - 1) if scale else found, statistic="median")


def _several(labels: Labels) -> int:
    if (n := len(np.unique(labels))) < 2:
        raise NotApplicable(f"{n} distinct label(s) among {len(labels)} cells; at least 2 are needed")
    return n


def ilisi(embedding: Any, batches: Labels, *, scale: bool = True, perplexity: int = PERPLEXITY) -> float:
    """Take the median over cells of `lisi` of batches: in effect, how many batches are around a cell.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    batches
        Shape (cells,), 2 or more distinct ones.
    scale
        (x - 1) / (B - 1), with B batches, as in scIB; without it the number, as in harmonypy.
    perplexity
        See `lisi`.

    Returns
    -------
    0 to 1, or without `scale` 1 to B. More is more mixed.

    Raises
    ------
    NotApplicable
        If there is one batch.

    References
    ----------
    Korsunsky et al. 2019, Nature Methods 16:1289; Luecken et al. 2022, Nature Methods 19:41.
    """
    return of_batches(lisi(embedding, [batches], perplexity)[:, 0], batches, scale=scale).value()


def clisi(embedding: Any, labels: Labels, *, scale: bool = True, perplexity: int = PERPLEXITY) -> float:
    """Take the median over cells of `lisi` of labels, scaled to (L - x) / (L - 1) with L labels.

    Returns
    -------
    0 to 1, more is better separated; without `scale` 1 to L, less is better. See `ilisi`.
    """
    return of_labels(lisi(embedding, [labels], perplexity)[:, 0], labels, scale=scale).value()
