"""Collects what is kept beside a score: replicates, details of a task, and how many rows of an output repeat."""

import hashlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cellgauge import arrays
from cellgauge.store import REPLICATES
from cellgauge_tasks import Score, Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def repeated(embedding: "NDArray[Any]") -> float:
    """Tell the share of rows that are the same as an earlier one; 0 and -0 are the same."""
    import numpy as np

    seen: set[bytes] = set()
    step = max(1, (8 << 20) // max(1, embedding.shape[1]))
    for first in range(0, len(embedding), step):
        block = np.ascontiguousarray(embedding[first : first + step] + 0)
        seen.update(hashlib.blake2b(row, digest_size=16).digest() for row in block)
    return 1 - len(seen) / len(embedding) if len(embedding) else 0.0
