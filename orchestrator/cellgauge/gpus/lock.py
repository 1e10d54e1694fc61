"""Lock files that all users of a machine share, and that die with their holders."""

import fcntl
import functools
import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cellgauge import owner
from cellgauge.errors import GpuError


def default_folder() -> Path:
    """Where lock files lie: the same for every user of a machine."""
    lock = Path("/run/lock")
    world = lock.is_dir() and lock.stat().st_mode & 0o002
    return (lock if world else Path("/tmp")) / "cellgauge-gpus"


class Lock:
    """A file, open and perhaps locked: by this object alone, so not by another thread, and not by a child.

    Parameters
    ----------
    stack
        What closes it.
    passing
        The file is removed when it is closed. Others stay for ever: a lock on a removed file excludes nobody.
    """

    def __init__(self, path: Path, stack: ExitStack, *, passing: bool = False, make: bool = True) -> None:
        self.path = path
        self.passing = passing
        self.signed = False
        with _explained(path):
            if make:
                _make(path)
            self.fd = os.open(path, FLAGS)
        _LOCKS.add(self)
        _close_in_children()
        stack.callback(self.close)

    def take(self, how: int = fcntl.LOCK_EX) -> bool:
        """Lock it if nobody holds it."""
        with _explained(self.path):
            try:
                fcntl.flock(self.fd, how | fcntl.LOCK_NB)
                # Somebody tidied up: the lock must be on the file that others open.
                return os.path.samestat(os.fstat(self.fd), self.path.stat(follow_symlinks=False))
            except (BlockingIOError, FileNotFoundError):
                return False

    def sign(self, before: str = "") -> None:
        """Write who holds it, for people, and after what is for programs."""
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
        with _explained(self.path):
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{before}{owner.me().token} {user}\n".encode(), 0)
        self.signed = True

    def read(self) -> str:
        """Read what its holder wrote, which anybody could have written."""
        with _explained(self.path):
            text = os.pread(self.fd, 256, 0).decode(errors="replace")
        return "".join(one for one in text if one.isprintable())

    def holder(self) -> str:
        return named(self.read())

    def close(self) -> None:
        """Unlock it; nothing in a forked child, whose parent still holds it."""
        if self not in _LOCKS:
            return
        _LOCKS.discard(self)
        with suppress(OSError):
            if self.passing:
                self.path.unlink(missing_ok=True)
            elif self.signed:
                os.ftruncate(self.fd, 0)
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # not only closed: a child about to exec has a copy
        os.close(self.fd)


_LOCKS: set[Lock] = set()
"""All that are open in this process."""
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@functools.cache
def _close_in_children() -> None:
    """Let a forked child close its copies, which would hold the locks when this process is dead."""

    def forget() -> None:
        for lock in _LOCKS:
            os.close(lock.fd)
        _LOCKS.clear()

    os.register_at_fork(after_in_child=forget)


def named(text: str) -> str:
    """Put into words who signed a lock file."""
    token, _, user = text.partition(" ")
    found = owner.Owner.parse(token)
    return f"pid {found.pid} of user {user[:64] or found.uid}" if found else "another process"


def _make(path: Path) -> None:
    """Make a lock file and its folder where there is none, for all users whatever the umask.

    Each is made under another name and then put in place, so that nobody, not even after a kill, finds one that only
    its maker may open. O_CREAT never meets an existing file, which Linux refuses in sticky folders if it is another
    user's (fs.protected_regular).
    """
    if os.path.lexists(path):
        return
    if not path.parent.is_dir():
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent.with_name(f".{path.parent.name}.{secrets.token_hex(8)}")
        folder.mkdir()
        folder.chmod(0o1777)
        try:
            folder.rename(path.parent)
        except OSError:
            folder.rmdir()
            if not path.parent.is_dir():
                raise
    new = path.with_name(f".{secrets.token_hex(8)}.new")
    fd = os.open(new, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(fd, 0o666)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()
        os.close(fd)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        hint = f"GPUs are leased by files in {path.parent}, which every user must be able to write (mode 1777)."
        raise GpuError(f"{path}: {problem.strerror or problem}", hint, lasting=True) from problem
