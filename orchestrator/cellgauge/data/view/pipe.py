"""Copies many pieces of one file into another without their passing through this process: at the price of `cp`."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE = 1 << 20
"""Bytes of memory that the pipe may point to, as much as anybody may ask for."""
AT_ONCE = 96
"""Pages handed over at once: so many stay near the processor until they are summed up."""


class Pipe:
    """A pipe into which pages of a file are hung, and from which another takes them.

    Attributes
    ----------
    room
        Memory for what comes at once.
    """

    def __init__(self, entry: int, exit_: int) -> None:
        self._entry, self._exit = entry, exit_
        with suppress(OSError):  # one has many pipes already: it works with a small one too
            fcntl.fcntl(entry, fcntl.F_SETPIPE_SZ, SIZE)
        self._pages = min(AT_ONCE, fcntl.fcntl(entry, fcntl.F_GETPIPE_SZ) // PAGE)
        self.room = memoryview(bytearray(self._pages * PAGE))

    def move(self, source: int, pieces: tuple[list[int], list[int]], target: int, at: int) -> Iterator[int]:
        """Copy pieces of a file, one behind the other, to a place in another; yields how much has come each time.

        A piece that the source does not have any more ends it: then fewer come.

        Raises
        ------
        OSError
            If it cannot be read or written, or not in this way.
        """
        splice, free, hung = os.splice, self._pages, 0
        for offset, length in zip(*pieces, strict=True):
            while length:
                inside = offset % PAGE
                if free * PAGE <= inside:
                    self._drain(target, at, hung)
                    yield hung
                    at, free, hung = at + hung, self._pages, 0
                got = splice(source, self._entry, min(length, free * PAGE - inside), offset_src=offset)
                if not got:
                    break
                free -= (inside + got - 1) // PAGE + 1
                offset, length, hung = offset + got, length - got, hung + got
        self._drain(target, at, hung)
        yield hung

    def _drain(self, target: int, at: int, hung: int) -> None:
        while hung:
            gone = os.splice(self._exit, target, hung, offset_dst=at)
            at, hung = at + gone, hung - gone


@contextmanager
def opened() -> Iterator[Pipe]:
    """Open a pipe.

    Raises
    ------
    OSError
        If this process may open no more files.
    """
    exit_, entry = os.pipe()
    try:
        yield Pipe(entry, exit_)
    finally:
        os.close(entry)
        os.close(exit_)
