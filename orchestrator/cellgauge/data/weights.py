"""Puts a variant's trained weights together in one folder, each file checked, once for all jobs."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cellgauge import disk
from cellgauge.data.fetch import verified
from cellgauge.disk import explained, link
from cellgauge.errors import FetchError
from cellgauge.specs import Model, Weight, identity


def digest(weights: Sequence[Weight]) -> str:
    """Hash the names and checksums of weights; empty for none."""
    return identity(sorted((one.path, one.sha256) for one in weights)) if weights else ""


def of(model: Model, variant: str) -> tuple[Weight, ...]:
    """Find which weights a variant has: its own, or those of `default`."""
    variants = model.spec.variants
    own = variants[variant].weights if variant in variants else ()
    return own or (variants["default"].weights if "default" in variants else ())


def write(model: Model, variant: str, cache: Path) -> Path | None:
    """Return the folder that holds a variant's weights, made if need be; None without any.

    Raises
    ------
    FetchError
        If a file is not there, or is not the one that the manifest means.
    StorageError
        If the cache cannot be written.
    """
    weights = of(model, variant)
    if not weights:
        return None
    place = cache / "weights" / digest(weights)
    what = f"weights of {model.spec.name}"
    if place.exists():
        # A link to the source changes with it, so what lies there is looked at as often as a dataset is.
        with suppress(FetchError):
            for one in weights:
                verified(what, (place / one.path).absolute().as_uri(), (one.sha256,))
            return place
        disk.remove(place)
    found = [(one, verified(what, _source(one, model.folder), (one.sha256,))[0]) for one in weights]
    with explained(place, "CELLGAUGE_CACHE"):
        partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            for one, path in found:
                link(path, partial / one.path)
            partial.rename(place)
        except OSError:
            if not place.exists():  # else somebody was faster, with the same content
                raise
        finally:
            if partial.exists():
                disk.remove(partial)
    return place


def _source(weight: Weight, folder: Path) -> str:
    return weight.source if "://" in weight.source else (folder / weight.source).absolute().as_uri()
