"""What the file system says, in words; files put elsewhere without copying; and folders of others, measured and
removed."""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellgauge.errors import StorageError


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

    Every entry counts as 4 KiB at least, so that a million empty files are not nothing. A folder that cannot be read
    counts as everything: whoever wrote it has hidden it.
    """
    total, waiting = 0, [str(folder) for folder in folders]
    while waiting and total <= most:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # it was removed meanwhile
                        status = entry.stat(follow_symlinks=False)
                        total += max(status.st_blocks * 512, 4096)
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except PermissionError:
            return most + 1
    return total


def remove(folder: Path) -> None:
    """Remove a folder whatever the permissions in it are; what cannot be removed stays, and so does all around it."""

    def unlock(function: Callable[..., object], path: str, _: object) -> None:
        with suppress(OSError):
            for locked in (Path(path).parent, Path(path)):
                if locked.is_relative_to(folder) and locked.is_dir() and not locked.is_symlink():
                    locked.chmod(0o700)
            if function in (os.open, os.scandir, os.lstat):
                shutil.rmtree(path)
            else:
                function(path)

    if folder.exists():
        told = {"onexc" if sys.version_info >= (3, 12) else "onerror": unlock}
        shutil.rmtree(folder, **told)  # type: ignore[arg-type]
