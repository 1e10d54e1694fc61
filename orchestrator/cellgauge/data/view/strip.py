"""Rows of a view that one thread writes one after the other, summed up as they go by."""

import os
import zlib
from typing import Any, NamedTuple

PIECE = 1 << 16
"""Bytes written at once, as `cp` does. The system takes memory for a file in runs as long as what is written: runs of
megabytes are what a virtual machine gives back to its host, and to get them again takes longer than to fill them."""


class Part(NamedTuple):
    """A stretch of a file and its checksum."""

    at: int
    length: int
    checksum: int


class Strip:
    """Consecutive rows, of which the values go to one place in the file and their genes to another.

    Parameters
    ----------
    places
        Where each begins and ends.
    """

    def __init__(self, handle: int, *places: tuple[int, int]) -> None:
        self._handle, self._places = handle, places
        self._parts = [Part(start, 0, 0) for start, _ in places]

    def add(self, *arrays: Any) -> None:
        """Write the next rows: one array for each place.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        for number, (part, array) in enumerate(zip(self._parts, arrays, strict=True)):
            values = memoryview(array).cast("B")
            put(self._handle, values, part.at + part.length)
            summed = zlib.crc32(values, part.checksum)
            self._parts[number] = Part(part.at, part.length + len(values), summed)

    @property
    def full(self) -> bool:
        """Tell whether it all was written, and no more than that."""
        return all(part.at + part.length == end for part, (_, end) in zip(self._parts, self._places, strict=True))

    @property
    def parts(self) -> list[Part]:
        """What was written."""
        return self._parts


def put(handle: int, values: memoryview, at: int) -> None:
    """Write all of it to a place; a full disk takes a part, and complains the next time."""
    start, stop = 0, len(values)
    while start < stop:
        start += os.pwrite(handle, values[start : min(start + PIECE, stop)], at + start)
