"""Turns what a file holds into counts, block by block: checked, recovered where they were logged, genes chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellgauge.data.h5ad import H5ad
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp
    from numpy.typing import NDArray

BLOCK = 2_000_000
"""Stored values of a block: 16 MB, of which a few are in memory at once."""
INTEGER_TOLERANCE = 0.002
"""How far, relative to its size plus 10, a recovered count may lie from an integer (files round to 3 or 4 digits)."""


@dataclass(frozen=True)
class Counts:
    """The counts of a dataset.

    Values log(1 + s·c) with one factor s per cell give back c once s is known. The smallest non-zero value of a cell
    is taken to be one count; with each cell's total before scaling that is only needed to find the common target
    (its median over cells), so a cell without single counts is right too.
    """

    file: H5ad
    matrix: Matrix
    chosen: "NDArray[np.int64] | None"
    """Which genes to keep, ascending; None: all of them."""

    def sizes_told(self) -> "NDArray[np.int64] | None":
        """Say without reading any value how many each cell has; wrong if the file stores zeros or says a gene twice."""
        return None if self.chosen is not None else self.file.row_sizes(self.matrix.slot)

    def sizes(self, factors: "NDArray[np.float64] | None") -> "NDArray[np.int64]":
        """Count by reading everything how many values each cell has."""
        import numpy as np

        found = np.zeros(self.file.n_cells, dtype=np.int64)
        for first, block in self.blocks(factors):
            found[first : first + block.shape[0]] = np.diff(block.indptr)
        return found

    def factors(self) -> "NDArray[np.float64] | None":
        """Find each cell's factor s, which takes one pass over the values; None where every cell tells its own.

        Raises
        ------
        DatasetError
            If a value is negative or not finite.
        """
        import numpy as np

        if self.matrix.kind != "log1p" or not self.matrix.total_counts:
            return None
        column = self.matrix.total_counts
        totals = self.file.obs([column])[column].to_numpy(dtype=np.float64)
        least = np.full(self.file.n_cells, np.nan)
        for first, block in self._values():
            least[first : first + block.shape[0]] = least_of(block)
        return scales(least, totals)

    def blocks(self, factors: "NDArray[np.float64] | None") -> Iterator[tuple[int, "sp.csr_matrix"]]:
        """Read all counts, in the file's order.

        Parameters
        ----------
        factors
            What `factors` gave.

        Yields
        ------
        The number of the first cell, and CSR float32, cells x genes, with indices that ascend and none twice.

        Raises
        ------
        DatasetError
            If a value is negative or not finite, or a count not an integer.
        """
        for first, block in self._values():
            if self.matrix.kind == "log1p":
                own = least_of(block) if factors is None else factors[first : first + block.shape[0]]
                block = self._recovered(block, own)
            yield first, block if self.chosen is None else block[:, self.chosen]

    def _values(self) -> Iterator[tuple[int, "sp.csr_matrix"]]:
        """Read what the file holds: logged values as float64 without the log, all others as float32."""
        import numpy as np

        kind = self.matrix.kind
        dtype = np.float64 if kind == "log1p" else np.float32
        for first, block in self.file.blocks(self.matrix.slot, values=BLOCK):
            with np.errstate(over="ignore", invalid="ignore"):
                block = block.astype(dtype, copy=False)
                # Not a number is neither >= 0 nor < infinity.
                low, high = (block.data.min(), block.data.max()) if block.nnz else (1.0, 1.0)
            if not (low >= 0 and high < np.inf):
                slot = self.matrix.slot
                told = f"{self.file.path}: {slot} holds negative or non-finite values, so no counts"
                raise DatasetError(told, self._elsewhere())
            if not block.has_canonical_format:
                block.sum_duplicates()
            if low == 0:
                block.eliminate_zeros()
            if kind == "counts":
                self._whole(block.data)
            elif kind == "log1p":
                np.expm1(block.data, out=block.data)
            yield first, block

    def _whole(self, data: Any) -> None:
        import numpy as np

        if (odd := data != np.rint(data)).any():
            told = f"{self.matrix.slot} holds values that are no counts, for instance {data[odd][0]:.3f}"
            raise DatasetError(
                f"{self.file.path}: {told}",
                "Log-normalised? Say `matrix: {kind: log1p}`. Corrected counts? Say `matrix: {kind: corrected}`. "
                + self._elsewhere(),
            )

    def _recovered(self, block: Any, factors: Any) -> "sp.csr_matrix":
        if not recovered(block, factors).all():
            raise DatasetError(
                f"{self.file.path}: no integer counts come out of the values in {self.matrix.slot}",
                "They may be scaled or corrected in another way. Point matrix.slot at raw counts.",
            )
        block.data = block.data.astype("float32")
        return block

    def _elsewhere(self) -> str:
        others = [slot for slot in self.file.slots() if slot != self.matrix.slot]
        return f"matrix.slot could be one of: {', '.join(others)}." if others else "The file has no other matrix."


def least_of(block: Any) -> "NDArray[np.float64]":
    """Find the smallest value of each cell; a cell without any has none."""
    import numpy as np

    found = np.full(block.shape[0], np.nan)
    filled = np.diff(block.indptr) > 0
    if filled.any():
        found[filled] = np.minimum.reduceat(block.data, block.indptr[:-1][filled])
    return found


def scales(least: "NDArray[np.float64]", totals: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Find each cell's factor from its smallest value and its total before scaling, both of shape (cells,)."""
    import numpy as np

    filled = ~np.isnan(least)
    found: NDArray[np.float64] = np.median((least * totals)[filled]) / totals if filled.any() else least
    return found


def recovered(block: Any, factors: "NDArray[np.float64]") -> "NDArray[np.bool_]":
    """Turn s·c into c in place, in CSR float64 without stored zeros, and tell which values are near a count."""
    import numpy as np

    block.data /= np.repeat(factors, np.diff(block.indptr))
    whole = np.rint(block.data)
    # A value above 0 that comes out as none was scaled by something else: no count is that small.
    found: NDArray[np.bool_] = (np.abs(block.data - whole) <= INTEGER_TOLERANCE * (whole + 10)) & (whole > 0)
    block.data = whole
    return found
