"""Finds cells that are the same in the dataset itself: a model that puts them in one place is right to do so."""

import hashlib
from typing import TYPE_CHECKING

from cellgauge.data import check
from cellgauge.specs import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def alike(dataset: Dataset, asked: "NDArray[np.bool_]") -> "NDArray[np.int64]":
    """Number cells so that two have one number if each gene has one value in both.

    Parameters
    ----------
    asked
        Shape (cells,): which of the dataset's cells are looked at; its matrix is read through.

    Returns
    -------
    Shape (asked cells,), in the dataset's order.

    Raises
    ------
    DatasetError
        If the dataset's file was changed.
    """
    import numpy as np

    found: dict[bytes, int] = {}
    numbers: list[int] = []
    with check.reopen(dataset) as file:
        for first, block in file.blocks(dataset.spec.matrix.slot):
            rows = block[asked[first : first + block.shape[0]]].copy()
            rows.sum_duplicates()
            rows.eliminate_zeros()
            for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
                seen = hashlib.blake2b(rows.indices[start:stop].astype("<i8").tobytes(), digest_size=16)
                seen.update(rows.data[start:stop].astype("<f8").tobytes())
                numbers.append(found.setdefault(seen.digest(), len(found)))
    return np.array(numbers, dtype=np.int64)
