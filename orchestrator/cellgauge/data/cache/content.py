"""Tells whether a file of a cache holds what its name says, while others may put a good one in its place."""

from contextlib import suppress
from pathlib import Path

from cellgauge.data.cache import seal
from cellgauge.data.cache.uses import locked


def place(root: Path, sha256: str) -> Path:
    """Where a file lies in a cache."""
    return root / "files" / sha256[:2] / sha256


def whole(path: Path, sha256: str, tick: seal.Tick | None = None) -> bool:
    """Hash a file of one's own; where only its looks have changed, it is sealed again.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    before = seal.imprint(path)
    if seal.digest(path, tick) != sha256:
        return False
    with suppress(OSError):  # it is only to be quicker next time
        if seal.imprint(path) == before and not seal.good(path, sha256):
            seal.write(path, sha256, before)
    return True


def removed(root: Path, sha256: str, tick: seal.Tick | None = None) -> bool:
    """Hash a file of one's own, and remove it where it is damaged; tell whether that was so.

    To hash it takes minutes, and meanwhile somebody else may have done the same and fetched a good one: what is
    removed is the very file that was hashed, and no other.

    Raises
    ------
    OSError
        If it is not there, or cannot be read or removed.
    """
    path = place(root, sha256)
    while True:
        before = seal.imprint(path)
        if whole(path, sha256, tick):
            return False
        with locked(root, f"file-{sha256}", tick):
            if seal.imprint(path) == before:
                path.unlink()
                seal.beside(path).unlink(missing_ok=True)
                return True
