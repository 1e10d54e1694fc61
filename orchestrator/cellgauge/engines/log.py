"""Keeps a model's log within a limit: its beginning and its end, and a line on what is missing between them."""

import os
from pathlib import Path
from typing import BinaryIO, Self

MEBIBYTE = 2**20
NOTE = 96
"""Bytes kept free for the line on what is missing."""


class Log:
    """A log file that never grows beyond its limit.

    The first half of the limit is written as it comes, for whoever follows the file. What comes then goes round in
    two files of a quarter each, and the last of it is put behind the first half when the log is closed.
    """

    def __init__(self, path: Path, limit_mb: int) -> None:
        self._path = path
        self._quarter = (limit_mb * MEBIBYTE - NOTE) // 4
        self._head: BinaryIO = path.open("wb", buffering=0)
        self._room = 2 * self._quarter
        self._left_out = 0
        self._tail: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Append, in full or in the part that still fits."""
        now, later = data[: self._room], data[self._room :]
        self._room -= len(now)
        self._head.write(now)
        while later:
            tail = self._turned()
            room = self._quarter - tail.tell()
            tail.write(later[:room])
            later = later[room:]

    def _turned(self) -> BinaryIO:
        """Give the file of the newest part, a new one where it is full."""
        if self._tail is None or self._tail.tell() >= self._quarter:
            if self._tail is not None:
                self._tail.close()
                old = self._part(1)
                self._left_out += old.stat().st_size if old.exists() else 0
                os.replace(self._part(2), old)  # noqa: PTH105
            self._tail = self._part(2).open("wb", buffering=0)
        return self._tail

    def _part(self, number: int) -> Path:
        return self._path.with_name(f".{self._path.name}.{number}")

    def close(self) -> None:
        """Put beginning and end together."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None
            if self._left_out:
                self._head.write(f"\n[{self._left_out} bytes of the log are left out here]\n".encode())
            for part in (self._part(1), self._part(2)):
                if part.exists():
                    self._head.write(part.read_bytes())
                    part.unlink()
        self._head.close()


class Lines:
    """Passes several streams on to one log, so that none cuts a line of another: they arrive in pieces of any size."""

    LONGEST = 1 << 16

    def __init__(self, log: Log) -> None:
        self._log = log
        self._begun: dict[str, bytes] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Write the lines that have ended, and keep the one that has begun."""
        data = self._begun.pop(stream, b"") + data
        ended = 1 + max(data.rfind(b"\n"), data.rfind(b"\r"))  # progress bars end theirs with the latter
        if len(data) - ended > self.LONGEST:
            ended = len(data)
        if ended:
            self._log.write(data[:ended])
        if ended < len(data):
            self._begun[stream] = data[ended:]

    def flush(self) -> None:
        """Write what has begun and will not end."""
        for data in self._begun.values():
            self._log.write(data)
        self._begun.clear()
