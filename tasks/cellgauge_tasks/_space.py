"""An embedding, and what several metrics need of it: neighbours and mean distances, computed once for all of them."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Embedding, NotApplicable

if TYPE_CHECKING:
    from cellgauge_tasks.pairs.distinct import Distinct
    from cellgauge_tasks.pairs.partition import Partition

MOST_EXACT = 200_000
"""Cells up to which all pairs are computed; they may be more if they are fewer different points."""
MOST_MEANS = 2 << 30
"""Bytes of mean distances to one grouping."""
AT_ONCE = 1 << 29
"""Bytes of mean distances that one pass collects."""
MODEST = 1e15
"""Values whose squares, and those of their inverse, do not leave float32."""
LARGEST = 1e30
KNOWN_BY = 200
"""Cells on which approximate neighbours are compared with exact ones."""

Groups = NDArray[np.int64]
Kept = TypeVar("Kept")


class Neighbors(NamedTuple):
    """The nearest other cells of each cell, nearest first; of equally near ones, the first in order."""

    indices: NDArray[np.int32]
    """Shape (cells, k)."""
    distances: NDArray[np.float32]
    """Shape (cells, k), euclidean."""


class Space:
    """Cells as points. A cell is never its own neighbour.

    Up to `MOST_EXACT` cells everything is exact. All pairs of a million cells x 512 would take more than two hours of
    one core, and their neighbours more memory than the cells. So beyond, at about half an hour for a million:

    - mean distances are those to cells drawn from each group, `sampled` of them at most, and `mean_error` tells how far
      off they may be;
    - `neighbors(k, sampled=True)` are exact, among all cells, but only those of drawn cells, `queries`. A mean over
      them of a score per cell is unbiased: use these wherever a score is such a mean;
    - `neighbors(k)` are of every cell, which a graph needs, but looked for in the nearest parts of the space only;
      `recall` measures what is missed.

    Draws depend on `seed` alone.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), of any kind of number; a sparse matrix becomes dense.
    device
        Where torch computes all pairs, for instance `cuda`; None: here, without torch.

    Raises
    ------
    ValueError
        If it is not 2-D and finite, or has values beyond 1e30.
    """

    def __init__(self, embedding: Any, *, seed: int = 42, device: str | None = None) -> None:
        values = _as_floats(embedding)
        self.seed, self.device = seed, device
        self._whole = values
        self._rows: slice | NDArray[np.int64] = slice(None)
        self._cut: Embedding | None = values
        self._length = len(values)
        self._largest = _largest(values)
        self._parts: dict[bytes, Space] = {}
        self._kept: dict[str, Any] = {}
        self._neighbors: Neighbors | None = None
        self._drawn: Neighbors | None = None
        self._means: dict[bytes, NDArray[np.float64]] = {}
        self._errors: dict[bytes, NDArray[np.float32]] = {}
        self._wanted_k = 0
        self._wanted: dict[bytes, Groups] = {}

    @classmethod
    def of(cls, embedding: Any) -> "Space":
        """Take an embedding as it is if it is a `Space` already."""
        return embedding if isinstance(embedding, Space) else cls(embedding)

    @property
    def values(self) -> Embedding:
        """Shape (cells, dimensions), float32 or float64."""
        return self._whole[self._rows] if self._cut is None else self._cut

    def __len__(self) -> int:
        return self._length

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def among(self, kept: NDArray[np.bool_]) -> "Space":
        """Take some of the cells; the same ones give the same space, with what it has computed."""
        if kept.all():
            return self
        key = np.packbits(kept).tobytes()
        if key not in self._parts:
            part = self._parts[key] = Space(self._whole[:0], seed=self.seed, device=self.device)
            part._length, part._largest = int(np.count_nonzero(kept)), self._largest
            part._whole, part._rows = self._whole, np.arange(len(self._whole))[self._rows][kept]
            # All parts together would be another copy: small ones are cut out whenever they are needed.
            part._cut = part._whole[part._rows] if 2 * len(part) > len(self._whole) else None
        return self._parts[key]

    def once(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Compute something only the first time that it is asked for by this name; for what several tasks need."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[no-any-return]

    @cached_property
    def _points(self) -> "Distinct | None":
        """The different points, if there are too many for all their pairs."""
        from cellgauge_tasks.pairs.distinct import Distinct

        if len(self) <= MOST_EXACT:
            return None
        found = Distinct(self.values, [])
        return found if len(found) > MOST_EXACT else None

    @property
    def sampled(self) -> int | None:
        """How many cells stand for a group at most; None if all do."""
        from cellgauge_tasks.pairs.landmarks import REFERENCES

        return REFERENCES if self._points else None

    @cached_property
    def queries(self) -> NDArray[np.int64]:
        """The cells that `neighbors(k, sampled=True)` are of, ascending: all of them unless there are too many."""
        from cellgauge_tasks.pairs.landmarks import drawn

        return drawn(len(self), self.seed) if self._points else np.arange(len(self))

    def expect(self, *, neighbors: int = 0, groups: Iterable[Groups] = ()) -> None:
        """Tell what will be asked, so that one pass over all pairs gives all of it."""
        self._wanted_k = max(self._wanted_k, min(neighbors, len(self) - 1))
        self._wanted |= {one.tobytes(): one for one in groups}

    def neighbors(self, k: int, *, sampled: bool = False) -> Neighbors:
        """Find the `k` nearest other cells of each, or with `sampled` those of each of the `queries`.

        Raises
        ------
        NotApplicable
            If there are not so many.
        """
        if not 0 < k < len(self):
            raise NotApplicable(f"{len(self)} cells have no {k} neighbours each")
        kind = "_drawn" if self._points and sampled else "_neighbors"
        if (found := getattr(self, kind)) is None or found.indices.shape[1] < k:
            if self._points and not sampled:
                self._neighbors = self._scaled(*self._partition.neighbors(k))
            else:
                self.expect(neighbors=k)
                self._pass()
            found = getattr(self, kind)
        return Neighbors(found.indices[:, :k], found.distances[:, :k])

    def recall(self, k: int) -> float:
        """Measure which share of the true `k` neighbours is in `neighbors(k)`, on drawn cells; 1 where all are."""
        from cellgauge_tasks.pairs.landmarks import sampled

        if not self._points:
            return 1.0
        true = sampled(self._modest, [], k, seed=self.seed, queries=KNOWN_BY, distinct=self._points)
        assert true.indices is not None  # noqa: S101 - k is wanted
        found = self.neighbors(k).indices[true.queries]
        return float(np.mean([len(np.intersect1d(*both)) / k for both in zip(found, true.indices, strict=True)]))

    def mean_distances(self, groups: Groups) -> NDArray[np.float64]:
        """Average each cell's euclidean distances to the other cells of each group.

        Parameters
        ----------
        groups
            Shape (cells,): the number of each cell's group, from 0; -1 is in none.

        Returns
        -------
        Shape (cells, groups); NaN where a group has no other cell.

        Raises
        ------
        NotApplicable
            If there are so many groups that this would not fit into memory.
        """
        key = groups.tobytes()
        if key not in self._means:
            if groups.shape != (len(self),):
                raise ValueError(f"{groups.shape} groups do not fit {len(self)} cells")
            if (size := 8 * len(self) * (int(groups.max()) + 1)) > MOST_MEANS:
                told = f"mean distances of {len(self)} cells to {groups.max() + 1} groups take {size / 2**30:.1f} GB"
                raise NotApplicable(f"{told}; at most {MOST_MEANS / 2**30:.0f} GB are computed")
            self.expect(groups=[groups])
            self._pass()
        return self._means[key]

    def mean_error(self, groups: Groups) -> NDArray[np.float32]:
        """Estimate the standard errors of `mean_distances`, of the same shape: 0 where no cells were drawn.

        All cells are compared with the same drawn ones, so the error of a mean over cells is not smaller by their
        root: it may be as large as the mean of these.
        """
        means = self.mean_distances(groups)
        return self._errors.get(groups.tobytes(), np.broadcast_to(np.float32(0), means.shape))

    @property
    def _unit(self) -> float:
        """A power of two, by which values are divided to have a modest size."""
        modest = self._largest == 0 or 1 / MODEST <= self._largest <= MODEST
        return 1.0 if modest else float(2.0 ** np.floor(np.log2(self._largest)))

    @property
    def _modest(self) -> Embedding:
        return self.values if self._unit == 1 else self.values.astype(np.float64) / self._unit

    def _scaled(self, indices: NDArray[np.int32], distances: NDArray[np.float32]) -> Neighbors:
        return Neighbors(indices, distances if self._unit == 1 else distances * np.float32(self._unit))

    @cached_property
    def _partition(self) -> "Partition":
        from cellgauge_tasks.pairs.partition import Partition

        assert self._points is not None  # noqa: S101 - asked for only then
        return Partition(self._modest, self._points, seed=self.seed)

    def _pass(self) -> None:
        """Compute what is wanted and not there yet, in one pass if it fits into memory."""
        from cellgauge_tasks.pairs.landmarks import sampled
        from cellgauge_tasks.pairs.sweep import sweep

        has = self._drawn if self._points else self._neighbors
        k = self._wanted_k if has is None or has.indices.shape[1] < self._wanted_k else 0
        values = self._modest
        for wanted in _batches({key: one for key, one in self._wanted.items() if key not in self._means}):
            if self._points:
                drawn = sampled(values, list(wanted.values()), k, seed=self.seed, distinct=self._points)
                means, indices, distances = drawn.means, drawn.indices, drawn.distances
                for key, error in zip(wanted, drawn.errors, strict=True):
                    self._errors[key] = error * np.float32(self._unit)
            else:
                means, indices, distances = sweep(values, list(wanted.values()), k, device=self.device)
            for key, mean in zip(wanted, means, strict=True):
                self._means[key] = mean if self._unit == 1 else mean * self._unit
            if indices is not None and distances is not None:
                setattr(self, "_drawn" if self._points else "_neighbors", self._scaled(indices, distances))
            k = 0
        self._wanted.clear()


def _batches(wanted: dict[bytes, Groups]) -> Iterator[dict[bytes, Groups]]:
    """Part what is wanted so that each batch fits into memory; the first may be empty, for neighbours alone."""
    batch: dict[bytes, Groups] = {}
    size = 0
    for key, groups in wanted.items():
        more = 8 * len(groups) * (int(groups.max(initial=-1)) + 1)
        if more > MOST_MEANS:
            continue  # expected only; who asks for it is told
        if batch and size + more > AT_ONCE:
            yield batch
            batch, size = {}, 0
        batch[key], size = groups, size + more
    yield batch


def _as_floats(embedding: Any) -> Embedding:
    if hasattr(embedding, "obsm"):
        raise ValueError("an AnnData holds many arrays; give one: adata.obsm['X_pca'], adata.X")
    values = np.asarray(embedding.toarray() if hasattr(embedding, "toarray") else embedding)
    if values.ndim != 2:
        raise ValueError(f"an embedding has cells and dimensions; this one has shape {values.shape}")
    kind = values.dtype
    if np.issubdtype(kind, np.integer):
        exact = values.size == 0 or max(abs(int(values.min())), abs(int(values.max()))) <= 1 << 24
        return values.astype(np.float32 if exact else np.float64)
    single = not np.issubdtype(kind, np.floating) or kind.itemsize <= 4
    return np.ascontiguousarray(values, dtype=np.float32 if single else np.float64)


def _largest(values: Embedding) -> float:
    """Find the largest absolute value, a few rows at a time, and see that there is no other."""
    found = 0.0
    for low in range(0, len(values), 4096):
        some = values[low : low + 4096]
        found = max(found, *(abs(float(one)) for one in (some.min(initial=0), some.max(initial=0))))
        if not np.isfinite(found) or np.isnan(some.sum()):
            raise ValueError("the embedding holds NaN or infinite values")
    if found > LARGEST:
        raise ValueError(f"the embedding holds values up to {found:.0e}; divide them, to {LARGEST:.0e} at most")
    return found
