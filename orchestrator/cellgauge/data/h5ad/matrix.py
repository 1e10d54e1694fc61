"""Reads an expression matrix of a h5ad in blocks of cells, whichever way it is stored."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from cellgauge.data.h5ad import stored
from cellgauge.data.h5ad.hdf5 import attribute, child, plain
from cellgauge.data.h5ad.stored import Stored

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp
    from numpy.typing import NDArray

Encoding = Literal["csr", "csc", "dense"]
PASS = 16_000_000
"""Values of a CSC matrix that are turned round at once, in memory."""
PIECE = 2_000_000
"""Values of a CSC matrix that are read at once."""
SPARSE: dict[str, Encoding] = {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}


def is_matrix(node: Any) -> bool:
    """Tell whether something in a file is meant as a matrix; one that is None is written as `null`."""
    import h5py

    if isinstance(node, h5py.Dataset):
        return node.shape is not None and attribute(node, "encoding-type") != "null"
    return _format(node) is not None


def _format(group: Any) -> Encoding | None:
    """Find out how a group stores a matrix; anndata before 0.7 wrote `h5sparse_format`."""
    told = attribute(group, "encoding-type") or attribute(group, "h5sparse_format")
    return SPARSE.get(told) if isinstance(told, str) else None


class Matrix:
    """A matrix of cells x genes.

    Parameters
    ----------
    shape
        What obs and var say: the matrix must have the same.
    """

    encoding: Encoding
    shape: tuple[int, int]

    def __init__(self, node: Any, shape: tuple[int, int]) -> None:
        import h5py

        self._name = node.name
        self.shape = shape
        self._indptr: Any = None
        if isinstance(node, h5py.Dataset):
            self.encoding = "dense"
            self._data = plain(node, 2)
            told: Any = self._data.shape
        else:
            found = _format(node)
            if found is None:
                raise ValueError(f"{self._name} is no matrix")
            self.encoding = found
            told = attribute(node, "shape")
            told = attribute(node, "h5sparse_shape") if told is None else told
            self._data, self._indices = plain(child(node, "data")), plain(child(node, "indices"))
            self._pointers = plain(child(node, "indptr"))
        if self._data.dtype.kind not in "biuf":
            raise ValueError(f"{self._name} holds no numbers")
        if told is None or len(told) != 2 or tuple(int(length) for length in told) != shape:
            raise ValueError(
                f"{self._name} says it is {' x '.join(map(str, told)) if told is not None else 'of no shape'}, "
                f"but there are {shape[0]} cell ids and {shape[1]} gene ids"
            )

    def row_sizes(self) -> "NDArray[np.int64] | None":
        """Count the stored values of each cell, where that stands in the file."""
        import numpy as np

        return np.diff(self._bounds()) if self.encoding == "csr" else None

    def stored(self) -> tuple[Stored, Stored] | None:
        """Say where the values and their indices lie, if it is stored by cells and both can be read past HDF5."""
        if self.encoding != "csr":
            return None
        self._bounds()  # makes sure that the two go together
        data, indices = stored.find(self._data), stored.find(self._indices)
        return None if data is None or indices is None else (data, indices)

    def blocks(self, size: int) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        """Read consecutive blocks of cells, of about `size` values each."""
        if self.encoding == "dense":
            return self._dense(size)
        return self._by_cells(size) if self.encoding == "csr" else self._by_genes(size)

    def _bounds(self) -> Any:
        """Read where each cell (CSC: gene) begins and ends among the values, and make sure that it can be true."""
        import numpy as np

        if self._indptr is None:
            lines, across = self.shape if self.encoding == "csr" else self.shape[::-1]
            if self._pointers.dtype.kind not in "iu" or self._indices.dtype.kind not in "iu":
                raise ValueError(f"{self._name}: indptr or indices are no whole numbers")
            if len(self._indices) != len(self._data) or len(self._pointers) != lines + 1:
                raise ValueError(
                    f"{self._name}: {len(self._data)} values, {len(self._indices)} indices and "
                    f"{len(self._pointers)} pointers do not go together"
                )
            found = self._pointers[()].astype(np.int64)
            sizes = np.diff(found)
            if found[0] != 0 or found[-1] != len(self._data) or (len(sizes) and not sizes.min() >= 0):
                raise ValueError(f"{self._name}: indptr does not run from 0 to {len(self._data)} without falling")
            if len(sizes) and sizes.max() > across:
                raise ValueError(f"{self._name}: indptr gives a line {sizes.max()} values where {across} have room")
            self._indptr = found
        return self._indptr

    def _dense(self, size: int) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        import scipy.sparse as sp

        cells, genes = self.shape
        rows = max(1, size // max(1, genes))
        # Whole chunks, so that none is unpacked twice, unless they are too large for that.
        if self._data.chunks and (tall := self._data.chunks[0]) <= 4 * rows:
            rows = max(1, rows // tall) * tall
        for first in range(0, cells, rows):
            yield first, sp.csr_matrix(_native(self._data[first : first + rows]))

    def _by_cells(self, size: int) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        import scipy.sparse as sp

        bounds = self._bounds()
        for first, end in _spans(bounds, size):
            low, high = int(bounds[first]), int(bounds[end])
            data, indices = _native(self._data[low:high]), self._within(self._indices[low:high], self.shape[1])
            shape = (end - first, self.shape[1])
            yield first, sp.csr_matrix((data, indices, bounds[first : end + 1] - low), shape=shape)

    def _by_genes(self, size: int) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        import numpy as np

        sizes = np.zeros(self.shape[0], dtype=np.int64)
        for _, cells, _ in self._pieces():
            sizes += np.bincount(cells, minlength=self.shape[0])
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        for first, end in _spans(bounds, max(size, PASS)):
            turned = self._turned(bounds, first, end)
            for start, stop in _spans(turned.indptr, size):
                yield first + start, turned[start:stop]

    def _turned(self, bounds: Any, first: int, end: int) -> "sp.csr_matrix":
        """Gather the values of some cells from all over a CSC matrix, genes in order."""
        import numpy as np
        import scipy.sparse as sp

        indptr = bounds[first : end + 1] - bounds[first]
        free = indptr[:-1].copy()
        indices = np.empty(indptr[-1], dtype=np.int32 if self.shape[1] < 2**31 else np.int64)
        data: Any = None
        for genes, cells, values in self._pieces():
            if data is None:
                data = np.empty(indptr[-1], dtype=values.dtype)
            wanted = np.flatnonzero((cells >= first) & (cells < end))
            mine = cells[wanted] - first
            wanted = wanted[order := np.argsort(mine, kind="stable")]
            mine = mine[order]
            counts = np.bincount(mine, minlength=end - first)
            place = np.arange(len(mine)) + np.repeat(free - np.cumsum(counts) + counts, counts)
            indices[place], data[place] = genes[wanted], values[wanted]
            free += counts
        if data is None:
            data = np.empty(0, dtype=_native(self._data[:0]).dtype)
        return sp.csr_matrix((data, indices, indptr), shape=(end - first, self.shape[1]))

    def _pieces(self) -> Iterator[tuple[Any, Any, Any]]:
        """Read a CSC matrix in pieces of whole genes: the gene, the cell and the value of each entry."""
        import numpy as np

        bounds = self._bounds()
        for first, end in _spans(bounds, PIECE):
            low, high = int(bounds[first]), int(bounds[end])
            genes = np.repeat(np.arange(first, end), np.diff(bounds[first : end + 1]))
            yield genes, self._within(self._indices[low:high], self.shape[0]), _native(self._data[low:high])

    def _within(self, indices: Any, most: int) -> Any:
        import numpy as np

        if len(indices) and not (indices.min() >= 0 and indices.max() < most):
            raise ValueError(f"{self._name}: an index points outside of the matrix")
        return indices.astype(np.int32 if most < 2**31 else np.int64, copy=False)


def _spans(bounds: Any, size: int) -> Iterator[tuple[int, int]]:
    """Cut lines into consecutive spans of at most `size` values, or of one line; also empty lines end somewhere."""
    import numpy as np

    first, last = 0, len(bounds) - 1
    while first < last:
        end = int(np.searchsorted(bounds, bounds[first] + size, side="right")) - 1
        end = min(max(end, first + 1), first + max(size, 1), last)
        yield first, end
        first = end


def _native(values: Any) -> Any:
    """Put values into this machine's byte order; scipy has no half precision."""
    import numpy as np

    dtype = values.dtype.newbyteorder("=")
    return values.astype(np.float32 if dtype == np.float16 else dtype, copy=False)
