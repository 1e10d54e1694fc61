"""Says which living process uses what of a cache, so that nothing is removed under its feet."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from cellgauge import owner
from cellgauge.data.cache.seal import Tick
from cellgauge.disk import explained

ELSEWHERE = "CELLGAUGE_CACHE"
"""The variable that names another cache."""


@contextmanager
def locked(root: Path, name: str, tick: Tick | None = None) -> Iterator[None]:
    """Keep other processes and threads out, as long as the block lasts.

    The file stays for ever: a lock on a removed file excludes nobody.
    """
    place = root / "locks"
    with explained(place, ELSEWHERE):
        place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{name}.lock", mode=0o666)  # of a cache that several users share
    while not _taken(lock):
        if tick:
            tick()
    try:
        yield
    finally:
        lock.release()


def _taken(lock: BaseFileLock) -> bool:
    with explained(Path(lock.lock_file), ELSEWHERE):
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            return False
        return True


def free(root: Path, name: str) -> bool:
    """Tell whether nobody holds a lock now."""
    try:
        with FileLock(root / "locks" / f"{name}.lock", mode=0o666, timeout=0):
            return True
    except (Timeout, OSError):
        return False


class Uses:
    """One marker file for each process and thing; its time says when it was used last."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mark(self, kind: str, name: str) -> None:
        """Say that this process uses a thing until it ends, or that it still does."""
        marker = self._place(kind, name) / owner.me().token
        with explained(marker, ELSEWHERE), suppress(FileNotFoundError):
            os.utime(marker)
            return
        with self.settling(), explained(marker, ELSEWHERE):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    def settling(self) -> AbstractContextManager[None]:
        """Hold marks still: what is in nobody's use now stays so as long as the block lasts."""
        return locked(self._root, "uses")

    def living(self, kind: str, name: str) -> bool:
        """Tell whether a process uses a thing; of one that cannot be seen from here, assume so."""
        owners = [owner.Owner.parse(marker.name) for marker in self._markers(kind, name)]
        return any(one is not None and not one.abandoned() for one in owners)

    def last(self, kind: str, name: str) -> float | None:
        """When a thing was used last, in seconds since 1970; None if nobody has said."""
        times = []
        for marker in self._markers(kind, name):
            with suppress(FileNotFoundError):
                times.append(marker.stat().st_mtime)
        return max(times, default=None)

    def forget(self, kind: str, name: str) -> None:
        """Remove the marks of what is no more."""
        self._drop(self._markers(kind, name))
        with suppress(OSError):
            self._place(kind, name).rmdir()

    def sweep(self, kind: str, name: str) -> None:
        """Remove the marks of processes that are gone, but not the latest, which says when the thing was used."""
        markers = sorted(self._markers(kind, name), key=lambda one: one.stat().st_mtime)
        owners = [(owner.Owner.parse(marker.name), marker) for marker in markers[:-1]]
        self._drop([marker for one, marker in owners if one is None or one.abandoned()])

    def _drop(self, markers: list[Path]) -> None:
        for marker in markers:
            with suppress(OSError):
                marker.unlink()

    def _markers(self, kind: str, name: str) -> list[Path]:
        place = self._place(kind, name)
        return list(place.iterdir()) if place.is_dir() else []

    def _place(self, kind: str, name: str) -> Path:
        return self._root / "uses" / kind / name
