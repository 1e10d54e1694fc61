"""Tells which matrix of a file holds raw counts or, failing them, values that counts can be recovered from."""

from typing import TYPE_CHECKING, Any, Literal

from cellgauge.data.h5ad import H5ad
from cellgauge.data.view import counts
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

BLOCK = 1_000_000
"""Values of each matrix that are looked at."""
LARGE = 50.0
"""A value above it is no logarithm of a count."""
SAME = 0.001
"""How far, relative to their median, the sums of cells that were scaled to one total may lie apart."""
TOTALS = ("n_counts", "total_counts", "nCount_RNA", "n_umi", "nUMI", "n_umis")
"""What the obs column of each cell's total is called."""
LAYERS = ("layers/counts", "layers/raw_counts", "layers/raw", "layers/umi", "layers/spliced")
"""Layers that most often hold the counts, the likeliest first."""
Look = Literal["counts", "large", "small", "scaled", "negative", "nothing"]
WORDS: dict[Look, str] = {
    "counts": "whole numbers",
    "large": "fractions, too large for logarithms",
    "small": "fractions, of which no counts can be recovered",
    "scaled": "fractions, by their sums counts that were scaled and not logarithms",
    "negative": "values that are negative or missing, so neither counts nor logarithms of them",
    "nothing": "no values",
}


def find(file: H5ad) -> tuple[Matrix | None, str]:
    """Find the matrix that an entry should name, from the first million values of each.

    Returns
    -------
    None if nothing will do; and why.

    Raises
    ------
    DatasetError
        If a matrix cannot be read.
    """
    looks: dict[str, Look] = {}
    for slot in _likeliest(file.slots()):
        block = _beginning(file, slot)
        looks[slot] = _look(block)
        if looks[slot] == "counts":
            return Matrix(slot=slot), f"{slot} holds whole numbers up to {int(block.data.max())}"
    for slot in (slot for slot, look in looks.items() if look == "small"):
        if (found := _recovery(file, slot)) is not None:
            exactly = f", exactly with the totals in obs {found.total_counts}" if found.total_counts else ""
            return found, f"counts can be recovered from {slot}{exactly}; no matrix holds them as they are"
    for slot in (slot for slot, look in looks.items() if look == "large"):
        return Matrix(slot=slot, kind="corrected"), f"{slot} holds {WORDS['large']}; no matrix holds whole numbers"
    told = "; ".join(f"{slot} holds {WORDS[look]}" for slot, look in looks.items())
    return None, told or "the file has no matrix"


def _likeliest(slots: list[str]) -> list[str]:
    first = [slot for slot in ("X", "raw", *LAYERS) if slot in slots]
    # Counts of introns are counts too, and not those that anybody means.
    return first + [slot for slot in slots if slot not in first and not slot.endswith(("unspliced", "ambiguous"))]


def _beginning(file: H5ad, slot: str) -> Any:
    import scipy.sparse as sp

    for _, block in file.blocks(slot, values=BLOCK):
        return block
    return sp.csr_matrix((0, file.shape(slot)[1]))


def _look(block: Any) -> Look:
    import numpy as np

    values = block.data[block.data != 0]
    if not values.size:
        return "nothing"
    if not np.isfinite(values).all() or values.min() < 0:
        return "negative"
    if (values == np.round(values)).all():
        return "counts"
    if values.max() <= LARGE:
        return "small"
    return "scaled" if _is_scaled(block) else "large"


def _is_scaled(block: Any) -> bool:
    """Tell scaled counts from corrected ones: all cells have one sum, or are whole multiples of their least value."""
    import numpy as np
    import scipy.sparse as sp

    matrix = sp.csr_matrix(block, dtype=np.float64)
    matrix.eliminate_zeros()
    matrix = matrix[np.diff(matrix.indptr) > 0]
    sums, starts = np.asarray(matrix.sum(axis=1)).ravel(), matrix.indptr[:-1]
    if len(sums) > 1 and np.ptp(sums) <= SAME * np.median(sums):
        return True
    fractions = np.logical_or.reduceat(matrix.data != np.round(matrix.data), starts)
    whole = np.logical_and.reduceat(counts.recovered(matrix, counts.least_of(matrix)), starts)
    return bool(whole[fractions].mean() > 0.5)


def _recovery(file: H5ad, slot: str) -> Matrix | None:
    """Find out whether log(1 + s·c), with one factor s per cell, gives whole counts c back, and with which totals."""
    import numpy as np

    block = _beginning(file, slot)
    for name in (name for name in TOTALS if name in file.columns()):
        column = _column(file, name)
        if column is not None and column.dtype.kind in "iuf" and bool((column > 0).all()):
            totals = column.to_numpy(dtype=np.float64)[: block.shape[0]]
            if _is_whole(block, totals):
                return Matrix(slot=slot, kind="log1p", total_counts=name)
    return Matrix(slot=slot, kind="log1p") if _is_whole(block, None) else None


def _column(file: H5ad, name: str) -> "pd.Series | None":
    try:
        return file.obs([name])[name]
    except DatasetError:  # of a form that cannot be read: then it is not it
        return None


def _is_whole(block: Any, totals: "NDArray[Any] | None") -> bool:
    """Recover the counts as a view does: the smallest value of a cell is one, or as many as the totals say."""
    import numpy as np

    matrix = block.astype(np.float64)
    matrix.eliminate_zeros()
    np.expm1(matrix.data, out=matrix.data)
    least = counts.least_of(matrix)
    return bool(counts.recovered(matrix, least if totals is None else counts.scales(least, totals)).all())
