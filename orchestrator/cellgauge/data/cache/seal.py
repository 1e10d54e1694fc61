"""Tells a file from another one that takes its place, so that many gigabytes are hashed once and not at each run."""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellgauge_model.contract import write_atomically

Tick = Callable[[], None]
"""Is called every few moments, and may raise to give up what lasts long."""
Report = Callable[[int, int | None], None]
"""Is told how many bytes are there, of how many; called every few moments. What it raises ends the work."""
BLOCK = 1 << 22
RACY = 2_000_000_000
"""Nanoseconds within which a second change of a file might not move its times: file systems tick coarsely."""


def stamp(path: Path) -> tuple[int, ...]:
    """Tell a file from another one that takes its place while a run lasts: inode, size and time of change."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def imprint(path: Path) -> tuple[int, ...]:
    """Tell a file from what is made of it between two runs: also by the time that nobody can set (ctime).

    A new hard link moves that time too, which costs another hash and nothing else.
    """
    return *stamp(path), path.stat().st_ctime_ns


def digest(path: Path, tick: Tick | None = None) -> str:
    """Hash a file's content: SHA-256, hexadecimal."""
    found, block = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            found.update(view[:read])
            if tick:
                tick()
    return found.hexdigest()


def checksum(path: Path, tick: Tick | None = None) -> str:
    """Sum up a file's content (CRC-32): tells damage, not malice, in a fraction of the time that a hash takes."""
    from isal import isal_zlib  # the same sum as zlib's, at a tenth of the cost

    found, block = 0, bytearray(BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            found = isal_zlib.crc32(view[:read], found)
            if tick:
                tick()
    return written(found)


def written(checksum: int) -> str:
    """Write a checksum as seals do."""
    return f"{checksum:08x}"


def settled(path: Path) -> bool:
    """Tell whether a file has been left alone for so long that any further change would be seen in its times."""
    status = path.stat()
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > RACY


def beside(path: Path) -> Path:
    """Where a file's seal lies."""
    return path.with_name(f"{path.name}.seal")


def write(path: Path, sha256: str, looks: tuple[int, ...] | None = None) -> None:
    """Note beside a file what it is, and how it looks: now, or when it was hashed."""
    write_atomically(beside(path), text(path, sha256, looks))


def text(path: Path, sha256: str, looks: tuple[int, ...] | None = None) -> str:
    """What a seal says."""
    return " ".join(map(str, [*(looks or imprint(path)), sha256]))


def good(path: Path, sha256: str) -> bool:
    """Tell whether a file is as it was when it was sealed, without reading it."""
    with suppress(OSError, UnicodeDecodeError):
        return beside(path).read_text() == text(path, sha256)
    return False


def alike(path: Path, sha256: str) -> bool:
    """Tell whether a file looks as it did when it was sealed, apart from the time that a new link to it moves too."""
    with suppress(OSError, UnicodeDecodeError):
        *looked, _, told = beside(path).read_text().split() or [""] * 2
        return (looked, told) == ([str(one) for one in stamp(path)], sha256)
    return False


class Summed:
    """The seal of a view: its stamp and its checksum, in the view's folder.

    No hash: that would take longer than to write the view once more. Nor the time that links move: jobs link to views.
    A view is used before the disk has all of it, as any copied file is; until it has, its seal holds for this start of
    the machine alone, since after a power cut a file may look right and be empty.
    """

    def __init__(self, view: Path) -> None:
        self._view, self._place = view, view.with_name("seal")

    def write(self, checksum: str, *, stored: bool) -> None:
        """Note what the view sums up to, and how it looks now.

        Parameters
        ----------
        stored
            Whether the disk has all of it.
        """
        write_atomically(self._place, " ".join(map(str, [*stamp(self._view), *_start()[stored:], checksum])))

    def untouched(self) -> bool:
        """Tell whether the view looks as it did when it was sealed, without reading it."""
        stamped, _ = self._said()
        with suppress(OSError):
            looks = [str(one) for one in stamp(self._view)]
            return stamped in (looks, [*looks, *_start()])
        return False

    def store(self) -> None:
        """Have the disk hold the view if it did not when it was sealed: some time later that costs next to nothing.

        Raises
        ------
        OSError
            If the disk has lost some of it.
        """
        stamped, checksum = self._said()
        if len(stamped) > len(stamp(self._view)):
            handle = os.open(self._view, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            self.write(checksum, stored=True)

    @property
    def checksum(self) -> str:
        """What the view should sum up to; empty where nothing says so."""
        return self._said()[1]

    def _said(self) -> tuple[list[str], str]:
        with suppress(OSError, UnicodeDecodeError):
            *stamped, checksum = self._place.read_text().split() or [""]
            return stamped, checksum
        return [], ""


def _start() -> list[str]:
    """Name this start of the machine."""
    return [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
