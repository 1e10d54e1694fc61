"""Writes what a model may see of a dataset: counts, genes, opaque cell ids, and only the granted obs columns."""

import errno
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.data.check import read, reread
from cellgauge.data.fetch import stamp
from cellgauge.disk import explained
from cellgauge.errors import DatasetError
from cellgauge.specs import Dataset, View
from cellgauge_model import contract

if TYPE_CHECKING:
    import pandas as pd

SEAL = "seal"
INTEGER_TOLERANCE = 0.002
"""How far, relative to its size plus 10, a recovered count may lie from an integer (files round to 3 or 4 digits)."""


def write(dataset: Dataset, view: View, cache: Path) -> Path:
    """Write a view, or return the path of one that is already there.

    Raises
    ------
    DatasetError
        If counts cannot be recovered from the file's values.
    StorageError
        If the cache cannot be written.
    """
    path = cache / "views" / view.id / "view.h5ad"
    if _untouched(path):
        return path
    adata = make(dataset, view)
    with explained(path, "CELLGAUGE_CACHE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(adata, path)
        contract.write_atomically(path.with_name(SEAL), _seal(path))
    return path


def _untouched(path: Path) -> bool:
    """Tell whether a view is there as it was written: failed jobs link to it, and somebody may have edited it there."""
    seal = path.with_name(SEAL)
    with suppress(FileNotFoundError):
        if (sealed := seal.read_text()) == _stamped(path, sealed.split()[-1]):
            return True
        now = _seal(path)
        if now.split()[-1] == sealed.split()[-1]:  # copied, perhaps with the whole cache
            with explained(seal, "CELLGAUGE_CACHE"):
                contract.write_atomically(seal, now)
            return True
    return False


def _seal(path: Path) -> str:
    with path.open("rb") as file:
        return _stamped(path, hashlib.file_digest(file, "sha256").hexdigest())


def _stamped(path: Path, digest: str) -> str:
    return " ".join(map(str, [*stamp(path), digest]))


def _write(adata: Any, path: Path) -> None:
    # HDF5 on a full disk fails late and noisily, in destructors too; so it is asked first.
    matrix = adata.X
    needed = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes + 256 * sum(adata.shape)
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    partial = path.with_name(f"view.{secrets.token_hex(4)}.part")
    try:
        adata.write_h5ad(partial)
        # anndata was seen to fail half-way and leave a file that opens with an empty obs.
        again = read(partial, backed=True)
        whole = again.shape == adata.shape and list(again.obs_names[:1]) == list(adata.obs_names[:1])
        again.file.close()
        if not whole:
            raise DatasetError(f"{partial}: the view was not written whole", "Check the disk, and try again.")
        partial.chmod(0o444)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make(dataset: Dataset, view: View) -> Any:
    """Build a view in memory.

    Cells are in the order of their opaque ids, so that neither id nor order says anything about them.

    Returns
    -------
    AnnData with float32 CSR counts in X; obs holds the granted columns under their roles; var is indexed by the
    declared gene id and has `gene_symbol`, `ensembl_id` and `feature_name`; nothing else.
    """
    import anndata
    import numpy as np
    import pandas as pd

    source = reread(dataset, backed=False)
    ids = opaque(source.obs_names, dataset.sha256)
    order = np.argsort(np.array(ids))
    obs = pd.DataFrame({role: source.obs[column].to_numpy() for role, column in view.obs.items()}, index=ids)
    var = genes(source.raw.var if view.matrix.slot == "raw" else source.var, view)
    # A gene without an id of the wanted kind cannot be named to the model; of two with one id the first stays.
    named = ((var.index != "") & ~var.index.duplicated()).nonzero()[0]
    matrix = counts(source, view, dataset.path)[order][:, named]
    return anndata.AnnData(X=matrix, obs=obs.iloc[order], var=var.iloc[named])


def opaque(cells: Any, key: str) -> list[str]:
    """Name each cell by a keyed hash of its id: the same in every view, and telling nothing of barcode or batch."""
    return [hashlib.blake2b(str(cell).encode(), key=key[:64].encode(), digest_size=10).hexdigest() for cell in cells]


def annotations(dataset: Dataset, roles: dict[str, str]) -> "pd.DataFrame":
    """Read obs columns by role, in the dataset's order, indexed by opaque cell ids.

    Parameters
    ----------
    roles
        Role → obs column.
    """
    import pandas as pd

    adata = reread(dataset, backed=True)
    try:
        columns = {role: adata.obs[column].to_numpy() for role, column in roles.items()}
        return pd.DataFrame(columns, index=opaque(adata.obs_names, dataset.sha256))
    finally:
        adata.file.close()


def counts(adata: Any, view: View, path: Path) -> Any:
    """Return raw counts, recovered from log-normalised values where that is what the file holds.

    Values log(1 + s·c) with one factor s per cell give back c once s is known. The smallest non-zero value of a cell
    is taken to be one count; with each cell's total before scaling that is only needed to find the common target
    (its median over cells), so a cell without single counts is right too.

    Returns
    -------
    CSR float32, cells x genes.

    Raises
    ------
    DatasetError
        If a value is negative or not finite, or a recovered one is not an integer.
    """
    import numpy as np
    import scipy.sparse as sp

    slot = view.matrix.slot
    values = adata.X if slot == "X" else adata.raw.X if slot == "raw" else adata.layers[slot.removeprefix("layers/")]
    matrix = sp.csr_matrix(values, dtype=np.float64 if view.matrix.kind == "log1p" else np.float32)
    matrix.eliminate_zeros()
    others = [name for name in ("raw",) if adata.raw is not None] + [f"layers/{name}" for name in adata.layers]
    elsewhere = f"matrix.slot could be one of: X, {', '.join(others)}." if others else "The file has no other matrix."
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise DatasetError(f"{path}: {slot} holds negative or non-finite values, so no counts", elsewhere)
    if view.matrix.kind == "corrected":
        return matrix
    if view.matrix.kind == "counts":
        if (fractions := matrix.data[matrix.data != np.round(matrix.data)]).size:
            raise DatasetError(
                f"{path}: {slot} holds values that are no counts, for instance {fractions[0]:.3f}",
                "Log-normalised? Say `matrix: {kind: log1p}`. Corrected counts? Say `matrix: {kind: corrected}`. "
                + elsewhere,
            )
        return matrix
    totals = adata.obs[view.matrix.total_counts].to_numpy(dtype=float) if view.matrix.total_counts else None
    return _recovered(matrix, totals, f"{path}: no integer counts come out of the values in {slot}")


def _recovered(matrix: Any, totals: Any, complaint: str) -> Any:
    """Turn log(1 + s·c), with one factor s per cell, back into integers c; `matrix` is used up."""
    import numpy as np

    np.expm1(matrix.data, out=matrix.data)
    filled = np.diff(matrix.indptr) > 0
    scale = np.ones(matrix.shape[0])
    scale[filled] = np.minimum.reduceat(matrix.data, matrix.indptr[:-1][filled])
    if totals is not None:
        scale = np.median((scale * totals)[filled]) / totals
    matrix.data /= np.repeat(scale, np.diff(matrix.indptr))
    whole = np.round(matrix.data)
    if not (np.abs(matrix.data - whole) <= INTEGER_TOLERANCE * (whole + 10)).all():
        raise DatasetError(
            complaint, "They may be scaled or corrected in another way. Point matrix.slot at raw counts."
        )
    matrix.data = whole
    return matrix.astype(np.float32)


def genes(var: Any, view: View) -> "pd.DataFrame":
    """Name the genes in each kind of id that the dataset has, indexed by the kind that the view wants.

    An id that is not known is an empty string.
    """
    import pandas as pd

    def ids(kind: Any) -> list[str]:
        if kind == view.gene_index:
            return [str(name) for name in var.index]
        column = view.gene_columns.get(kind)
        return ["" if pd.isna(name) else str(name) for name in var[column]] if column else [""] * len(var)

    table = pd.DataFrame({"gene_symbol": ids("symbol"), "ensembl_id": ids("ensembl"), "feature_name": ids("symbol")})
    return table.set_index(pd.Index(ids(view.gene_ids)))
