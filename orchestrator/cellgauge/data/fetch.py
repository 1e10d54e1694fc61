"""Gets a dataset's file onto this machine and makes sure that it is the one the catalogue means."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cellgauge.data import download, sources
from cellgauge.data.cache import Cache, key, seal
from cellgauge.data.cache.seal import Report, stamp
from cellgauge.data.cache.uses import ELSEWHERE
from cellgauge.data.download import PACE, silent
from cellgauge.data.patience import Pace
from cellgauge.data.sources import Fault, Head, Local, Remote
from cellgauge.disk import explained
from cellgauge.errors import FetchError, NotHereError
from cellgauge.specs import DatasetSpec

__all__ = ["Found", "Report", "fetch", "file", "here", "stamp"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
Found = tuple[Path, str, tuple[int, ...]]
"""A file, its SHA-256, and its stamp when it was hashed."""


def fetch(
    spec: DatasetSpec, cache: Cache, report: Report | None = None, *, refresh: bool = False, pull: bool = True
) -> Found:
    """Return a dataset's path, its SHA-256, and the stamp of the file that was hashed.

    Parameters
    ----------
    report
        Is told how many bytes have come, of how many.
    refresh
        Ask the source again, where its checksum is not in the catalogue.
    pull
        False: take it only from this machine, and ask nobody.

    Raises
    ------
    FetchError
        If no source has it, or what they have is another file than the catalogue means; or if it is not here, and is
        not to be pulled.
    StorageError
        If the cache cannot be written.
    """
    what = f"dataset '{spec.name}'"
    found = file(what, spec.sources, spec.sha256s, cache, report, size=spec.size, refresh=refresh, pull=pull)
    if not spec.verified and found[0].is_relative_to(cache.root) and not _is_hdf5(found[0]):
        for address in spec.sources:
            cache.forget(address)  # else it would be taken for the dataset for ever
        raise FetchError(f"{what}: what came is no h5ad (not even HDF5)", "Look at the address; it is asked again.")
    return found


def file(
    what: str,
    addresses: Sequence[str],
    sha256s: Collection[str],
    cache: Cache,
    report: Report | None = None,
    *,
    size: int | None = None,
    refresh: bool = False,
    pull: bool = True,
    pace: Pace = PACE,
) -> Found:
    """Return a file from the first of several sources that has it, with its SHA-256 and its stamp.

    Parameters
    ----------
    what
        How errors name it.
    sha256s
        One of which it has to have; none: any will do.
    size
        Bytes that it has to have, where that is known.
    pull
        False: take it only from this machine, and ask nobody.

    Raises
    ------
    FetchError
        What each source said.
    StorageError
        If the cache cannot be written.
    """
    said: list[FetchError] = []
    order = _Order(what, addresses, sha256s, size, cache, report or silent, refresh, pull, pace)
    for address in addresses:
        try:
            return order.at(address)
        except FetchError as problem:
            said.append(problem)
    said = [one for one in said if not isinstance(one, NotHereError)] or said[:1]
    if len(said) == 1:
        raise said[0]
    lines = "\n".join(f"  {problem.message.removeprefix(f'{what}: ')}" for problem in said)
    raise FetchError(f"{what} could be had from none of its {len(said)} sources:\n{lines}", said[0].hint)


def here(spec: DatasetSpec, cache: Cache) -> Path | None:
    """Say where a dataset's file lies on this machine, if it does, without reading it or asking anybody."""
    for address in spec.sources:
        try:
            source = _source(f"dataset '{spec.name}'", address, cache)
            if isinstance(source, Local) and (path := source.path(address)).is_file():
                return path
        except (FetchError, Fault, OSError):
            continue
    known = [one for one in map(cache.fetched, spec.sources) if one] if not spec.verified else []
    digests = [*spec.sha256s, *(one.sha256 for one in known)]
    return next((found for one in digests if (found := cache.holds(one))), None)


def _is_hdf5(path: Path) -> bool:
    """Look for the signature, which stands at the beginning, or after a block of somebody else's."""
    with path.open("rb") as file:
        return any(file.seek(at) == at and file.read(8) == SIGNATURE for at in (0, 512, 1024, 2048, 4096))


