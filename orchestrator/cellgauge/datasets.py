"""Datasets in Python: pulled once, verified, and opened as AnnData.

::

    adata = cellgauge.datasets.load("pbmc68k_reduced")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge import catalog, settings
from cellgauge.data import check, fetch
from cellgauge.data.cache import Cache

if TYPE_CHECKING:
    import anndata

    from cellgauge.specs import Dataset, DatasetSpec


def load(name: str, *, backed: bool = False, catalogs: Sequence[str | Path] | None = None) -> "anndata.AnnData":
    """Open a dataset of the catalogue; what is not on this machine yet is pulled first, and checked.

    Parameters
    ----------
    name
        A dataset's name, as `cellgauge datasets list` shows it.
    backed
        True: the matrix in X stays on disk, and is read where it is sliced.
    catalogs
        Further catalogues beside the shipped one, instead of those in CELLGAUGE_CATALOG, as `--catalog` does.

    Returns
    -------
    The whole file as it was published, labels included; cells x genes. What models get of it is less.

    Raises
    ------
    UnknownNameError
        If no catalogue has it.
    FetchError
        If it cannot be had, or is not what the catalogue says.
    DatasetError
        If it does not hold what the catalogue says.
    """
    return check.reread(get(name, catalogs=catalogs), backed=backed)


def get(name: str, *, catalogs: Sequence[str | Path] | None = None) -> "Dataset":
    """Pull and check a dataset; tell its path, checksum, numbers of cells and genes, and its catalogue entry.

    Raises
    ------
    CellgaugeError
        As `load` does.
    """
    chosen = settings.read()
    spec = catalog.single(name, _files(catalogs))
    cache = Cache(chosen.cache, chosen.shared_caches, cellxgene=chosen.cellxgene_api)
    return check.check(spec, *fetch.fetch(spec, cache), seals=cache.root / "checked")


def entries(*, catalogs: Sequence[str | Path] | None = None) -> "dict[str, DatasetSpec]":
    """Read every entry of the catalogues, by name; `catalogs` as in `load`."""
    return catalog.datasets(_files(catalogs))


def _files(catalogs: Sequence[str | Path] | None) -> tuple[Path, ...]:
    several = [catalogs] if isinstance(catalogs, str | Path) else catalogs
    given = None if several is None else tuple(Path(path).expanduser() for path in several)
    return settings.read(catalog=given).catalogs
