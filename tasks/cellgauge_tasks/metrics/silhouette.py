"""How compact groups of cells are, and how far apart."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks._input import codes
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Contributions, Values

Metric = Literal["euclidean", "cosine"]
Between = Literal["nearest", "mean_other", "furthest"]
NOTHING = 1e-12
"""Cosine distances below it are rounding."""


def silhouette_cells(
    embedding: Any, labels: Labels, *, metric: Metric = "euclidean", between: Between = "nearest"
) -> Values:
    """Compute each cell's silhouette width.

    s = (b - a) / max(a, b), with a its mean distance to the other cells of its label and b that to another label. It
    is 0 for the only cell of a label, and where a and b are both 0.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels
        Shape (cells,), 2 or more distinct ones, fewer than there are cells.
    metric
        `cosine` is 1 - the cosine of the angle; a cell at the origin has 1 to all others.
    between
        Of the other labels, b is the mean distance to the `nearest` (Rousseeuw), to the cells of all of them
        (`mean_other`), or to the `furthest` label.

    Returns
    -------
    Shape (cells,), -1 to 1.

    Raises
    ------
    NotApplicable
        If there is one label, or each cell has its own.

    References
    ----------
    Rousseeuw 1987, Journal of Computational and Applied Mathematics 20:53; Rautenstrauch and Ohler 2025, Nature
    Biotechnology (`mean_other` and `furthest`).
    """
    space = Space.of(embedding)
    groups, names = codes(labels)
    if len(names) == len(groups):
        raise NotApplicable("every cell has a label of its own")
    if len(names) < 2:
        raise NotApplicable(f"{len(names)} distinct label(s) among {len(groups)} cells; at least 2 are needed")
    if _in_one_place(space.values):
        return np.zeros(len(groups))  # whatever rounding makes of the distances
    means = space.mean_distances(groups) if metric == "euclidean" else _mean_cosines(space.values, groups)
    return _widths(means, groups, between)


def _in_one_place(values: NDArray[Any]) -> bool:
    return all((values[first : first + 4096] == values[0]).all() for first in range(0, len(values), 4096))


def _widths(means: Values, groups: NDArray[np.int64], between: Between) -> Values:
    sizes = np.bincount(groups)
    every = np.arange(len(groups))
    own = means[every, groups]
    others = means.copy()
    if between == "mean_other":
        others[every, groups] = 0
        other = np.nan_to_num(others) @ sizes / (len(groups) - sizes[groups])
    else:
        others[every, groups] = np.inf if between == "nearest" else -np.inf
        other = others.min(axis=1) if between == "nearest" else others.max(axis=1)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((other - own) / np.maximum(own, other))  # 0 / 0, or alone


def _mean_cosines(values: NDArray[Any], groups: NDArray[np.int64]) -> Values:
    """Average cosine distances to the other cells of each group, which is linear: one sum of directions a group."""
    from threadpoolctl import threadpool_limits

    at = values.astype(np.float64)
    squares = np.einsum("ij,ij->i", at, at)
    at = np.divide(at, np.sqrt(squares)[:, None], out=at, where=squares[:, None] > 0)
    sizes, every = np.bincount(groups), np.arange(len(groups))
    order = np.argsort(groups, kind="stable")
    sums = np.add.reduceat(at[order], np.cumsum(sizes) - sizes)
    with threadpool_limits(1, user_api="blas"):  # more would add up in another order
        alike = at @ sums.T
    alike[every, groups] -= np.einsum("ij,ij->i", at, at)
    others = np.broadcast_to(sizes, alike.shape).astype(np.float64)
    others[every, groups] -= 1
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(others > 0, 1 - alike / others, np.nan)
    return np.where(np.abs(found) < NOTHING, 0.0, found)


def rescaled(widths: Values) -> Values:
    """Rescale widths from -1…1 to 0…1."""
    return (widths + 1) / 2


def silhouette_errors(embedding: Any, labels: Labels) -> Values | None:
    """Estimate the standard error of each width, shape (cells,), where distances are those to drawn cells; see `Space`.

    None: they are exact.
    """
    space = Space.of(embedding)
    if space.sampled is None:
        return None
    groups, every = codes(labels)[0], np.arange(len(labels))
    means, errors = space.mean_distances(groups).copy(), space.mean_error(groups)
    own, own_error = means[every, groups], errors[every, groups]
    means[every, groups] = np.inf
    nearest = means.argmin(axis=1)
    most = np.maximum(own, means[every, nearest])
    off: Values = np.hypot(own_error, errors[every, nearest]).astype(np.float64)
    return np.asarray(np.divide(off, most, out=np.zeros_like(off), where=most > 0))


def label_widths(embedding: Any, labels: Labels) -> Contributions:
    """Give each cell's part in `silhouette_label`."""
    errors = silhouette_errors(embedding, labels)
    return Contributions(rescaled(silhouette_cells(embedding, labels)), errors=None if errors is None else errors / 2)


