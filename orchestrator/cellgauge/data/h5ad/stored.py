"""Says where in its file the values of an array lie, so that many short pieces of it can be read past HDF5.

HDF5 takes ten times as long as the system does to fetch a few kilobytes from somewhere in a large array.
"""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_CHUNKS = 1 << 20
"""Of more, the list alone takes seconds; such a file is slow however it is read."""
TRIED = 16
"""Places at which HDF5 is asked too, whether it finds the same there."""


class Stored(NamedTuple):
    """The places of an array of numbers that is neither compressed nor filtered."""

    dtype: "np.dtype[Any]"
    """As it is in the file: little-endian."""
    chunk: int
    """How many values lie behind one another."""
    places: "NDArray[np.int64]"
    """Where in the file each such run begins."""
    size: int
    """Bytes of all of it."""

    def pieces(self, starts: "NDArray[np.int64]", stops: "NDArray[np.int64]") -> "tuple[list[int], list[int]]":
        """Find stretches of the array in the file, in this order.

        Parameters
        ----------
        starts, stops
            The first value of each stretch and the one behind its last.

        Returns
        -------
        Offsets in the file and lengths, bytes; a stretch over several runs is several pieces.
        """
        import numpy as np

        filled = np.flatnonzero(stops > starts)
        starts, stops = starts[filled], stops[filled]
        first = starts // self.chunk
        several = (stops - 1) // self.chunk - first + 1
        of = np.repeat(np.arange(len(starts)), several)
        run = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(several) - several, several)
        low = np.maximum(starts[of], run * self.chunk)
        high = np.minimum(stops[of], (run + 1) * self.chunk)
        offsets = self.places[run] + self.dtype.itemsize * (low - run * self.chunk)
        return offsets.tolist(), (self.dtype.itemsize * (high - low)).tolist()

    def span(self) -> tuple[int, int]:
        """Say from where to where in the file it all lies."""
        if not self.size:
            return 0, 0
        return int(self.places.min()), int(self.places.max()) + self.chunk * self.dtype.itemsize


def find(data: Any) -> Stored | None:
    """Ask HDF5 where a one-dimensional array lies; None where only HDF5 can read it."""
    import h5py
    import numpy as np

    dtype, length = data.dtype, len(data)
    exact = dtype.kind in "iuf" and dtype.str[0] in "<|" and data.id.get_type().equal(h5py.h5t.py_create(dtype))
    if not exact or data.id.get_create_plist().get_nfilters() or data.file.userblock_size:
        return None
    size = length * dtype.itemsize
    if not length:
        return Stored(dtype, 1, np.empty(0, dtype=np.int64), 0)
    if data.chunks is None:
        place = data.id.get_offset()  # None where the values lie in the header
        found = None if place is None else Stored(dtype, length, np.array([place], dtype=np.int64), size)
    else:
        found = _chunked(data, dtype, size)
    return found if found is not None and _agrees(data, found) else None


def _chunked(data: Any, dtype: Any, size: int) -> Stored | None:
    import numpy as np

    (chunk,) = data.chunks
    runs = -(-len(data) // chunk)
    if runs > MOST_CHUNKS or data.id.get_num_chunks() != runs:  # one without values is not there
        return None
    told: list[tuple[int, int, int]] = []
    data.id.chunk_iter(lambda one: told.append((one.chunk_offset[0], one.byte_offset, one.size)))
    starts, places, sizes = np.array(sorted(told), dtype=np.int64).reshape(-1, 3).T
    if not np.array_equal(starts, chunk * np.arange(runs)) or (sizes != chunk * dtype.itemsize).any():
        return None
    return Stored(dtype, int(chunk), np.ascontiguousarray(places), size)


def _agrees(data: Any, found: Stored) -> bool:
    """Make sure that HDF5 finds the same at some places: a wrong place would be a wrong number."""
    import numpy as np

    handle = os.open(data.file.filename, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for at in np.linspace(0, len(data) - 1, TRIED).astype(np.int64).tolist():
            end = min(at + TRIED, len(data))
            pieces = found.pieces(np.array([at]), np.array([end]))
            here = b"".join(os.pread(handle, length, offset) for offset, length in zip(*pieces, strict=True))
            if here != data[at:end].tobytes():
                return False
    finally:
        os.close(handle)
    return True
