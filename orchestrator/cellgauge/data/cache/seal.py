"""Tells a file from another one that takes its place, so that many gigabytes are hashed once and not at each run."""

import hashlib
import time
import zlib
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
    found, block = 0, bytearray(BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            found = zlib.crc32(view[:read], found)
            if tick:
                tick()
    return written(found)


def written(checksum: int) -> str:
    """Write a checksum as seals do."""
    return f"{checksum:08x}"


def joined(first: int, second: int, length: int) -> int:
    """Make the checksum of two pieces from theirs, so that each can be summed up by itself.

    Parameters
    ----------
    length
        Bytes of the second piece.

    Notes
    -----
    As `crc32_combine` of zlib, which Python does not offer: `length` zero bytes are put behind the first piece, which
    multiplies its checksum by x^(8·length), and the second is added (Adler, https://github.com/madler/zlib).
    """
    power, factor = 1 << 31, 1 << 23  # x^0 and x^8: the highest bit is the lowest power
    while length:
        if length & 1:
            power = _times(factor, power)
        factor, length = _times(factor, factor), length >> 1
    return _times(power, first) ^ second


def _times(one: int, other: int) -> int:
    """Multiply two polynomials over two elements, modulo that of CRC-32."""
    found = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            found ^= other
        other = other >> 1 ^ (0xEDB88320 if other & 1 else 0)
    return found


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
    """

    def __init__(self, view: Path) -> None:
        self._view, self._place = view, view.with_name("seal")

    def write(self, checksum: str) -> None:
        """Note what the view sums up to, and how it looks now."""
        write_atomically(self._place, " ".join(map(str, [*stamp(self._view), checksum])))

    def untouched(self) -> bool:
        """Tell whether the view looks as it did when it was sealed, without reading it."""
        stamped, _ = self._said()
        with suppress(OSError):
            return stamped == [str(one) for one in stamp(self._view)]
        return False

    @property
    def checksum(self) -> str:
        """What the view should sum up to; empty where nothing says so."""
        return self._said()[1]

    def _said(self) -> tuple[list[str], str]:
        with suppress(OSError, UnicodeDecodeError):
            *stamped, checksum = self._place.read_text().split() or [""]
            return stamped, checksum
        return [], ""
