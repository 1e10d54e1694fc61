"""Sums up how well batches are mixed and types kept apart, as scIB does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cellgauge_tasks._base import Labels
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.agreement import Crossing, mutual_information, rand_index
from cellgauge_tasks.metrics.clusters import best_of_sweep
from cellgauge_tasks.metrics.contributions import Values

BIO = (
    "best_adjusted_rand_index",
    "best_normalized_mutual_info",
    "silhouette_label",
    "isolated_f1",
    "isolated_asw",
    "clisi",
)
BATCH = ("silhouette_batch", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
BIO_WEIGHT = 0.6


@dataclass(frozen=True)
class Member:
    """One metric: its value, 0 to 1, and that in each draw, shape (draws,)."""

    value: float
    replicates: Values


def agreement(space: Space, labels: Labels, draws: Resamples, seed: int = 42) -> dict[str, Member]:
    """Compare labels with the Leiden clusters of a sweep that agree best with them; see `clusters.best_of_sweep`."""
    crossing = Crossing(labels, best_of_sweep(space, labels, seed=seed).clusters)
    drawn = [crossing.table(row) for block in draws.weights() for row in block]
    return {
        f"best_{name}": Member(metric(crossing.table()), np.array([metric(one) for one in drawn]))
        for name, metric in (("adjusted_rand_index", rand_index), ("normalized_mutual_info", mutual_information))
    }


def mean(found: Mapping[str, Member], members: Iterable[str]) -> Member:
    """Average metrics with equal weight and as they are.

    Nothing is scaled over the methods in a table: a score must not hang on who else is in it.
    """
    chosen = [found[name] for name in members]
    rows = np.array([one.replicates for one in chosen])
    return Member(float(np.mean([one.value for one in chosen])), rows.mean(axis=0))


def total(bio: Member, batch: Member) -> Member:
    """Weigh both parts: 0.6 bio + 0.4 batch.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    rest = 1 - BIO_WEIGHT
    return Member(BIO_WEIGHT * bio.value + rest * batch.value, BIO_WEIGHT * bio.replicates + rest * batch.replicates)
