"""A file whose values are fetched past HDF5, from wherever they lie, once the disk has been read in order."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from cellgauge.data.h5ad.hdf5 import understood
from cellgauge.data.h5ad.stored import Stored
from cellgauge.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = 1 << 22
"""Bytes read ahead at once."""


class Source:
    """The values of a matrix and the genes they belong to: `both` are arrays in a file, of which this is the handle."""

    def __init__(self, path: Path, handle: int, both: tuple[Stored, Stored], ahead: Sequence[Future[None]]) -> None:
        self._path, self._ahead = path, ahead
        self.handle, self.both = handle, both

    def ready(self, upto: int) -> None:
        """Wait until an array is in memory, and those before it.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        with understood(self._path):
            self._ahead[upto].result()

    def fetch(self, lies: Stored, starts: "NDArray[np.int64]", stops: "NDArray[np.int64]") -> "NDArray[Any]":
        """Read stretches of one of the two arrays, one behind the other.

        Parameters
        ----------
        starts, stops
            The first value of each stretch and the one behind its last.

        Raises
        ------
        DatasetError
            If it cannot be read, or has become shorter.
        """
        import numpy as np

        found = np.empty(int((stops - starts).sum()), dtype=lies.dtype)
        handle, read, at, into = self.handle, os.preadv, 0, memoryview(found.data).cast("B")
        with understood(self._path):
            for offset, length in zip(*lies.pieces(starts, stops), strict=True):
                end = at + length
                while at < end:
                    got = read(handle, (into[at:end],), offset)
                    if not got:
                        raise changed(self._path)
                    at, offset = at + got, offset + got
        return found


def changed(path: Path) -> DatasetError:
    """Say that a file is not what it was."""
    return DatasetError(f"{path} was changed while it was in use", "Run the same command again.")


@contextmanager
def opened(path: Path, lies: tuple[Stored, Stored]) -> Iterator[Source]:
    """Open a file, and begin to read it ahead: to fetch rows of kilobytes from all over a disk takes far longer.

    Raises
    ------
    DatasetError
        If it cannot be opened.
    """
    with understood(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    enough = Event()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            try:
                yield Source(path, handle, lies, [pool.submit(_read_ahead, handle, one, enough) for one in lies])
            finally:
                enough.set()
    finally:
        os.close(handle)


def _read_ahead(handle: int, lies: Stored, enough: Event) -> None:
    """Have an array in memory: read it in order, and leave it there."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        at, end = lies.span()
        while at < end and not enough.is_set():
            got = os.sendfile(nowhere, handle, at, min(WINDOW, end - at))
            if not got:
                break
            at += got
    finally:
        os.close(nowhere)


def fits(lies: tuple[Stored, Stored]) -> bool:
    """Tell whether arrays can stay in memory while as much is written."""
    return 2 * sum(one.size for one in lies) <= free()


def free() -> int:
    """Say how many bytes this process may fill at most: what the machine has free, or its control groups allow."""
    told = Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]
    return min([int(told) << 10, *_limits()])


def _limits() -> Iterator[int]:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if not kinds or "memory" in kinds.split(","):
                root = Path("/sys/fs/cgroup", "memory" if kinds else "")
                own = root / name.lstrip("/")
                for folder in (own, *own.parents[: len(own.parts) - len(root.parts)]):
                    with suppress(OSError, ValueError):  # `max`: there is no limit
                        limit = "memory.limit_in_bytes" if kinds else "memory.max"
                        yield int((folder / limit).read_text())
