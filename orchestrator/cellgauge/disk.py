"""What the file system says, in words; files put elsewhere without copying; and folders of others, measured and
removed."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellgauge.errors import StorageError

LONGEST = 3072
"""Bytes of the longest path that is looked into: with one more name it is still below what the system takes."""


@contextmanager
def explained(path: Path, elsewhere: str = "--results") -> Iterator[None]:
    """Turn what the file system says into an error that tells what to do.

    Parameters
    ----------
    path
        What is being written, where the system does not say it.
    elsewhere
        The option or variable that names another folder.

    Raises
    ------
    StorageError
        For every OSError.
    """
    try:
        yield
    except OSError as problem:
        told = problem.filename2 or problem.filename  # of a copy, the second is where it goes
        where = Path(told) if isinstance(told, str) else path
        hints = {
            errno.ENOSPC: "Free some space, or name",
            errno.EDQUOT: "Your quota is used up. Free some space, or name",
            errno.EACCES: "It may not be written. Name",
            errno.EROFS: "It lies on a read-only disk. Name",
        }
        hint = hints.get(problem.errno or 0, "Check the folder, or name")
        raise StorageError(
            f"{where}: {problem.strerror or problem}", f"{hint} another folder with {elsewhere}."
        ) from problem


@contextmanager
def put(place: Path) -> Iterator[Path]:
    """Make a folder beside its place and rename it into it at the end of the block: all of it is there, or nothing.

    Where somebody was faster, theirs stays: for folders that are named after their content.
    """
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        try:
            partial.rename(place)
        except OSError:
            if not place.exists():
                raise
    finally:
        if partial.exists():
            remove(partial)


def link(source: Path, target: Path) -> None:
    """Put a file somewhere else without copying it, or by copying where the file systems differ."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file, contents alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def used(folders: Iterable[Path], most: int) -> int:
    """Measure what lies in folders, in bytes on the disk, following no link; counting ends once it is past `most`.

    Every entry counts as 4 KiB at least, so that a million empty files are not nothing. A folder that cannot be read,
    or lies too deep, counts as everything: whoever wrote it has hidden it.
    """
    total, waiting = 0, [os.fsencode(folder) for folder in folders]
    while waiting and total <= most:
        path = waiting.pop()
        if len(path) > LONGEST:
            return most + 1
        try:
            with _folder(path) as at, os.scandir(at) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # it was removed meanwhile
                        status = entry.stat(follow_symlinks=False)
                        total += max(status.st_blocks * 512, 4096)
                        if total > most:
                            return total
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(path + b"/" + os.fsencode(entry.name))
        except PermissionError:
            return most + 1
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # it is no folder any more
                raise
    return total


def held(process: int, folder: Path, most: int) -> int:
    """Measure files that a process, or one below it, holds open though they are deleted, on the disk of a folder.

    As far as /proc tells: not of a process that hides itself, nor of a file that is only mapped.
    """
    total, device, seen, waiting = 0, folder.stat().st_dev, set[int](), [str(process)]
    while waiting and total <= most:
        place = Path("/proc", waiting.pop())
        with suppress(OSError):  # it has ended, or is not ours to look into
            for task in (place / "task").iterdir():
                waiting += (task / "children").read_text().split()
            for opened in (place / "fd").iterdir():
                with suppress(OSError):
                    status = opened.stat()
                    if status.st_dev == device and status.st_nlink == 0 and status.st_ino not in seen:
                        seen.add(status.st_ino)
                        total += status.st_blocks * 512
    return total


def reclaim(folder: Path) -> None:
    """Make what somebody's program left in a folder safe to keep, to move and to remove.

    Its folders are opened to us, what lies too deep to be reached is removed, and no program stays that would run
    with our rights whoever starts it.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        with suppress(OSError):
            path.chmod(stat.S_IMODE(path.lstat().st_mode) | stat.S_IRWXU)
            with os.scandir(path) as entries:
                for entry in entries:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) and len(os.fsencode(entry.path)) > LONGEST:
                        remove(Path(entry.path))
                    elif stat.S_ISDIR(mode):
                        waiting.append(Path(entry.path))
                    elif stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                        Path(entry.path).chmod(mode & 0o777)


def remove(folder: Path) -> None:
    """Remove a folder whatever the permissions in it are; what cannot be removed stays, and so does all around it.

    Folders in it are moved up to it before they are emptied, so it may be deeper than a path or a stack can be.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    with suppress(PermissionError):  # it is a colleague's, who may have shared it
        folder.chmod(0o700)
    with suppress(OSError):
        with _folder(os.fsencode(folder)) as top:
            waiting = _emptied(top, top)
            while waiting:
                name = waiting.pop()
                with suppress(OSError):
                    with _folder(os.fsencode(name), top) as below:
                        waiting |= _emptied(below, top)
                    os.rmdir(name, dir_fd=top)
        folder.rmdir()


def _emptied(at: int, top: int) -> set[str]:
    """Remove the files in a folder, move its folders up to the top, and return their names there."""
    moved, goes_on = set[str](), True
    while goes_on:  # a system may skip entries while others are removed
        goes_on = False
        with os.scandir(at) as entries:
            for entry in entries:
                if entry.name in moved:
                    continue
                with suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=at)
                    elif not _is_empty_now(entry.name, at):
                        name = secrets.token_hex(8)
                        os.rename(entry.name, name, src_dir_fd=at, dst_dir_fd=top)
                        moved.add(name)
                    goes_on = True
    return moved


def _is_empty_now(name: str, at: int) -> bool:
    """Remove a folder if it is empty; otherwise open it to us."""
    try:
        os.rmdir(name, dir_fd=at)
    except OSError:
        with suppress(PermissionError):
            os.chmod(name, 0o700, dir_fd=at)
        return False
    return True


@contextmanager
def _folder(path: bytes, at: int | None = None) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    try:
        yield handle
    finally:
        os.close(handle)


def share(folder: Path) -> None:
    """Let the group write into a folder and all below it; the files themselves stay as they are."""
    for at, below, _ in os.walk(folder):
        for path in (Path(at), *(Path(at, name) for name in below)):
            if not path.is_symlink():
                with suppress(PermissionError):
                    path.chmod(path.stat().st_mode | 0o070)
