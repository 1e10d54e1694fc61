"""A view's file while it is written: laid out in full at first, then filled with rows in whatever order they come.

HDF5 makes the file and everything in it but the values; where these lie is asked of it, and they are written there
past it. So cells can be shuffled without ever being in memory together.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellgauge.data import h5ad
from cellgauge.data.cache import seal
from cellgauge.data.view.strip import Part, Strip, put
from cellgauge.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SAMPLES = 16
"""Rows, or a few more, that are looked at again once all is written."""


class Place(NamedTuple):
    """Where values lie in the file."""

    data: int
    indices: int
    end: int


class Sheet:
    """A file with room for every row; several threads may write rows at once."""

    def __init__(self, path: Path, handle: int, place: Place, bounds: "NDArray[np.int64]") -> None:
        self._path, self._handle, self._place, self._bounds = path, handle, place, bounds
        self._samples: dict[int, tuple[Any, Any]] = {}

    def fill(self, to: "NDArray[np.int64]", block: Any) -> None:
        """Write the rows of a block.

        Parameters
        ----------
        to
            The place of each row in the view; -1 leaves it out.
        block
            CSR float32, rows x genes.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        import numpy as np

        rows = np.flatnonzero(to >= 0)
        if not len(rows):
            return
        starts, stops, at = block.indptr[rows], block.indptr[rows + 1], self._bounds[to[rows]]
        indices = block.indices.astype("<i4", copy=False)
        for place, values in ((self._place.data, block.data.astype("<f4", copy=False)), (self._place.indices, indices)):
            self._scatter(memoryview(values).cast("B"), place + 4 * at, 4 * starts, 4 * stops)
        if len(self._samples) < SAMPLES:
            self.remember(int(to[rows[0]]), block.data[starts[0] :], indices[starts[0] :])

    def _scatter(self, values: memoryview, places: Any, starts: Any, stops: Any) -> None:
        for at, start, stop in zip(places.tolist(), starts.tolist(), stops.tolist(), strict=True):
            put(self._handle, values[start:stop], at)

    def strips(self, rows: range) -> tuple[Strip, Strip]:
        """Begin a run of rows, to be written in order: their values, and their genes."""
        first, end = 4 * int(self._bounds[rows.start]), 4 * int(self._bounds[rows.stop])
        data, indices, _ = self._place
        return Strip(self._handle, data + first, data + end), Strip(self._handle, indices + first, indices + end)

    def remember(self, row: int, data: Any, indices: Any) -> None:
        """Look at a row again once all is written; it is the first of what is given."""
        size = int(self._bounds[row + 1] - self._bounds[row])
        self._samples[row] = data[:size].copy(), indices[:size].copy()

    def finish(self, parts: Sequence[Part] = ()) -> str:
        """Read some of it again as anybody would, and return the checksum of it all.

        Parameters
        ----------
        parts
            What was summed up when it was written.

        Raises
        ------
        DatasetError
            If it does not hold what was written.
        """
        import h5py
        import numpy as np

        with h5py.File(self._path, "r", locking="best-effort") as file:
            for row, (data, indices) in self._samples.items():
                start, stop = self._bounds[row], self._bounds[row + 1]
                same = np.array_equal(file["X/data"][start:stop], data)
                if not same or not np.array_equal(file["X/indices"][start:stop], indices):
                    raise spoilt(self._path)
        return self._checksum(parts)

    def _checksum(self, parts: Sequence[Part]) -> str:
        """Sum up what lies between the parts, and put it all together."""
        from isal import isal_zlib

        if not parts:
            return seal.checksum(self._path)
        found, at = 0, 0
        for part in (*sorted(parts), Part(os.fstat(self._handle).st_size, 0, 0)):
            while at < part.at and (between := os.pread(self._handle, min(part.at - at, seal.BLOCK), at)):
                found, at = isal_zlib.crc32(between, found), at + len(between)
            found = isal_zlib.crc32_combine(found, part.checksum, part.length)
            at = part.at + part.length
        return seal.written(found)


def spoilt(path: Path) -> DatasetError:
    """Say that a view does not hold what was written."""
    return DatasetError(f"{path}: the view was not written whole", "Check the disk, and try again.")


@contextmanager
def laid_out(path: Path, obs: "pd.DataFrame", var: "pd.DataFrame", sizes: "NDArray[np.int64]") -> Iterator[Sheet]:
    """Make a h5ad with room for the values of every row, and open it.

    Parameters
    ----------
    sizes
        How many values each row will have.

    Raises
    ------
    DatasetError
        If it does not hold what was put there.
    OSError
        If it cannot be made, or the disk has not enough room.
    """
    import numpy as np

    bounds = np.concatenate([[0], np.cumsum(sizes)])
    # HDF5 on a full disk fails late and noisily, in destructors too; so the disk is asked first.
    needed = 8 * int(bounds[-1]) + 8 * len(bounds) + 256 * (len(obs) + len(var))
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    try:
        place = _made(path, obs, var, bounds)
    except RuntimeError as problem:  # what h5py makes of a write that failed when a file is closed
        raise OSError(errno.EIO, str(problem).splitlines()[0], str(path)) from problem
    with h5ad.open(path, vouched=True) as again:  # it is our own
        there = again.row_sizes("X")
        if there is None or not np.array_equal(there, sizes) or not np.array_equal(again.cells(), obs.index):
            raise spoilt(path)
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if place.end:
            _reserve(handle, place.end)
        yield Sheet(path, handle, place, bounds)
    finally:
        os.close(handle)


def _reserve(handle: int, size: int) -> None:
    """Take the room on the disk now, so that a full one says so before hours of work."""
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some network file systems cannot
            raise


def _made(path: Path, obs: "pd.DataFrame", var: "pd.DataFrame", bounds: "NDArray[np.int64]") -> Place:
    import h5py
    import numpy as np
    from anndata.io import write_elem

    total = int(bounds[-1])
    with h5py.File(path, "x", locking="best-effort") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, content in (("obs", obs), ("var", var)):
            write_elem(file, name, content)
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            write_elem(file, name, {})
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        matrix.attrs["shape"] = np.array([len(obs), len(var)], dtype="<i8")
        matrix["indptr"] = bounds.astype("<i4" if total < 2**31 else "<i8")
        kinds = (("data", h5py.h5t.IEEE_F32LE), ("indices", h5py.h5t.STD_I32LE))
        data, indices = (_room(matrix, name, kind, total) for name, kind in kinds)
    return Place(data, indices, max(data, indices) + 4 * total if total else 0)


def _room(group: Any, name: str, kind: Any, length: int) -> int:
    """Make a dataset in one piece, take its room at once, and say where in the file that begins."""
    import h5py

    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.CONTIGUOUS)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    how.set_obj_track_times(False)
    made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple((length,)), how)
    return int(made.get_offset() or 0)
