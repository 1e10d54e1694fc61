"""Says which living process uses what of a cache, so that nothing is removed under its feet."""

import fcntl
import os
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from cellgauge import owner
from cellgauge.data.cache.seal import Tick
from cellgauge.disk import explained

ELSEWHERE = "CELLGAUGE_CACHE"
"""The variable that names another cache."""
DAY = 24 * 3600.0
TRUSTED = 7 * DAY
"""Seconds that a mark counts for which is of a process that cannot be seen from here."""
AGAIN = DAY / 4
"""Seconds after which a process that lives says so again."""
PATIENCE = 2.0
"""Seconds that a guest waits for the owner of a cache."""
_mine: dict[Path, float] = {}
"""What this process has marked, and when it said so last."""


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


@contextmanager
def tried(root: Path, name: str) -> Iterator[bool]:
    """Hold a lock as long as the block lasts, if nobody else does; tell whether it is held."""
    lock = FileLock(root / "locks" / f"{name}.lock", mode=0o666)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def free(root: Path, name: str) -> bool:
    """Tell whether nobody holds a lock now."""
    with tried(root, name) as held:
        return held


def linger() -> None:
    """Say of all that this process uses that it still does; to be called often, though it seldom does anything.

    Who looks from another machine can tell no more than how long ago that was said.
    """
    now, token = time.time(), owner.me().token
    for marker, said in list(_mine.items()):
        if now - said > AGAIN and marker.name.endswith(token):  # not what a parent marked
            _mine[marker] = now
            with suppress(OSError):
                os.utime(marker)


class Uses:
    """One marker file for each process and thing; its time says when it was used last.

    The owner of a cache marks in folders of the owner's own: KIND/NAME/PROCESS. Guests, who may only read the cache,
    mark in one folder that is open to them as /tmp is, where nobody can remove another's marks.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._guests = root / "uses" / "guests"

    def mark(self, kind: str, name: str) -> None:
        """Say that this process uses a thing until it ends, or that it still does."""
        marker = self._place(kind, name) / owner.me().token
        _mine[marker] = time.time()
        with explained(marker, ELSEWHERE), suppress(FileNotFoundError):
            os.utime(marker)
            return
        with self.settling(), explained(marker, ELSEWHERE):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
            self._welcome()

    def visit(self, kind: str, name: str) -> None:
        """Say so in somebody else's cache, where that is allowed; where it is not, they cannot know."""
        marker = self._guests / f"{kind}~{name}~{owner.me().token}"
        with suppress(OSError):
            if not self._guests.is_dir():
                return
            if not marker.exists():
                with self._settling_elsewhere():
                    marker.touch()
            else:
                os.utime(marker)
            _mine[marker] = time.time()

    def settling(self) -> AbstractContextManager[None]:
        """Hold marks still: what is in nobody's use now stays so as long as the block lasts."""
        return locked(self._root, "uses")

    def living(self, kind: str, name: str) -> bool:
        """Tell whether a process uses a thing; of one that cannot be seen from here, assume so for some days."""
        return any(_lives(marker) for marker in self._markers(kind, name))

    def last(self, kind: str, name: str) -> float | None:
        """When a thing was used last, in seconds since 1970; None if nobody has said."""
        times = []
        for marker in self._markers(kind, name):
            with suppress(FileNotFoundError):
                times.append(marker.stat().st_mtime)
        return max(times, default=None)

    def forget(self, kind: str, name: str) -> None:
        """Remove the marks of what is no more."""
        _drop(self._markers(kind, name))
        with suppress(OSError):
            self._place(kind, name).rmdir()

    def sweep(self, things: Collection[tuple[str, str]]) -> None:
        """Remove the marks of processes that are gone, but not the latest, which says when the thing was used."""
        for kind, name in things:
            with suppress(OSError):
                markers = sorted(self._markers(kind, name), key=lambda one: one.stat().st_mtime)
                _drop([marker for marker in markers[:-1] if not _lives(marker)])
        strangers = [one for one in self._visits() if tuple(one.name.split("~")[:2]) not in things]
        _drop([one for one in strangers if not _lives(one)])

    def _welcome(self) -> None:
        """Let those mark what they use who may read this cache."""
        with suppress(OSError):  # a courtesy
            if not self._guests.exists():
                self._guests.mkdir()
                mode = self._guests.stat().st_mode & 0o777
                self._guests.chmod(0o1000 | mode | (mode & 0o044) >> 1)

    @contextmanager
    def _settling_elsewhere(self) -> Iterator[None]:
        """As `settling`, of a cache that is read alone: its lock is held if it is there and comes free soon."""
        handle, until = os.open(self._root / "locks" / "uses.lock", os.O_RDONLY), time.monotonic() + PATIENCE
        try:
            while time.monotonic() < until:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
                except OSError:  # a network disk that is read alone may have no locks
                    break
            yield
        finally:
            os.close(handle)

    def _markers(self, kind: str, name: str) -> list[Path]:
        place = self._place(kind, name)
        own = list(place.iterdir()) if place.is_dir() else []
        return own + [one for one in self._visits() if one.name.startswith(f"{kind}~{name}~")]

    def _visits(self) -> list[Path]:
        with suppress(OSError):
            return list(self._guests.iterdir())
        return []

    def _place(self, kind: str, name: str) -> Path:
        return self._root / "uses" / kind / name


def _drop(markers: list[Path]) -> None:
    for marker in markers:
        with suppress(OSError):
            marker.unlink()


def _lives(marker: Path) -> bool:
    """Tell whether the process of a mark lives; of one that cannot be seen, whether it said so in the last days."""
    whose, here = owner.Owner.parse("~".join(marker.name.split("~")[-6:])), owner.me()
    if whose is None:
        return False
    if whose.machine == here.machine and (whose.boot != here.boot or _seen(whose, here)):
        return whose.alive()
    with suppress(OSError):
        return marker.stat().st_mtime > time.time() - TRUSTED
    return False


def _seen(whose: owner.Owner, here: owner.Owner) -> bool:
    """Tell whether a process of this machine could be seen from here: not in another container, nor where /proc hides
    those of other users."""
    return whose.namespace == here.namespace and (whose.uid == here.uid or os.access("/proc/1/stat", os.R_OK))
