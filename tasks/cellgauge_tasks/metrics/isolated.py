"""How well labels keep apart that few batches have: what over-correction mixes with others first."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.agreement import best_f1
from cellgauge_tasks.metrics.clusters import RESOLUTIONS, swept
from cellgauge_tasks.metrics.silhouette import isolated_labels

Weights = NDArray[np.floating[Any]]


class Cluster(NamedTuple):
    """The cluster that comes nearest to a label."""

    f1: float
    members: NDArray[np.bool_]
    """Shape (cells,)."""
    resolution: float


def nearest_cluster(embedding: Any, labels: Labels, label: str, seed: int = 42) -> Cluster:
    """Look in Leiden clusters at resolutions 0.2 to 2 for the one with the best F1 against a label."""
    space = Space.of(embedding)
    best: Cluster | None = None
    for resolution in RESOLUTIONS:
        groups = swept(space, resolution, seed)
        found, cluster = best_f1(labels == label, groups)
        if best is None or found > best.f1:
            best = Cluster(found, groups == cluster, resolution)
    assert best is not None  # noqa: S101 - there are resolutions
    return best


def isolated_f1(embedding: Any, labels: Labels, batches: Labels, seed: int = 42) -> float:
    """Average over the isolated labels the best F1 that any Leiden cluster of a sweep has against each.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels, batches
        Shape (cells,).
    seed
        Of Leiden.

    Returns
    -------
    0 to 1.

    Raises
    ------
    NotApplicable
        If no label is isolated.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    space = Space.of(embedding)
    return float(np.mean([nearest_cluster(space, labels, one, seed).f1 for one in isolated_labels(labels, batches)]))


def weighted_f1(
    embedding: Any, labels: Labels, batches: Labels, seed: int = 42
) -> Callable[[Weights], NDArray[np.float64]]:
    """Prepare `isolated_f1` for cells that weigh differently: a function of weights, shape (weightings, cells).

    The clusters stay those that are best without weights.
    """
    space = Space.of(embedding)
    pairs = [
        (labels == one, nearest_cluster(space, labels, one, seed).members) for one in isolated_labels(labels, batches)
    ]

    def f1(weights: Weights) -> NDArray[np.float64]:
        each = []
        for label, cluster in pairs:
            here, there, both = (
                weights[:, some].sum(axis=1, dtype=np.float64) for some in (label, cluster, label & cluster)
            )
            # A draw without any cell of the label says nothing about it: that is not an F1 of 0.
            each.append(np.where(here > 0, 2 * both / np.maximum(here + there, 1), np.nan))
        told = np.isfinite(each).sum(axis=0)
        return np.where(told > 0, np.nansum(each, axis=0) / np.maximum(told, 1), np.nan)

    return f1
