"""Puts a variant's trained weights together in one folder, each file checked, once for all jobs."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cellgauge import disk
from cellgauge.data import fetch
from cellgauge.data.cache import Cache, seal
from cellgauge.data.cache.seal import Report
from cellgauge.data.cache.uses import ELSEWHERE
from cellgauge.disk import explained, link
from cellgauge.specs import Model, Weight, identity


def digest(weights: Sequence[Weight]) -> str:
    """Hash the names and checksums of weights; empty for none."""
    return identity(sorted((one.path, one.sha256) for one in weights)) if weights else ""


def of(model: Model, variant: str) -> tuple[Weight, ...]:
    """Find which weights a variant has: its own, or those of `default`."""
    variants = model.spec.variants
    own = variants[variant].weights if variant in variants else ()
    return own or (variants["default"].weights if "default" in variants else ())


def write(model: Model, variant: str, cache: Cache, report: Report | None = None) -> Path | None:
    """Return the folder that holds a variant's weights, fetched and made if need be; None without any.

    Parameters
    ----------
    report
        Is told of each file how many bytes have come, of how many; what it raises ends it.

    Raises
    ------
    FetchError
        If a file cannot be had, or is not the one that the manifest means.
    StorageError
        If the cache cannot be written.
    """
    weights = of(model, variant)
    if not weights:
        return None
    name = digest(weights)
    cache.use("weights", name)
    for place in (root / "weights" / name for root in cache.shared):
        if _whole(place, weights, cache):
            return place
    place = cache.root / "weights" / name
    with cache.lock(f"weights-{name}", lambda: report(0, None) if report else None):
        if not _whole(place, weights, cache):
            disk.remove(place)
            _put(_fetched(model, weights, cache, report), place)
    return place


def _fetched(model: Model, weights: Sequence[Weight], cache: Cache, report: Report | None) -> list[tuple[Weight, Path]]:
    what = f"weights of {model.spec.name}"
    return [(one, fetch.file(what, (_source(one, model.folder),), (one.sha256,), cache, report)[0]) for one in weights]


def _whole(place: Path, weights: Sequence[Weight], cache: Cache) -> bool:
    """Tell whether a folder holds them: a link to a source changes with it, so all are looked at each time."""
    with suppress(OSError):
        return place.is_dir() and all(cache.hashed(place / one.path) == one.sha256 for one in weights)
    return False


def _put(found: Sequence[tuple[Weight, Path]], place: Path) -> None:
    with explained(place, ELSEWHERE), disk.put(place) as partial:
        for one, path in found:
            sealed, before = seal.good(path, one.sha256), seal.stamp(path)
            link(path, partial / one.path)
            with suppress(OSError):  # it is only to be quicker next time
                if sealed and seal.stamp(path) == before:  # the link has moved a time of it, and nothing else
                    seal.write(path, one.sha256)


def _source(weight: Weight, folder: Path) -> str:
    return weight.source if "://" in weight.source else (folder / weight.source).absolute().as_uri()
