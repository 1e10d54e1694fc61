"""Finds a dataset's file on this machine and makes sure that it is the one the catalogue means."""

import hashlib
import importlib.util
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cellgauge.errors import FetchError
from cellgauge.specs import DatasetSpec


def fetch(spec: DatasetSpec) -> tuple[Path, str, tuple[int, ...]]:
    """Return a dataset's path, its SHA-256, and the stamp of the file that was hashed.

    Raises
    ------
    FetchError
        If the file is not there, cannot be read, or is another one than the catalogue says.
    """
    what = f"dataset '{spec.name}'"
    path = locate(what, spec.sources[0])
    before = stamp(path) if path.exists() else ()
    path, digest = verified(what, spec.sources[0], spec.sha256s)
    return path, digest, before


def stamp(path: Path) -> tuple[int, ...]:
    """Tell a file from another one that takes its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def verified(what: str, source: str, sha256s: Collection[str]) -> tuple[Path, str]:
    """Return the path of a source and its SHA-256, which has to be one of those given, if any are.

    Raises
    ------
    FetchError
        If the file is not there, cannot be read, or is another one.
    """
    path = locate(what, source)
    try:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as problem:
        raise FetchError(f"{what}: {path}: {problem.strerror}", "Check the source.") from problem
    if sha256s and digest not in sha256s:
        raise FetchError(
            f"{what}: {path} has SHA-256 {digest}, the catalogue says {' or '.join(sha256s)}",
            "The file was changed or another version is installed. Get the right one, or give yours its own entry.",
        )
    return path, digest


def locate(what: str, source: str) -> Path:
    """Turn a source into a path, without reading the file."""
    try:
        parts = urlsplit(source)
    except ValueError as problem:
        raise FetchError(f"{what}: {source}: {problem}", "Check the source.") from problem
    if parts.scheme == "file" and not parts.netloc:
        return Path(unquote(parts.path))
    if parts.scheme == "file":
        raise FetchError(
            f"{what}: {source} is no path on this machine",
            f"Three slashes: file:///{parts.netloc}{parts.path}, or a plain path.",
        )
    if parts.scheme == "package":
        try:
            found = importlib.util.find_spec(parts.netloc)  # does not import the package
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise FetchError(
                f"{what} lies in the Python package '{parts.netloc}', which is not installed",
                f"Run: pip install {parts.netloc}",
            )
        return Path(found.origin).parent / unquote(parts.path).lstrip("/")
    raise FetchError(
        f"{what}: sources of the kind '{parts.scheme}://' cannot be read",
        "Known: package://PACKAGE/PATH, file://PATH and plain paths. Download the file and point the source at it.",
    )
