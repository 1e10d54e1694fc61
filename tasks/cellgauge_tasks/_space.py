"""An embedding, and what several metrics need of it: neighbours and mean distances, computed once for all of them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Embedding, NotApplicable


class Neighbors(NamedTuple):
    """The nearest other cells of each cell, nearest first; of equally near ones, the first in order."""

    indices: NDArray[np.int32]
    """Shape (cells, k)."""
    distances: NDArray[np.float32]
    """Shape (cells, k), euclidean."""


class Space:
    """Cells as points. Exact: no approximate neighbours, and a cell is never its own neighbour.

    Raises
    ------
    ValueError
        If it is not 2-D and finite.
    """

    def __init__(self, embedding: Any, *, seed: int = 42) -> None:
        values = np.asarray(embedding.toarray() if hasattr(embedding, "toarray") else embedding)
        if values.ndim != 2:
            raise ValueError(f"an embedding has cells and dimensions; this one has shape {values.shape}")
        if not np.issubdtype(values.dtype, np.floating) or values.dtype.itemsize < 4:
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("the embedding holds NaN or infinite values")
        if values.dtype.itemsize < 8 and np.abs(values).max(initial=0) > 1e15:
            values = values.astype(np.float64)  # squares of these would overflow
        self.values: Embedding = values
        self.seed = seed
        self._parts: dict[bytes, Space] = {}
        self._neighbors: Neighbors | None = None
        self._means: dict[bytes, NDArray[np.float64]] = {}
        self._wanted_k = 0
        self._wanted: dict[bytes, NDArray[np.int64]] = {}

    @classmethod
    def of(cls, embedding: Any) -> "Space":
        """Take an embedding as it is if it is a `Space` already."""
        return embedding if isinstance(embedding, Space) else cls(embedding)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def among(self, kept: NDArray[np.bool_]) -> "Space":
        """Take some of the cells; the same ones give the same space, with what it has computed."""
        if kept.all():
            return self
        key = np.packbits(kept).tobytes()
        if key not in self._parts:
            self._parts[key] = Space(self.values[kept], seed=self.seed)
        return self._parts[key]

    def expect(self, *, neighbors: int = 0, groups: Iterable[NDArray[np.int64]] = ()) -> None:
        """Tell what will be asked, so that one pass over all pairs gives all of it."""
        self._wanted_k = max(self._wanted_k, min(neighbors, len(self) - 1))
        self._wanted |= {one.tobytes(): one for one in groups}

    def neighbors(self, k: int) -> Neighbors:
        """Find the `k` nearest other cells of each.

        Raises
        ------
        NotApplicable
            If there are not so many.
        """
        if not 0 < k < len(self):
            raise NotApplicable(f"{len(self)} cells have no {k} neighbours each")
        if self._neighbors is None or self._neighbors.indices.shape[1] < k:
            self.expect(neighbors=k)
            self._pass()
        assert self._neighbors is not None  # noqa: S101 - the pass sets it
        return Neighbors(self._neighbors.indices[:, :k], self._neighbors.distances[:, :k])

    def mean_distances(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Average each cell's euclidean distances to the other cells of each group.

        Parameters
        ----------
        groups
            Shape (cells,): the number of each cell's group, from 0; -1 is in none.

        Returns
        -------
        Shape (cells, groups); NaN where a group has no other cell.
        """
        key = groups.tobytes()
        if key not in self._means:
            self.expect(groups=[groups])
            self._pass()
        return self._means[key]

    def _pass(self) -> None:
        """Compute what is wanted and not there yet."""
        from sklearn.metrics import pairwise_distances

        distances = pairwise_distances(self.values.astype(np.float64))
        for key, groups in self._wanted.items():
            if key in self._means:
                continue
            members = (groups[:, None] == np.arange(groups.max() + 1)).astype(float)
            others = members.sum(axis=0) - members
            with np.errstate(invalid="ignore"):
                self._means[key] = np.where(others > 0, distances @ members / others, np.nan)
        if self._wanted_k:
            np.fill_diagonal(distances, np.inf)
            order = np.argsort(distances, axis=1, kind="stable")[:, : self._wanted_k]
            near = np.take_along_axis(distances, order, axis=1)
            self._neighbors = Neighbors(order.astype(np.int32), near.astype(np.float32))
        self._wanted.clear()
