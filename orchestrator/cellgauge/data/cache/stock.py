"""What lies in a cache: listed, verified, and pruned so that nothing goes which a living process uses."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cellgauge import disk
from cellgauge.data.cache import seal
from cellgauge.data.cache.uses import ELSEWHERE, Uses, free
from cellgauge.disk import explained
from cellgauge.specs import Spec, identity

Kind = Literal["files", "views", "weights", "partial"]
Report = Callable[[int, int | None], None]


class Entry(Spec):
    """One thing in a cache."""

    kind: Kind
    """`files`: downloaded. `views`: what a model sees. `weights`: of one variant. `partial`: begun and not finished."""
    name: str
    """A SHA-256, or an id."""
    path: Path
    size: int
    """Bytes that are on no entry before it: weights may be links to downloaded files."""
    used: str
    """When it was used last, UTC."""
    in_use: bool = False
    """True: by a process that lives, or that cannot be seen from here."""
    good: bool = True
    """False: it is not what it was when it was sealed; or, once it is verified, not what it should be."""
    removed: bool = False


def contents(root: Path) -> list[Entry]:
    """List what lies in a cache, without reading any of it."""
    uses, seen = Uses(root), set[int]()
    return [_entry(uses, kind, path, seen) for kind, path in _things(root)]


def verify(root: Path, shared: Sequence[Path], report: Report | None) -> list[Entry]:
    """Hash everything again; remove from the root what is damaged, and only tell of it elsewhere."""
    found = [(root, one) for one in contents(root) if one.kind != "partial"]
    found += [(other, one) for other in shared for one in contents(other) if one.kind != "partial"]
    total, done, verified = sum(one.size for _, one in found), 0, []
    for place, one in found:

        def tick(done: int = done) -> None:
            if report:
                report(done, total)

        with suppress(FileNotFoundError):  # pruned meanwhile
            good = _verified(one, tick)
            removed = not good and place == root
            if removed:
                _remove(root, one)
            elif good and place == root and one.kind == "files" and not seal.good(one.path, one.name):
                with explained(one.path, ELSEWHERE):
                    seal.write(one.path, one.name)
            verified.append(one.model_copy(update={"good": good, "removed": removed}))
        done += one.size
        if report:
            report(done, total)
    return verified


def prune(root: Path, keep: int, *, partial: bool) -> list[Entry]:
    """Remove what was not used for longest until at most so many bytes are left."""
    uses, found = Uses(root), contents(root)
    _tidy(root, uses, found)
    weights = {one.path: _weighed(one.path) for one in found}
    holders = Counter(inode for weight in weights.values() for inode in weight)
    left = sum({inode: size for weight in weights.values() for inode, size in weight.items()}.values())
    begun = [one for one in found if one.kind == "partial"] if partial else []
    old = sorted((one for one in found if one.kind != "partial"), key=lambda one: one.used)
    removed = []
    for one in (*begun, *old):
        if (left > keep or one.kind == "partial") and _pruned(root, uses, one):
            removed.append(one.model_copy(update={"removed": True}))
            holders.subtract(weights[one.path].keys())
            # What others link to takes its bytes still.
            left -= sum(size for inode, size in weights[one.path].items() if not holders[inode])
    return removed


def _tidy(root: Path, uses: Uses, found: Sequence[Entry]) -> None:
    """Remove what killed processes left: their marks, and what they were about to remove."""
    for one in found:
        with suppress(OSError):
            uses.sweep(one.kind, one.name)
    with suppress(OSError):
        with uses.settling():
            asides = list((root / "trash").iterdir())
        for aside in asides:
            disk.remove(aside)


def _pruned(root: Path, uses: Uses, one: Entry) -> bool:
    """Remove a thing unless it is in use; whoever marks it afterwards finds that it is gone."""
    with uses.settling():
        if one.in_use if one.kind == "partial" else uses.living(one.kind, one.name):
            return False
        aside = _set_aside(root, one)
        uses.forget(one.kind, one.name)
    disk.remove(aside)
    return True


def _remove(root: Path, one: Entry) -> None:
    with Uses(root).settling():
        aside = _set_aside(root, one)
    disk.remove(aside)


def _set_aside(root: Path, one: Entry) -> Path:
    """Move a thing out of everybody's sight in one step, since its removal may take long or be interrupted."""
    aside = root / "trash" / secrets.token_hex(8)
    with explained(one.path, ELSEWHERE):
        aside.mkdir(parents=True)
        with suppress(FileNotFoundError):
            one.path.rename(aside / "thing")
        for more in (seal.beside(one.path), one.path.with_suffix(".journal")):
            more.unlink(missing_ok=True)
    return aside


def _things(root: Path) -> Iterator[tuple[Kind, Path]]:
    for path in sorted((root / "files").glob("??/*")):
        if path.suffix != ".seal" and path.is_file() and not path.name.startswith("."):
            yield "files", path
    for kind in ("views", "weights"):
        for path in sorted((root / kind).glob("[!.]*")):
            if path.is_dir():
                yield kind, path
    for path in sorted((root / "partial").glob("*.part")):
        yield "partial", path


def _entry(uses: Uses, kind: Kind, path: Path, seen: set[int]) -> Entry:
    weight = _weighed(path)
    size = sum(size for inode, size in weight.items() if inode not in seen)
    seen.update(weight)
    if kind == "partial":
        in_use = not free(path.parent.parent, f"download-{path.stem}")
    else:
        in_use = uses.living(kind, path.name)
    return Entry(
        kind=kind,
        name=path.name,
        path=path,
        size=size,
        used=_used(uses, kind, path),
        in_use=in_use,
        good=_as_sealed(kind, path),
    )


def _used(uses: Uses, kind: Kind, path: Path) -> str:
    """When a thing was used last, or made if nobody has said that they used it."""
    last = uses.last(kind, path.name)
    if last is None:
        last = 0.0
        with suppress(OSError):
            last = path.stat().st_mtime
    return datetime.fromtimestamp(last, UTC).isoformat(timespec="milliseconds")


def _weighed(path: Path) -> dict[int, int]:
    """Measure the bytes of a thing's files on the disk, by inode."""
    found = {}
    for file in _files(path):
        with suppress(OSError):
            status = file.stat(follow_symlinks=False)
            found[status.st_ino] = status.st_blocks * 512 or status.st_size  # the first is 0 on some network disks
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def _as_sealed(kind: Kind, path: Path) -> bool:
    if kind == "files":
        return seal.good(path, path.name)
    if kind == "views":
        with suppress(OSError, UnicodeDecodeError):  # as `view` seals them: by stamp and checksum
            return (path / "seal").read_text().split()[:-1] == [str(one) for one in seal.stamp(path / "view.h5ad")]
        return False
    return True


def _verified(one: Entry, tick: seal.Tick) -> bool:
    """Hash a thing: a file's name is its hash, and weights' id is made of theirs. A view's checksum lies beside it."""
    if one.kind == "files":
        return seal.digest(one.path, tick) == one.name
    if one.kind == "views":
        with suppress(OSError, UnicodeDecodeError):
            return (one.path / "seal").read_text().split()[-1:] == [seal.checksum(one.path / "view.h5ad", tick)]
        return False
    files = sorted((file.relative_to(one.path).as_posix(), seal.digest(file, tick)) for file in _files(one.path))
    return identity(files) == one.name
