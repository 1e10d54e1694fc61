"""Opens a dataset's file and makes sure that it holds what its catalogue entry declares, before anything runs."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge.data import h5ad, joined
from cellgauge.data.cache.seal import stamp
from cellgauge.data.check import expression, geneids, labels, rules
from cellgauge.data.check.rules import Misfit, listed, misfit
from cellgauge.data.h5ad.hdf5 import understood
from cellgauge.errors import DatasetError
from cellgauge.specs import Dataset, DatasetSpec
from cellgauge.specs.base import Spec, identity
from cellgauge_model.contract import write_atomically

if TYPE_CHECKING:
    import anndata

MATTERS = {"organism", "gene_ids", "gene_columns", "matrix", "obs", "control", "splits", "empty_cells"}
"""Fields of an entry on which it depends what is found."""


class Outcome(Spec):
    """What a good file was found to hold."""

    n_cells: int
    n_genes: int
    tells: dict[str, tuple[str, ...]]
    ids: tuple[str, ...]
    tidy: bool
    """What `Dataset` says of it. What was found before this was looked for is found anew."""


def check(spec: DatasetSpec, path: Path, sha256: str, hashed: tuple[int, ...], seals: Path | None = None) -> Dataset:
    """Check a dataset against its entry: every value of it, the first time that it is used.

    Parameters
    ----------
    hashed
        The stamp of the file when it was hashed: it must be that very file still.
    seals
        The folder that keeps what was found, by the file's checksum and what the entry says of it.

    Raises
    ------
    DatasetError
        Naming every misfit: no cells, repeated cell ids, a column or layer that is not there, counts that are none.
    """
    name = f"{sha256}-{identity([spec.model_dump(mode='json', include=MATTERS), rules.VERSION])}.json"
    seal = seals / name if seals else None
    found = _kept(seal) if seal else None
    if found is None:
        found = _found(spec, path)
        _same(path, hashed, "read")
        if seal:
            with suppress(OSError):  # it will be checked again, that is all
                seal.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(seal, found.model_dump_json())
    _same(path, hashed, "read")
    return Dataset(spec=spec, path=path, sha256=sha256, stamp=hashed, **dict(found))


def _kept(seal: Path) -> Outcome | None:
    with suppress(OSError, ValueError):  # it is not there, or was damaged: made anew
        return Outcome.model_validate_json(seal.read_bytes())
    return None


def _found(spec: DatasetSpec, path: Path) -> Outcome:
    with h5ad.open(path) as file:
        found, tidy = _misfits(spec, file)
        errors = [one for one in found if one.severity == "error"]
        if errors:
            hints = " ".join(dict.fromkeys(one.hint for one in errors))
            raise DatasetError(f"dataset '{spec.name}' ({path}): {'; '.join(one.message for one in errors)}", hints)
        obs = file.obs(sorted(joined.columns(spec.obs.values())))
        n_genes = len(file.genes(spec.matrix.slot))
        tells, ids = labels.tells(spec.obs, obs), labels.ids(spec.obs, obs)
        return Outcome(n_cells=file.n_cells, n_genes=n_genes, tells=tells, ids=ids, tidy=tidy)


def examine(path: Path, spec: DatasetSpec | None = None) -> list[Misfit]:
    """Find what is wrong with a file, in the order of the rules' codes.

    Parameters
    ----------
    spec
        What its entry says of it; without one, only what can be told of any h5ad is looked at.

    Returns
    -------
    Errors and warnings; nothing for a good file, and one misfit for a file that cannot be read.
    """
    try:
        with h5ad.open(path) as file:
            found = _misfits(spec, file)[0] if spec else list(_of_any(file))
    except DatasetError as problem:
        found = [misfit("D101", problem.message, problem.hint)]
    return sorted(found, key=lambda one: one.code)


def _misfits(spec: DatasetSpec, file: h5ad.H5ad) -> tuple[list[Misfit], bool]:
    """Find what is wrong with a file of which an entry tells, and whether its values are tidy."""
    slot = spec.matrix.slot
    there = slot in file.slots()
    found = list(_cells(file, slot if there else "X"))
    if there or slot != "raw":
        found += geneids.check(spec, file)
    columns = file.columns()
    named = {*joined.columns(spec.obs.values()), *filter(None, [spec.matrix.total_counts])}
    found += labels.check(spec, columns, file.obs(sorted(named.intersection(columns))))
    values, tidy = expression.check(spec, file)
    return found + values, tidy


def _of_any(file: h5ad.H5ad) -> Iterator[Misfit]:
    """Find what is wrong with a file of which nothing is declared."""
    slots = file.slots()
    slot = slots[0] if slots else "X"
    yield from _cells(file, slot)
    ids = file.var(slot, []).index
    yield from geneids.unique(list(ids))
    yield from geneids.organisms(ids, "")
    seen = {}
    for name in slots:
        try:
            seen[name] = expression.tally(file, name)
        except DatasetError as problem:
            yield misfit("D202", problem.message, problem.hint)
    counts = [name for name, one in seen.items() if one.odd is None and one.fraction is None]
    for name in (counts or list(seen))[:1]:
        yield from expression.flaws(file, name, seen[name])
    if not counts and all(one.odd is not None for one in seen.values()):
        for name, one in list(seen.items())[:1]:
            hint = "Put raw counts into the file: adata.layers['counts']."
            yield expression.odd(name, one.odd or 0.0, hint)
    elif not counts:
        yield misfit(
            "D209",
            f"no matrix holds whole numbers (there are: {listed(slots)})",
            "Say in the entry what they are: `matrix: {kind: log1p}` or `matrix: {kind: corrected}`.",
        )


def _cells(file: h5ad.H5ad, slot: str) -> Iterator[Misfit]:
    import pandas as pd

    names = pd.Index(file.cells(), dtype=object)
    genes = len(file.genes(slot))
    if not len(names) or not genes:
        yield misfit("D102", f"it holds {len(names)} cells and {genes} genes", "Get the whole file.")
    repeated = names[names.duplicated() & (names != "")]
    if len(repeated):
        yield misfit(
            "D103",
            f"{len(repeated)} cell ids are not unique, the first is '{repeated[0]}'",
            "adata.obs_names_make_unique() numbers repeated cell ids.",
        )
    if empty := int((names == "").sum()):
        yield misfit("D104", f"{empty} cell ids are empty", "Name every cell: adata.obs_names = […].")


def reopen(dataset: Dataset) -> h5ad.H5ad:
    """Open a dataset that was checked before.

    Raises
    ------
    DatasetError
        If it is not the same file any more.
    """
    same(dataset)
    return h5ad.open(dataset.path, vouched=True)


def reread(dataset: Dataset, *, backed: bool) -> "anndata.AnnData":
    """Read a dataset that was checked before.

    Raises
    ------
    DatasetError
        If it is not the same file any more.
    """
    same(dataset)
    return read(dataset.path, backed=backed)


def same(dataset: Dataset) -> None:
    """Make sure that a dataset is the file still that was checked.

    Raises
    ------
    DatasetError
        If it is not.
    """
    _same(dataset.path, dataset.stamp, "in use")


def _same(path: Path, stamped: tuple[int, ...], while_it_was: str) -> None:
    if not path.exists() or stamp(path) != stamped:
        raise DatasetError(f"{path} was changed while it was {while_it_was}", "Run the same command again.")


def read(path: Path, *, backed: bool) -> "anndata.AnnData":
    """Read a h5ad as anndata does; with `backed`, the matrix in X stays on disk.

    Raises
    ------
    DatasetError
        Whatever is wrong with the file.
    """
    import anndata

    if not path.is_file() or path.stat().st_size == 0:
        raise DatasetError(f"{path} is {'empty' if path.is_file() else 'not a file'}", "Fetch it again.")
    with understood(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files make anndata talk about its own past
        return anndata.read_h5ad(path, backed="r" if backed else None)
