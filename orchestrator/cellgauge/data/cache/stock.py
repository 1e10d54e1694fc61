"""What lies in a cache: listed, verified, and pruned so that nothing goes which a living process uses."""

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cellgauge import disk
from cellgauge.data.cache import content, seal
from cellgauge.data.cache.seal import Report
from cellgauge.data.cache.uses import ELSEWHERE, Uses, free, locked, tried
from cellgauge.disk import explained
from cellgauge.specs import Spec, identity

Kind = Literal["files", "views", "weights", "partial"]
VIEW = "view.h5ad"
LOCKS = {"views": "view", "weights": "weights"}
"""What locks are called that are held by whoever makes a thing."""


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
    """True: by a process that lives, or that cannot be seen from here and said so in the last days."""
    good: bool = True
    """False: it does not look as it did when it was sealed; or, once it is verified, is not what it should be."""
    reason: str = ""
    """Why it could not be verified."""
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
            verified.append(one.model_copy(update=_verified(root, one, tick, own=place == root)))
        done += one.size
        if report:
            report(done, total)
    return verified


def prune(root: Path, keep: int, *, partial: bool) -> list[Entry]:
    """Remove what was not used for longest until at most so many bytes are left.

    Downloads that were begun count only where they may go: or all else would go in their place.
    """
    uses, found = Uses(root), contents(root)
    _tidy(root, uses, found)
    weights = {one.path: _weighed(one.path) for one in found if partial or one.kind != "partial"}
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
    """Remove what killed processes left: their marks, views that they had begun, and what they were about to remove."""
    uses.sweep({(one.kind, one.name) for one in found})
    begun = [one for one in (root / "views").glob("[!.]*") if one.is_dir() and not _is_file(one / VIEW)]
    for folder in begun:
        with tried(root, f"{LOCKS['views']}-{folder.name}") as held, suppress(OSError):
            if held and not _is_file(folder / VIEW):
                disk.remove(folder)
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
        if path.suffix != ".seal" and not path.name.startswith(".") and _is_file(path):
            yield "files", path
    for path in sorted((root / "views").glob("[!.]*")):
        if _is_file(path / VIEW):  # else somebody writes it now, or was killed
            yield "views", path
    for path in sorted((root / "weights").glob("[!.]*")):
        if path.is_dir():
            yield "weights", path
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
        yield from (file for file in path.rglob("*") if _is_file(file) and not file.is_symlink())


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # of a folder that may not be entered
        return path.is_file()
    return False


def _as_sealed(kind: Kind, path: Path) -> bool:
    if kind == "files":
        return seal.alike(path, path.name)
    return kind != "views" or seal.Summed(path / VIEW).untouched()


def _verified(root: Path, one: Entry, tick: seal.Tick, *, own: bool) -> dict[str, Any]:
    """Say what has become of a thing, under the names of `Entry`; one's own is removed where it is damaged."""
    try:
        if not own:
            return {"good": _good(one, tick)}
        if one.kind == "files":
            removed = content.removed(root, one.name, tick)
            return {"good": not removed, "removed": removed}
        with locked(root, f"{LOCKS[one.kind]}-{one.name}", tick):  # somebody may just write a good one
            good = _good(one, tick)
            if not good:
                with Uses(root).settling():
                    aside = _set_aside(root, one)
                disk.remove(aside)
        return {"good": good, "removed": not good}
    except FileNotFoundError:
        raise
    except OSError as problem:
        return {"good": False, "reason": problem.strerror or str(problem)}


def _good(one: Entry, tick: seal.Tick) -> bool:
    """Hash a thing: a file's name is its hash, and weights' id is made of theirs. A view's checksum lies beside it."""
    if one.kind == "files":
        return seal.digest(one.path, tick) == one.name
    if one.kind == "views":
        return seal.checksum(one.path / VIEW, tick) == seal.Summed(one.path / VIEW).checksum
    files = sorted((file.relative_to(one.path).as_posix(), seal.digest(file, tick)) for file in _files(one.path))
    return identity(files) == one.name
