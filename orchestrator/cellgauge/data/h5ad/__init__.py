"""Reads of a h5ad only what is asked for, in pieces that fit in memory, and believes nothing that the file says."""

from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from cellgauge.data.h5ad.hdf5 import child, has, plain, understood
from cellgauge.data.h5ad.heaps import endless
from cellgauge.data.h5ad.matrix import Matrix, is_matrix
from cellgauge.data.h5ad.stored import Stored
from cellgauge.data.h5ad.table import Table
from cellgauge.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

VALUES = 4_000_000
"""Stored values a block, unless said otherwise."""


def open(path: Path, *, vouched: bool = False) -> "H5ad":
    """Open a h5ad for reading.

    Parameters
    ----------
    vouched
        True: these very bytes have been read from end to end before, so that HDF5 can be trusted to return.

    Raises
    ------
    DatasetError
        If it is no h5ad, or is damaged.
    """
    return H5ad(path, vouched=vouched)


class H5ad:
    """A h5ad that is open: its cells, columns and matrices, each read when asked for.

    Every method raises DatasetError on a damaged file; a link to elsewhere, values kept in other files, and Python
    objects are refused.
    """

    path: Path
    n_cells: int

    def __init__(self, path: Path, *, vouched: bool = False) -> None:
        import h5py

        self.path = path
        if not path.is_file() or path.stat().st_size == 0:
            raise DatasetError(f"{path} is {'empty' if path.is_file() else 'not a file'}", "Fetch it again.")
        self._matrices: dict[str, Matrix] = {}
        self._tables: dict[str, Table] = {}
        with understood(path):
            if not vouched and endless(path):
                raise ValueError("a heap in it is damaged")
            self._file = h5py.File(path, "r", locking="best-effort")
        try:
            with understood(path):
                self._uns = child(self._file, "uns") if has(self._file, "uns") else None
                self._obs = Table(child(self._file, "obs"), self._uns)
                self.n_cells = self._obs.length
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with understood(self.path):
            self._file.close()

    def cells(self) -> "NDArray[np.object_]":
        """Read the cell ids.

        Returns
        -------
        Object array of str, in the file's order.
        """
        with understood(self.path):
            found: NDArray[np.object_] = self._obs.index()
            return found

    def columns(self) -> list[str]:
        """Name the columns of obs."""
        with understood(self.path):
            return self._obs.columns

    def obs(self, columns: Collection[str]) -> "pd.DataFrame":
        """Read these columns of obs and no others, indexed by cell id."""
        with understood(self.path):
            return self._obs.frame(columns)

    def slots(self) -> list[str]:
        """Name the matrices that are there: `X`, `raw`, `layers/NAME`."""
        with understood(self.path):
            layers = child(self._file, "layers") if has(self._file, "layers") else ()
            names = ["X", "raw", *(f"layers/{name}" for name in layers)]
            return [name for name in names if has(self._file, at := self._place(name)) and self._holds(at)]

    def _holds(self, place: str) -> bool:
        # A link to elsewhere counts, so that whoever asks for it is told what is wrong with it.
        with understood(self.path):
            try:
                return is_matrix(child(self._file, place))
            except ValueError:
                return True

    def obsm(self) -> list[str]:
        """Name what obsm holds."""
        with understood(self.path):
            return list(child(self._file, "obsm")) if has(self._file, "obsm") else []

    def embedding(self, name: str) -> "NDArray[Any]":
        """Read a dense array of obsm: cells x dimensions."""
        with understood(self.path):
            found: NDArray[Any] = plain(child(self._file, f"obsm/{name}"), 2)[()]
            return found

    def genes(self, slot: str) -> "NDArray[np.object_]":
        """Read the gene ids of a slot: those of `raw.var` for `raw`, else those of `var`.

        Returns
        -------
        Object array of str.
        """
        with understood(self.path):
            found: NDArray[np.object_] = self._var(slot).index()
            return found

    def var_columns(self, slot: str) -> list[str]:
        """Name the columns of a slot's var."""
        with understood(self.path):
            return self._var(slot).columns

    def var(self, slot: str, columns: Collection[str] | None = None) -> "pd.DataFrame":
        """Read a slot's var, indexed by gene id: all of it, or some columns."""
        with understood(self.path):
            table = self._var(slot)
            return table.frame(table.columns if columns is None else columns)

    def shape(self, slot: str) -> tuple[int, int]:
        """Tell how many cells and genes a slot holds."""
        return self._matrix(slot).shape

    def encoding(self, slot: str) -> Literal["csr", "csc", "dense"]:
        """Tell how a slot is stored."""
        return self._matrix(slot).encoding

    def row_sizes(self, slot: str) -> "NDArray[np.int64] | None":
        """Count the values that are stored of each cell; None where only reading all of them would tell."""
        with understood(self.path):
            return self._matrix(slot).row_sizes()

    def stored(self, slot: str) -> tuple[Stored, Stored] | None:
        """Say where in the file a slot's values and the genes they belong to lie, cell by cell.

        None where only HDF5 can read them: they are compressed, say, or not stored by cells.
        """
        with understood(self.path):
            return self._matrix(slot).stored()

    def blocks(self, slot: str, *, values: int = VALUES) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        """Read a slot in consecutive blocks of cells.

        Parameters
        ----------
        values
            About how many stored values (dense: values) a block holds at most; one cell is never cut.

        Yields
        ------
        The number of the first cell, and CSR cells x genes in the file's dtype (in this machine's byte order; half
        precision as float32). A matrix that is stored by genes (CSC) is passed over once for every 16 million values.
        """
        matrix = self._matrix(slot)
        with understood(self.path):
            pieces = matrix.blocks(values)
        while True:
            with understood(self.path):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _place(self, slot: str) -> str:
        """Find where a slot's matrix lies; the `raw` of anndata before 0.7 was spread over `raw.X` and `raw.var`."""
        if slot == "raw":
            return "raw.X" if has(self._file, "raw.X") else "raw/X"
        return slot

    def _var(self, slot: str) -> Table:
        where = "var" if slot != "raw" else "raw.var" if has(self._file, "raw.var") else "raw/var"
        if where not in self._tables:
            self._tables[where] = Table(child(self._file, where), self._uns)
        return self._tables[where]

    def _matrix(self, slot: str) -> Matrix:
        with understood(self.path):
            if slot not in self._matrices:
                expected: Any = (self.n_cells, self._var(slot).length)
                self._matrices[slot] = Matrix(child(self._file, self._place(slot)), expected)
            return self._matrices[slot]
