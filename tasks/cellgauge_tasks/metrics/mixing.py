"""How mixed the batches are among each cell's neighbours."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Caveat, Labels, NotApplicable
from cellgauge_tasks._input import codes
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Contributions

K = 200
CHANCE = 0.01
"""Of what could be kept of labels: where its interval reaches below this, nothing is."""
ROOM = 1 << 20
"""Counts that are in memory at once."""


def neighborhood(n: int, k: int = K) -> int:
    """Say how many cells a neighbourhood has, itself counted: `k`; where there are no more, a quarter of the cells."""
    return k if n > k else max(2, n // 4)


def compositions(
    indices: NDArray[np.integer[Any]], groups: NDArray[np.int64], n_groups: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Count the groups among neighbours.

    Parameters
    ----------
    indices
        Shape (cells, k).
    groups
        Shape (cells,), numbers from 0.

    Yields
    ------
    Which cells, and counts of shape (these cells, groups).
    """
    step = max(1, ROOM // max(indices.shape[1], n_groups))
    for first in range(0, len(indices), step):
        rows = slice(first, min(first + step, len(indices)))
        some = groups[indices[rows]] + n_groups * np.arange(rows.stop - first)[:, None]
        yield rows, np.bincount(some.ravel(), minlength=len(some) * n_groups).reshape(len(some), n_groups)


def entropies(embedding: Any, batches: Labels, k: int = K, *, itself: bool = True) -> Contributions:
    """Give each cell's part in `entropy_per_cell`, or without `itself` in `neighbor_entropy`."""
    group, names = codes(batches)
    if len(names) < 2:
        raise NotApplicable(f"{len(names)} distinct batch(es) among {len(group)} cells; at least 2 are needed")
    space = Space.of(embedding)
    indices, asked = space.neighbors(k - 1 if itself else k, sampled=True).indices, space.queries
    found = np.full(len(group), np.nan)
    for rows, counts in compositions(indices, group, len(names)):
        if itself:
            counts[np.arange(len(counts)), group[asked[rows]]] += 1
        share = counts / k
        found[asked[rows]] = -(share * np.log(np.where(counts > 0, share, 1))).sum(axis=1)
    # Rounding leaves 1e-16 below 0 or above 1.
    return Contributions(np.clip(found / np.log(len(names)), 0, 1))


def entropy_per_cell(embedding: Any, batches: Labels, k: int | None = None) -> float:
    """Average the entropy of batches in each cell's neighbourhood, the cell itself among them.

    -Σ p ln p / ln B, with p the share of a batch and B the number of batches of all cells.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    batches
        Shape (cells,), 2 or more distinct ones.
    k
        Cells in a neighbourhood; absent: see `neighborhood`.

    Returns
    -------
    0 to 1; 1 means that all batches have an equal share everywhere, which no embedding can reach where they are not
    equally large.

    Raises
    ------
    NotApplicable
        If there is one batch, or fewer than `k` cells.

    References
    ----------
    cz-benchmarks 0.15, entropy_per_cell; its neighbours are approximate.
    """
    return entropies(embedding, batches, k or neighborhood(len(batches))).value()


def neighbor_entropy(embedding: Any, batches: Labels, k: int | None = None) -> float:
    """Average the entropy of batches among each cell's `k` neighbours, without the cell.

    As `entropy_per_cell`, which its own batch makes a little lower where batches do not mix, and higher where a cell
    is among those of another.
    """
    return entropies(embedding, batches, k or neighborhood(len(batches)), itself=False).value()


def kept(embedding: Any, labels: Labels, k: int | None = None) -> Contributions:
    """Give each cell's part in how far labels are kept among neighbours: 0 is chance, 1 all of its own label.

    (p - e) / (1 - e), with p the share of a cell's neighbours that have its label, and e the share of all other cells
    that have it, averaged over cells. Cohen's kappa is made alike. No score, but what tells whether mixing is worth
    anything: noise mixes batches better than any method.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels
        Shape (cells,), 2 or more distinct ones.
    k
        Cells in a neighbourhood, itself counted; absent: see `neighborhood`.

    Raises
    ------
    NotApplicable
        If there is one label.
    """
    group, names = codes(labels)
    if len(names) < 2:
        raise NotApplicable(f"{len(names)} distinct label(s) among {len(group)} cells; at least 2 are needed")
    space = Space.of(embedding)
    indices, asked = space.neighbors((k or neighborhood(len(group))) - 1, sampled=True).indices, space.queries
    sizes = np.bincount(group)
    chance = float((sizes * (sizes - 1)).sum()) / (len(group) * (len(group) - 1))
    found = np.full(len(group), np.nan)
    found[asked] = ((group[indices] == group[asked][:, None]).mean(axis=1) - chance) / (1 - chance)
    return Contributions(found)


def mind_chance(embedding: Any, labels: Labels, draws: Resamples, what: str = "batches") -> None:
    """Warn where labels are not kept: then `what` may well be mixed, and that says nothing of an integration."""
    with suppress(NotApplicable):
        part = kept(embedding, labels)
        value = part.value()
        span = draws.interval(part.replicates(draws), value)
        if (span.low if span else value) < CHANCE:
            told = (
                f"cell types lie no closer together than chance has it ({value:.3f}, where 0 is chance and 1 all apart)"
            )
            warnings.warn(f"{told}: noise mixes {what}, too", Caveat, stacklevel=3)
