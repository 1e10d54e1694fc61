"""Rows of a view that one thread writes one after the other, summed up as they go by."""

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cellgauge.data.view.pipe import Pipe

PIECE = 1 << 16
"""Bytes written at once, as `cp` does. The system takes memory for a file in runs as long as what is written: runs of
megabytes are what a virtual machine gives back to its host, and to get them again takes longer than to fill them."""


class Part(NamedTuple):
    """A stretch of a file and its checksum."""

    at: int
    length: int
    checksum: int


class Strip:
    """A stretch of a file, filled from its beginning.

    Parameters
    ----------
    start, end
        Where in the file it begins and ends.
    """

    def __init__(self, handle: int, start: int, end: int) -> None:
        self._handle, self._end = handle, end
        self.part = Part(start, 0, 0)
        """What was written so far."""

    def add(self, array: Any) -> None:
        """Write what comes next.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        values = memoryview(array).cast("B")
        put(self._handle, values, self._at)
        self._sum(values)

    def take(self, pipe: "Pipe", source: int, pieces: tuple[list[int], list[int]]) -> None:
        """Have what comes next copied from another file, and sum up what has arrived.

        Parameters
        ----------
        pieces
            Where it lies there: offsets and lengths, bytes.

        Raises
        ------
        OSError
            If it cannot be read or written, or not in this way.
        """
        for length in pipe.move(source, pieces, self._handle, self._at):
            arrived = pipe.room[:length]
            if os.preadv(self._handle, (arrived,), self._at) != length:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._sum(arrived)

    @property
    def _at(self) -> int:
        return self.part.at + self.part.length

    def _sum(self, values: memoryview) -> None:
        from isal import isal_zlib

        at, length, checksum = self.part
        self.part = Part(at, length + len(values), isal_zlib.crc32(values, checksum))

    @property
    def full(self) -> bool:
        """Tell whether it all was written, and no more than that."""
        return self._at == self._end


def put(handle: int, values: memoryview, at: int) -> None:
    """Write all of it to a place; a full disk takes a part, and complains the next time."""
    start, stop = 0, len(values)
    while start < stop:
        start += os.pwrite(handle, values[start : min(start + PIECE, stop)], at + start)