def silhouette_label(embedding: Any, labels: Labels) -> float:
    """Compute the mean silhouette width of labels, rescaled to 0…1: (mean(s) + 1) / 2, as in scIB.

    Parameters
    ----------
    embedding, labels
        See `silhouette_cells`.

    Returns
    -------
    0 to 1; 0.5 means overlapping labels.

    Raises
    ------
    NotApplicable
        See `silhouette_cells`.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    return label_widths(embedding, labels).value()


def isolated_labels(labels: Labels, batches: Labels, at_most: int | None = None) -> list[str]:
    """Find the labels that few batches have.

    Parameters
    ----------
    at_most
        In so many batches; absent: in as few as the label that is in the fewest.

    Raises
    ------
    NotApplicable
        If every label is in every batch, or none is in so few.
    """
    label, names = codes(labels)
    batch, several = codes(batches)
    shared = np.unique(label * len(several) + batch) // len(several)
    found = np.bincount(shared)
    limit = int(found.min()) if at_most is None else at_most
    if limit >= len(several):
        raise NotApplicable(f"no label is isolated: each is in all {len(several)} batches, or may be")
    if not (found <= limit).any():
        raise NotApplicable(f"no label is in {limit} batches or fewer; the least is {found.min()}")
    return [str(name) for name in names[found <= limit]]


def isolated_widths(embedding: Any, labels: Labels, batches: Labels, at_most: int | None = None) -> Contributions:
    """Give each cell's part in `isolated_asw`."""
    isolated = np.isin(labels, isolated_labels(labels, batches, at_most))
    part = label_widths(embedding, labels)
    errors = None if part.errors is None else np.where(isolated, part.errors, np.nan)
    return Contributions(np.where(isolated, part.values, np.nan), codes(labels)[0], errors=errors)


def isolated_asw(embedding: Any, labels: Labels, batches: Labels, at_most: int | None = None) -> float:
    """Average the rescaled silhouette widths of each isolated label, then those of all isolated labels.

    Parameters
    ----------
    embedding, labels
        See `silhouette_cells`.
    batches
        Shape (cells,).
    at_most
        See `isolated_labels`.

    Returns
    -------
    0 to 1.

    Raises
    ------
    NotApplicable
        If no label is isolated; and see `silhouette_cells`.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    return isolated_widths(embedding, labels, batches, at_most).value()


def within(embedding: Any, labels: Labels) -> Iterator[tuple[NDArray[np.int64], Space]]:
    """Give each label's cells, as their places and as a space of their own."""
    space = Space.of(embedding)
    label, names = codes(labels)
    for number in range(len(names)):
        yield np.flatnonzero(label == number), space.among(label == number)


def batch_widths(
    embedding: Any, labels: Labels, batches: Labels, *, metric: Metric = "euclidean", between: Between = "nearest"
) -> Contributions:
    """Give each cell's part in `silhouette_batch`."""
    found, off = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for cells, space in within(embedding, labels):
        if 1 < len(np.unique(batches[cells])) < len(cells):
            found[cells] = 1 - np.abs(silhouette_cells(space, batches[cells], metric=metric, between=between))
            errors = silhouette_errors(space, batches[cells]) if metric == "euclidean" else None
            off[cells] = 0 if errors is None else errors
    if np.isnan(found).all():
        raise NotApplicable("no label has cells of several batches, and more cells than batches")
    return Contributions(found, codes(labels)[0], errors=off)


def silhouette_batch(
    embedding: Any, labels: Labels, batches: Labels, *, metric: Metric = "euclidean", between: Between = "nearest"
) -> float:
    """Look how little the batches of one label are apart: 1 - |s|, with s the silhouette widths of its batches.

    Averaged over the cells of each label, then over labels. Labels of one batch, or with a batch for each cell, take
    no part.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels, batches
        Shape (cells,).
    metric, between
        See `silhouette_cells`.

    Returns
    -------
    0 to 1; 1 means that batches overlap.

    Raises
    ------
    NotApplicable
        If no label takes part.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41. It is high already where each batch overlaps with one other:
    Rautenstrauch and Ohler 2025, Nature Biotechnology; see `bras`.
    """
    return batch_widths(embedding, labels, batches, metric=metric, between=between).value()


def angular_batch_widths(
    embedding: Any, labels: Labels, batches: Labels, between: Between = "mean_other"
) -> Contributions:
    """Give each cell's part in `bras`."""
    return batch_widths(embedding, labels, batches, metric="cosine", between=between)


def bras(embedding: Any, labels: Labels, batches: Labels, between: Between = "mean_other") -> float:
    """Compute the silhouette of batches against all others of the label, by angles: batch removal adapted silhouette.

    It is `silhouette_batch` with cosine distances and, unless told otherwise, the mean over all other batches. See
    there.

    References
    ----------
    Rautenstrauch and Ohler 2025, Nature Biotechnology; scib-metrics 0.5.10, bras.
    """
    return angular_batch_widths(embedding, labels, batches, between).value()
