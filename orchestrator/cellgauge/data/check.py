"""Opens a dataset's file and makes sure that it holds what its catalogue entry declares, before anything runs."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.data.fetch import stamp
from cellgauge.errors import DatasetError
from cellgauge.specs import Dataset, DatasetSpec

if TYPE_CHECKING:
    import anndata

ENSEMBL = r"ENS[A-Z]*G\d{6,}|FBgn\d+|WBGene\d+|Y[A-P][LR]\d{3}[WC]"
"""Gene ids of Ensembl; flies, worms and yeast keep those of their own databases."""


def read(path: Path, *, backed: bool) -> "anndata.AnnData":
    """Read an h5ad; with `backed`, the matrix in X stays on disk.

    Raises
    ------
    DatasetError
        Whatever is wrong with the file.
    """
    import anndata

    if not path.is_file() or path.stat().st_size == 0:
        raise DatasetError(f"{path} is {'empty' if path.is_file() else 'not a file'}", "Fetch it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files make anndata talk about its own past
            return anndata.read_h5ad(path, backed="r" if backed else None)
    except Exception as problem:  # h5py and anndata raise many kinds on a damaged file
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise DatasetError(
            f"{path} is not a readable h5ad: {reason}", "It may be truncated. Fetch it again."
        ) from problem


def check(spec: DatasetSpec, path: Path, sha256: str, hashed: tuple[int, ...]) -> Dataset:
    """Check a dataset against its entry.

    Parameters
    ----------
    hashed
        The stamp of the file when it was hashed: it must be that very file still.

    Raises
    ------
    DatasetError
        Naming every misfit: no cells, repeated cell ids, a column or layer that is not there.
    """
    adata = read(path, backed=True)
    try:
        misfits = list(_misfits(spec, adata))
        if misfits:
            lines = "; ".join(misfits)
            hint = "Mend the file, or its catalogue entry."
            if "are not unique" in lines:
                hint += " adata.obs_names_make_unique() and var_names_make_unique() number repeated ids."
            raise DatasetError(f"dataset '{spec.name}' ({path}): {lines}", hint)
        genes = len(_genes(spec, adata))
        if stamp(path) != hashed:
            raise DatasetError(f"{path} was changed while it was read", "Run the same command again.")
        return Dataset(spec=spec, path=path, sha256=sha256, stamp=hashed, n_cells=adata.n_obs, n_genes=genes)
    finally:
        adata.file.close()


def reread(dataset: Dataset, *, backed: bool) -> "anndata.AnnData":
    """Read a dataset that was checked before.

    Raises
    ------
    DatasetError
        If it is not the same file any more.
    """
    if not dataset.path.exists() or stamp(dataset.path) != dataset.stamp:
        raise DatasetError(f"{dataset.path} was changed while it was in use", "Run the same command again.")
    return read(dataset.path, backed=backed)


def _misfits(spec: DatasetSpec, adata: Any) -> Iterator[str]:
    if adata.n_obs == 0 or adata.n_vars == 0:
        yield f"it holds {adata.n_obs} cells and {adata.n_vars} genes"
    for kind, names in (("cell", adata.obs_names), ("gene", _genes(spec, adata))):
        if names is not None and not names.is_unique:
            repeated = names[names.duplicated()]
            yield f"{len(repeated)} {kind} ids are not unique, the first is '{repeated[0]}'"
    if (names := _genes(spec, adata)) is not None and len(names):
        looks = "ensembl" if names.astype(str).str.match(ENSEMBL).mean() > 0.5 else "symbol"
        if looks != spec.gene_ids:
            yield f"gene_ids says {spec.gene_ids}, but the gene ids look like '{names[0]}'"
    slot = spec.matrix.slot
    if slot == "X" and "X" not in adata.file:
        yield "there is no X"
    if slot == "raw" and adata.raw is None:
        yield "there is no raw slot"
    if slot.startswith("layers/") and slot.removeprefix("layers/") not in adata.layers:
        yield f"there is no layer '{slot.removeprefix('layers/')}' (there are: {', '.join(adata.layers) or 'none'})"
    columns = dict(spec.obs)
    if spec.matrix.total_counts:
        columns["total_counts"] = spec.matrix.total_counts
    for role, column in columns.items():
        if column not in adata.obs:
            yield f"obs has no column '{column}' for {role} (it has: {', '.join(adata.obs) or 'none'})"
        elif role == "total_counts" and not _are_totals(adata.obs[column]):
            yield f"obs column '{column}' for total_counts holds values that are no totals: text, NaN, 0 or less"
        elif adata.obs[column].isna().all():
            yield f"obs column '{column}' for {role} is empty"
    var = _var(spec, adata)
    for kind, column in spec.gene_columns.items():
        if var is not None and column not in var:
            where = "raw.var" if spec.matrix.slot == "raw" else "var"
            yield f"{where} has no column '{column}' for {kind} ids (it has: {', '.join(var) or 'none'})"


def _are_totals(column: Any) -> bool:
    import numpy as np
    import pandas as pd

    totals = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    return bool((np.isfinite(totals) & (totals > 0)).all())


def _var(spec: DatasetSpec, adata: Any) -> Any:
    if spec.matrix.slot != "raw":
        return adata.var
    return adata.raw.var if adata.raw is not None else None


def _genes(spec: DatasetSpec, adata: Any) -> Any:
    var = _var(spec, adata)
    return None if var is None else var.index
