"""Whether the batches around a cell could be a random sample of all."""

from typing import Any

import numpy as np

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks._input import codes
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Contributions, Values
from cellgauge_tasks.metrics.mixing import compositions
from cellgauge_tasks.metrics.silhouette import within

ALPHA = 0.05
FEWEST = 10
"""A label with fewer cells is not tested."""
SMALLEST, LARGEST = 10, 70
K = 50
"""Of `kbet_overall`."""


def neighborhood(batches: Labels) -> int:
    """Say how many cells are tested around each, itself counted: a quarter of the mean batch, 10 to 70, as in scIB."""
    return min(LARGEST, max(SMALLEST, len(batches) // len(np.unique(batches)) // 4))


def tested(batches: Labels) -> bool:
    """Tell whether a label with these batches is tested."""
    return len(batches) >= FEWEST and len(np.unique(batches)) > 1


def statistics(embedding: Any, batches: Labels, k: int) -> Values:
    """Compute Pearson's χ² of the batches around each cell, itself included, against those of all cells.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    batches
        Shape (cells,).
    k
        Cells in a neighbourhood, itself counted.

    Returns
    -------
    Shape (cells,); under random labels it has nearly a χ² distribution with one degree less than there are batches.
    NaN where the neighbours of a cell were not looked for, see `Space`.
    """
    space = Space.of(embedding)
    group, names = codes(batches)
    expected = k * np.bincount(group) / len(group)
    found = np.full(len(group), np.nan)
    indices, asked = space.neighbors(k - 1, sampled=True).indices, space.queries
    for rows, counts in compositions(indices, group, len(names)):
        counts[np.arange(len(counts)), group[asked[rows]]] += 1
        found[asked[rows]] = (np.square(counts - expected) / expected).sum(axis=1)
    return found


def _accepted(space: Space, batches: Labels, k: int, alpha: float) -> Values:
    from scipy.special import chdtrc

    p: Values = chdtrc(len(np.unique(batches)) - 1, statistics(space, batches, k))
    return np.where(np.isnan(p), np.nan, p >= alpha)


def acceptances(embedding: Any, labels: Labels, batches: Labels, alpha: float = ALPHA) -> Contributions:
    """Give each cell's part in `kbet`: 1 if its neighbourhood passes."""
    found = np.full(len(labels), np.nan)
    for cells, space in within(embedding, labels):
        if tested(batches[cells]):
            found[cells] = _accepted(space, batches[cells], neighborhood(batches[cells]), alpha)
    if np.isnan(found).all():
        raise NotApplicable(f"no label has {FEWEST} cells or more, of several batches")
    return Contributions(found, codes(labels)[0])


def kbet(embedding: Any, labels: Labels, batches: Labels, alpha: float = ALPHA) -> float:
    """Compute the k-nearest-neighbour batch effect test's acceptance rate, label by label.

    Within each label alone, the batches among each cell and its k - 1 nearest are tested (χ²) against the batches of
    the label; the share of cells that pass is averaged over labels. Labels of fewer than 10 cells or of one batch take
    no part. k is a quarter of the mean batch of the label, 10 to 70. Every cell is tested, where R's draws a tenth of
    them a hundred times over.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels, batches
        Shape (cells,).
    alpha
        A neighbourhood is rejected with p below it.

    Returns
    -------
    0 to 1; perfectly mixed batches give about 1 - alpha.

    Raises
    ------
    NotApplicable
        If no label takes part.

    References
    ----------
    Büttner et al. 2019, Nature Methods 16:43; by label with this k: Luecken et al. 2022, Nature Methods 19:41, whose
    neighbours are along the graph, where these are exact in the embedding.
    """
    return acceptances(embedding, labels, batches, alpha).value()


def overall(embedding: Any, batches: Labels, k: int = K, alpha: float = ALPHA) -> Contributions:
    """Give each cell's part in `kbet_overall`."""
    space = Space.of(embedding)
    if len(np.unique(batches)) < 2:
        raise NotApplicable(f"1 distinct batch(es) among {len(batches)} cells; at least 2 are needed")
    return Contributions(_accepted(space, batches, min(k, len(space)), alpha))


def kbet_overall(embedding: Any, batches: Labels, k: int = K, alpha: float = ALPHA) -> float:
    """Compute the acceptance rate over all cells at once, whatever their labels, as scib-metrics' `kbet` does.

    It takes a difference in composition between batches for a batch effect; `kbet` does not.

    Parameters
    ----------
    k
        Cells in a neighbourhood, itself counted.

    Returns
    -------
    0 to 1.

    References
    ----------
    Büttner et al. 2019, Nature Methods 16:43; scib-metrics 0.5.10, kbet.
    """
    return overall(embedding, batches, k, alpha).value()
