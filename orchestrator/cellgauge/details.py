"""Collects what is kept beside a score: replicates, details of a task, and how many rows of an output repeat."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cellgauge import arrays
from cellgauge.store import REPLICATES
from cellgauge_tasks import Score, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellgauge.specs import Dataset, View


def small(found: Sequence[Score]) -> "dict[str, NDArray[Any]]":
    """Collect the replicates of each score, by its number, and a task's details; warn of what cannot be kept."""
    import numpy as np

    given: dict[str, Any] = {}
    for number, one in enumerate(found):
        if one.interval is not None and one.interval.replicates is not None:
            given[f"{REPLICATES}{number}"] = np.asarray(one.interval.replicates, dtype=np.float32)
    given |= dict(found.details) if isinstance(found, Scores) else {}
    kept: dict[str, NDArray[Any]] = {}
    room = arrays.LIMIT
    for name, value in given.items():
        array = arrays.plain(name, value)
        if isinstance(array, str):
            warnings.warn(f"the detail '{name}' is not kept: {array}", stacklevel=2)
        elif array.nbytes > room:
            mib = array.nbytes / 2**20
            warnings.warn(f"the detail '{name}' is not kept: it is too large, {mib:,.0f} MiB", stacklevel=2)
        else:
            kept[name] = array
            room -= array.nbytes
    return kept


def repeated(
    embedding: "NDArray[Any]", alike: "Callable[[NDArray[np.bool_]], NDArray[np.int64]] | None" = None
) -> float:
    """Tell the share of rows that are the same as an earlier one of another cell; 0 and -0 are the same.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions).
    alike
        Is given a mask of cells, shape (cells,), and numbers these so that cells with the same counts have the same
        number: such rows are no fault of the model. Asked only where rows repeat, since it may have to read much.
        Without it no two cells are taken to be the same.
    """
    import numpy as np

    rows = _numbered(embedding)
    shared = np.bincount(rows)[rows] > 1 if len(rows) else np.zeros(0, dtype=bool)
    if not shared.any():
        return 0.0
    cells = alike(shared) if alike else np.arange(shared.sum())
    distinct = len(np.unique(np.column_stack([rows[shared], cells]), axis=0))
    return (distinct - len(np.unique(rows[shared]))) / len(rows)


def alike(datasets: "Sequence[Dataset]", views: "Sequence[View]") -> "Callable[[NDArray[np.bool_]], NDArray[np.int64]]":
    """Give what numbers the cells of some datasets, one below the other, as `repeated` asks for it.

    Parameters
    ----------
    views
        Which cells of each.
    """
    import numpy as np

    from cellgauge.data import rows, twins

    def number(asked: "NDArray[np.bool_]") -> "NDArray[np.int64]":
        found: list[NDArray[np.int64]] = []
        first = above = 0
        for dataset, shown in zip(datasets, views, strict=True):
            cells = rows.kept(dataset, shown.rows)
            count = int(cells.sum())
            cells[cells] = asked[first : first + count]
            numbers = twins.alike(dataset, cells) + above
            first, above = first + count, int(numbers.max(initial=above - 1)) + 1
            found.append(numbers)
        return np.concatenate(found)

    return number


def _numbered(embedding: "NDArray[Any]") -> "NDArray[np.int64]":
    """Number rows so that those that are the same have one number."""
    import numpy as np

    seen: dict[bytes, int] = {}
    numbers: list[int] = []
    step = max(1, (8 << 20) // max(1, embedding.shape[1]))
    for first in range(0, len(embedding), step):
        block = np.ascontiguousarray(embedding[first : first + step] + 0)
        digests = (hashlib.blake2b(row, digest_size=16).digest() for row in block)
        numbers += [seen.setdefault(one, len(seen)) for one in digests]
    return np.array(numbers, dtype=np.int64)
