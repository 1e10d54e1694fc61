"""Keeps what was downloaded or made, each thing once and sealed, in a folder of one's own or of others."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from cellgauge.data.cache import content, seal, stock, uses
from cellgauge.data.cache.content import place
from cellgauge.data.cache.seal import Report, Tick
from cellgauge.data.cache.stock import Entry
from cellgauge.data.cache.uses import ELSEWHERE, Uses, locked
from cellgauge.disk import explained
from cellgauge.specs import Spec
from cellgauge_model.contract import write_atomically

CELLXGENE = "https://api.cellxgene.cziscience.com"


class Fetched(Spec):
    """What an address gave when it was read last."""

    address: str
    sha256: str
    size: int
    etag: str = ""
    version: str = ""
    """What the source itself calls this state of the file: a dataset version of CELLxGENE, a version of an object."""
    when: str
    """UTC."""


class Hashed(Spec):
    """What a file elsewhere on this machine held when it was hashed."""

    path: str
    looks: tuple[int, ...]
    digest: str


class Cache:
    """Files by their SHA-256, views and weights by their ids; in a folder of one's own, and in those of others.

    Parameters
    ----------
    root
        One's own. It need not be there yet.
    shared
        Those of others, looked into first; they are only read, but for marks of what is in use.
    cellxgene
        Where CELLxGENE Discover is asked for the address of a dataset.
    say
        Is told what a person should know: that a damaged file was found and is fetched again.
    """

    def __init__(
        self,
        root: Path,
        shared: Sequence[Path] = (),
        *,
        cellxgene: str = CELLXGENE,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.root = root
        self.shared = tuple(one for one in shared if one != root)
        self.cellxgene = cellxgene
        self._say = say
        self._uses = Uses(root)

    def use(self, kind: str, name: str) -> None:
        """Say that this process uses a thing until it ends, so that nobody prunes it. First this, then look for it."""
        self._uses.mark(kind, name)
        for root in self.shared:
            if _there(place(root, name) if kind == "files" else root / kind / name):
                Uses(root).visit(kind, name)

    def linger(self) -> None:
        """Say of all that this process uses that it still does; to be called often, as a run goes on for days."""
        uses.linger()

    def lock(self, name: str, tick: Tick | None = None) -> AbstractContextManager[None]:
        """Keep other processes and threads from making the same thing; `tick` is called while others do."""
        return locked(self.root, name, tick)

    # --- files ------------------------------------------------------------------------------------------------------

    def find(self, sha256: str, tick: Tick | None = None) -> Path | None:
        """Return the file with this content; None if there is none, or only a damaged one, which is removed.

        Raises
        ------
        StorageError
            If one's own cache cannot be read.
        """
        for root in self.shared:
            path = place(root, sha256)
            if _readable(path):
                Uses(root).visit("files", sha256)
                with suppress(OSError):  # pruned meanwhile, perhaps
                    if seal.good(path, sha256) or self.hashed(path, tick) == sha256:
                        return path
                    self._say(f"{path} is damaged, and passed over: tell whose it is")
        path = place(self.root, sha256)
        if not path.is_file():
            return None
        self.use("files", sha256)  # before another look: from now on it is not pruned
        with explained(path, ELSEWHERE), suppress(FileNotFoundError):
            if seal.good(path, sha256) or not content.removed(self.root, sha256, tick):
                return path
            self._say(f"{path} was damaged, and is removed; it is fetched again where it is needed")
        return None

    def holds(self, sha256: str) -> Path | None:
        """Say where a file with this content should be, without looking into it."""
        return next((path for root in (*self.shared, self.root) if _readable(path := place(root, sha256))), None)

    def keep(self, part: Path, sha256: str, tick: Tick | None = None) -> Path:
        """Take in a file that was downloaded and verified: it is either there as a whole, or not at all.

        One that is there already stays: somebody may be reading it, and would take another for a changed one.
        """
        path = place(self.root, sha256)
        self.use("files", sha256)
        with self.lock(f"file-{sha256}", tick), explained(path, ELSEWHERE):
            if path.is_file() and (seal.good(path, sha256) or content.whole(path, sha256, tick)):
                part.unlink(missing_ok=True)
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            part.chmod(part.stat().st_mode & 0o444)  # as the umask gave it: a group may share a cache
            part.replace(path)
            sync(path.parent)
            seal.write(path, sha256)
        return path

    def partial(self, key: str) -> Path:
        """Where a download is put together."""
        path = self.root / "partial" / f"{key}.part"
        with explained(path, ELSEWHERE):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # --- what is known of addresses and of files elsewhere ----------------------------------------------------------

    def fetched(self, address: str) -> Fetched | None:
        """What an address gave when it was read last, here or by those whose caches are shared."""
        for root in (self.root, *self.shared):
            with suppress(OSError, ValidationError):
                found = Fetched.model_validate_json((root / "addresses" / f"{key(address)}.json").read_bytes())
                if found.address == address:
                    return found
        return None

    def note(self, address: str, sha256: str, size: int, etag: str, version: str) -> None:
        """Remember what an address gave."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found = Fetched(address=address, sha256=sha256, size=size, etag=etag, version=version, when=now)
        path = self.root / "addresses" / f"{key(address)}.json"
        with explained(path, ELSEWHERE):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, found.model_dump_json(indent=2))

    def forget(self, address: str) -> None:
        """Ask an address again the next time."""
        with suppress(OSError):
            (self.root / "addresses" / f"{key(address)}.json").unlink(missing_ok=True)

    def hashed(self, path: Path, tick: Tick | None = None) -> str:
        """Return the SHA-256 of a file anywhere; it is read once, and again when anything about it has changed.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        return self._read_once("known", path, seal.imprint, seal.digest, tick)

    def summed(self, path: Path, tick: Tick | None = None) -> str:
        """Return the checksum of somebody else's view in the same way; jobs may link to it meanwhile.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        return self._read_once("sums", path, seal.stamp, seal.checksum, tick)

    def _read_once(
        self,
        kind: str,
        path: Path,
        looks: Callable[[Path], tuple[int, ...]],
        digest: Callable[[Path, Tick | None], str],
        tick: Tick | None,
    ) -> str:
        known = self.root / kind / f"{key(str(path.absolute()))}.json"
        before = looks(path)
        with suppress(OSError, ValidationError):
            found = Hashed.model_validate_json(known.read_bytes())
            if (found.path, found.looks) == (str(path.absolute()), before):
                return found.digest
        sure = seal.settled(path)
        told = digest(path, tick)
        with suppress(OSError):  # it is only to be quicker next time
            if sure and looks(path) == before:
                known.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(known, Hashed(path=str(path.absolute()), looks=before, digest=told).model_dump_json())
        return told

    # --- upkeep -----------------------------------------------------------------------------------------------------

    def contents(self) -> list[Entry]:
        """List what lies in one's own cache, by kind and name. Nothing is read, and nothing hashed."""
        return stock.contents(self.root)

    def verify(self, report: Report | None = None) -> list[Entry]:
        """Hash everything again, in shared caches too; what is damaged in one's own is removed."""
        return stock.verify(self.root, self.shared, report)

    def prune(self, keep: int, *, partial: bool = False) -> list[Entry]:
        """Remove what was not used for longest until at most so many bytes are left; never what a process uses.

        Parameters
        ----------
        keep
            Bytes.
        partial
            Remove interrupted downloads too, which would go on where they were; otherwise they do not count.
        """
        return stock.prune(self.root, keep, partial=partial)


def key(text: str) -> str:
    """Name a thing for a file system."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sync(folder: Path) -> None:
    """Have a folder's names on the disk, and not only in memory."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def _readable(path: Path) -> bool:
    with suppress(OSError):  # of a folder that may not be entered
        return path.is_file() and os.access(path, os.R_OK)
    return False


def _there(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False