class _Order:
    """What is wanted, whoever has it."""

    def __init__(
        self,
        what: str,
        addresses: Sequence[str],
        sha256s: Collection[str],
        size: int | None,
        cache: Cache,
        report: Report,
        refresh: bool,
        pull: bool,
        pace: Pace,
    ) -> None:
        self._what, self._addresses, self._sha256s = what, addresses, sha256s
        self._size, self._cache = size, cache
        self._report, self._refresh, self._pace = report, refresh and not sha256s, pace
        self._pull = pull

    def at(self, address: str) -> Found:
        """Get it from one source."""
        source = _source(self._what, address, self._cache)
        try:
            if isinstance(source, Local):
                return self._in_place(source.path(address))
            if known := self._known():
                return known
            if not self._pull:
                raise NotHereError(f"{self._what} is not here yet", "Pull it: `cellgauge datasets pull NAME`.")
            with self._cache.lock(f"download-{key(address)}", self._tick):
                # Somebody else may have fetched it while we waited.
                return self._known() or self._pulled(source, address)
        except Fault as fault:
            raise FetchError(f"{self._what}: {address}: {fault.message}", self._hint(fault, address)) from fault

    def _tick(self) -> None:
        self._report(0, self._size)

    def _in_place(self, path: Path) -> Found:
        """Take a file where it lies."""
        try:
            before = stamp(path)
            digest = self._cache.hashed(path, self._tick)
            misfit = self._misfit(path, digest)
        except OSError as problem:
            raise FetchError(f"{self._what}: {path}: {problem.strerror}", "Check the source.") from problem
        if misfit:
            hint = (
                "The file was changed or another version is installed. Get the right one, or give yours its own entry."
            )
            raise FetchError(f"{self._what}: {path} has {misfit}", hint)
        return path, digest, before

    def _known(self) -> Found | None:
        """Find what was fetched before, from whichever source."""
        if self._refresh:
            return None
        before = [one.sha256 for one in map(self._cache.fetched, self._addresses) if one]
        for sha256 in self._sha256s or before:
            if path := self._cache.find(sha256, self._tick):
                return path, sha256, stamp(path)
        return None

    def _pulled(self, source: Remote, address: str) -> Found:
        if self._refresh and (known := self._same(source, address)):
            return known
        part = self._cache.partial(key(address))
        with explained(part, ELSEWHERE):
            begun = part.exists()
            head, digest = self._downloaded(source, address, part)
            if begun and self._misfit(part, digest):  # what was there from before may be at fault
                download.drop(part)
                head, digest = self._downloaded(source, address, part)
            if misfit := self._misfit(part, digest):
                download.drop(part)
                hint = "Another version was put there, or something in between answers. Look at its publisher's page."
                raise FetchError(f"{self._what}: {address}: what came has {misfit}", hint)
        path = self._cache.keep(part, digest, self._tick)
        self._cache.note(address, digest, path.stat().st_size, head.etag, head.version)
        return path, digest, stamp(path)

    def _downloaded(self, source: Remote, address: str, part: Path) -> tuple[Head, str]:
        sure = bool(self._sha256s)
        head = download.download(
            source, address, part, size=self._size, sure=sure, report=self._report, pace=self._pace
        )
        size = part.stat().st_size
        return head, seal.digest(part, lambda: self._report(size, size))

    def _misfit(self, part: Path, digest: str) -> str:
        """Say what is wrong with a file that came, or nothing."""
        if self._size not in (None, size := part.stat().st_size):
            return f"{size:,} bytes, the catalogue says {self._size:,}"
        if self._sha256s:
            return "" if digest in self._sha256s else self._wrong(digest)
        with part.open("rb") as opened:  # a login, or a polite way to say that there is nothing
            return "the form of a web page" if re.match(rb"\s*<(!doctype html|html)", opened.read(256), re.I) else ""

    def _same(self, source: Remote, address: str) -> Found | None:
        """Ask whether what is here is what would come."""
        before = self._cache.fetched(address)
        if before is None or not before.etag:
            return None
        head = download.head(source, address, self._report, self._pace)
        if (head.etag, head.size) != (before.etag, before.size):
            return None
        path = self._cache.find(before.sha256, self._tick)
        if path is None:
            return None
        self._cache.note(address, before.sha256, before.size, head.etag, head.version)
        return path, before.sha256, stamp(path)

    def _wrong(self, digest: str) -> str:
        return f"SHA-256 {digest}, the catalogue says {' or '.join(self._sha256s)}"

    def _hint(self, fault: Fault, address: str) -> str:
        if not fault.passing:
            return fault.hint
        kept = self._cache.root / "partial" / f"{key(address)}.journal"
        again = "The same command goes on where this one stopped." if kept.exists() else "Try again later."
        return f"{fault.hint.removesuffix('Try again later.')} {again}".strip()


def _source(what: str, address: str, cache: Cache) -> Local | Remote:
    try:
        scheme = urlsplit(address).scheme
    except ValueError as problem:
        raise FetchError(f"{what}: {address}: {problem}", "Check the source.") from problem
    found = sources.find(scheme, cache.cellxgene)
    if found is None:
        raise FetchError(
            f"{what}: sources of the kind '{scheme}://' cannot be read",
            f"Known: {', '.join(f'{one}://' for one in sources.schemes())}, and plain paths. "
            "Download the file and point the source at it.",
        )
    return found
