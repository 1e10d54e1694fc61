"""Downloads one file from any remote source: in parts at once where it can, going on where it was broken off."""

import errno
import json
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cellgauge.data.cache.seal import Report
from cellgauge.data.patience import Pace, attempts, attended
from cellgauge.data.sources import Changed, Fault, Head, Remote
from cellgauge_model.contract import write_atomically

RESTARTS = 3
"""Times that a file may change while it is read."""


PACE = Pace()


def silent(done: int, total: int | None) -> None:
    """Report to nobody."""


def head(source: Remote, address: str, report: Report = silent, pace: Pace = PACE) -> Head:
    """Ask a source what there is.

    Raises
    ------
    Fault
        If there is nothing, or nobody answers after several attempts.
    """
    found: list[Head] = []

    def work(stop: threading.Event) -> None:
        for attempt in attempts(pace, stop, pace.first):
            with attempt:
                found.append(source.head(address))

    attended([work], lambda: report(0, None))
    return found[-1]


def download(
    source: Remote,
    address: str,
    part: Path,
    *,
    size: int | None = None,
    sure: bool = False,
    report: Report = silent,
    pace: Pace = PACE,
) -> Head:
    """Put a file together in `part`, where some of it may be from before; say what it was read from.

    Parameters
    ----------
    size
        Bytes that it has to have, where that is known.
    sure
        The caller knows its checksum. Otherwise parts are only put together if the source can tell that they are of
        one state of the file.

    Raises
    ------
    Fault
        If it cannot be had; what has come stays for the next time.
    OSError
        If it cannot be written.
    """
    for _ in range(RESTARTS):
        found = head(source, address, report, pace)
        if size is not None and found.size not in (None, size):
            raise Fault(
                f"it has {found.size:,} bytes, and the catalogue says {size:,}", "Another version was put there."
            )
        if found.size == 0:
            raise Fault("it is empty", "Look for another source.")
        transfer = _Transfer(source, address, found, part, report, pace)
        try:
            if found.ranges and found.size is not None and (found.etag or sure):
                transfer.in_parts(found.size)
            else:
                transfer.in_one()
            return found
        except Changed:
            drop(part)
    raise Fault(
        "it changed each time while it was read", "Whoever publishes it may be writing it now. Try again later."
    )


def drop(part: Path) -> None:
    """Forget what has come of a file."""
    _journal(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


class _Transfer:
    """One state of a file on its way."""

    def __init__(self, source: Remote, address: str, head: Head, part: Path, report: Report, pace: Pace) -> None:
        self._source, self._address, self._head, self._part = source, address, head, part
        self._report, self._pace = report, pace
        self._gate = threading.Lock()
        """Held while something is written, so that nothing is after a stop."""
        self._came = 0

    def in_parts(self, size: int) -> None:
        """Read what is missing, several parts at once; each that is whole is noted, so that it is not read again."""
        done = self._noted(size)
        todo = [number for number in range(-(-size // self._pace.chunk)) if number not in done]
        self._came = size - sum(self._bounds(number, size)[1] - self._bounds(number, size)[0] for number in todo)
        _has_room(self._part, size - self._came)
        queue, file = iter(todo), os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(file, size)

            def work(stop: threading.Event) -> None:
                while not stop.is_set():
                    with self._gate:
                        number = next(queue, None)
                    if number is None:
                        return
                    self._read(file, *self._bounds(number, size), stop)
                    self._note(file, number, stop)

            attended([work] * min(self._pace.threads, len(todo)), lambda: self._report(self._came, size), self._gate)
            os.fsync(file)
        finally:
            os.close(file)
        _journal(self._part).unlink(missing_ok=True)

    def in_one(self) -> None:
        """Read all of it, from the beginning at each attempt: the source gives no parts."""
        drop(self._part)
        self._head = replace(self._head, ranges=False)  # or it could be put together of two states of the file
        total = self._head.size
        _has_room(self._part, total or 0)
        file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            attended(
                [lambda stop: self._read(file, 0, total, stop)], lambda: self._report(self._came, total), self._gate
            )
            os.fsync(file)
        finally:
            os.close(file)

    def _read(self, file: int, start: int, end: int | None, stop: threading.Event) -> None:
        """Read from start to end; after a fault go on from where it was, or from the start if the source cannot."""
        at = start

        def reached() -> int:
            return at if self._head.ranges else 0

        for attempt in attempts(self._pace, stop, self._pace.attempts, reached):
            with attempt:
                if not self._head.ranges:
                    self._came = at = 0
                for piece in self._source.read(self._address, self._head, at, end):
                    if end is not None and at + len(piece) > end:
                        raise Fault("the source gives more than it said that it has", passing=True)
                    with self._gate:
                        if stop.is_set():
                            raise _Stopped
                        _write(file, piece, at, self._part)
                        at += len(piece)
                        self._came += len(piece)
                if end is not None and at < end:
                    raise Fault(f"the connection ended {end - at:,} bytes early", passing=True)
        if end is None and at == 0:
            raise Fault("it is empty", "Look for another source.")

    def _bounds(self, number: int, size: int) -> tuple[int, int]:
        return number * self._pace.chunk, min(size, (number + 1) * self._pace.chunk)

    # --- the journal: what was begun, and one line for each part of it that is on the disk ---------------------------

    def _title(self) -> str:
        return json.dumps([self._address, self._head.etag, self._head.size, self._pace.chunk])

    def _noted(self, size: int) -> set[int]:
        """Tell which parts are there from before; none if they are of another state of the file."""
        journal = _journal(self._part)
        with suppress(OSError, UnicodeDecodeError):
            title, *lines = journal.read_text().split("\n")
            if title == self._title() and self._part.stat().st_size == size:
                done = {int(line) for line in lines[:-1] if line.isdecimal()}  # the last may be half a line
                write_atomically(journal, "".join(f"{line}\n" for line in (title, *done)))
                return done
        drop(self._part)
        write_atomically(journal, f"{self._title()}\n")
        return set()

    def _note(self, file: int, number: int, stop: threading.Event) -> None:
        os.fdatasync(file)  # after a power cut a part that is noted has to be there
        with self._gate:
            if not stop.is_set():
                with _journal(self._part).open("a") as journal:
                    journal.write(f"{number}\n")


class _Stopped(Exception):
    """Nobody waits for it any more."""


def _write(file: int, piece: bytes, at: int, part: Path) -> None:
    view = memoryview(piece)
    try:
        while view:
            written = os.pwrite(file, view, at)
            view, at = view[written:], at + written
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(part)) from problem


def _has_room(part: Path, needed: int) -> None:
    """Ask before hours of downloading whether it can end well."""
    if shutil.disk_usage(part.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))


def _journal(part: Path) -> Path:
    return part.with_suffix(".journal")
