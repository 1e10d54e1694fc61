"""What the file system says, in words; and files put elsewhere without copying."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
