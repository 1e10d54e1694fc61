"""Reads a view and writes outputs as the contract wants them. numpy and anndata are imported when first used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, List

from cellgauge_model.contract import CELLS, EMBEDDING, PREDICTION, Output
from cellgauge_model.outcomes import InvalidInput


def read(path: Path) -> Any:
    """Read a view as AnnData: cells x genes, CSR float32."""
    import anndata

    try:
        adata = anndata.read_h5ad(path)
    except Exception as problem:  # h5py and anndata raise many kinds on a damaged file
        raise InvalidInput(f"{path.name} cannot be read: {problem}") from problem
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InvalidInput(f"{path.name} holds {adata.n_obs} cells and {adata.n_vars} genes")
    return adata


def write_embedding(folder: Path, answer: Any, adata: Any) -> List[Output]:
    """Write `embedding.npy` and `cells.txt` from an array in the order of `adata`, or from (array, cell ids)."""
    import numpy

    if answer is None:
        raise ValueError("embed returned None")
    values, cells = answer if isinstance(answer, tuple) else (answer, None)
    if cells is None and hasattr(values, "index") and hasattr(values, "to_numpy"):
        cells, values = values.index, values.to_numpy()  # a DataFrame names its own rows
    array = numpy.ascontiguousarray(_dense(values), dtype=numpy.float32)
    cells = [str(cell) for cell in (adata.obs_names if cells is None else cells)]
    if array.ndim != 2 or len(array) != len(cells):
        raise ValueError(f"embed returned an array of shape {array.shape} for {len(cells)} cells")
    numpy.save(folder / EMBEDDING, array, allow_pickle=False)
    (folder / CELLS).write_text("".join(f"{cell}\n" for cell in cells), encoding="utf-8")
    return [Output(EMBEDDING, list(array.shape), "float32", sha256(folder / EMBEDDING))]


def write_prediction(folder: Path, answer: Any, adata: Any) -> List[Output]:
    """Write `prediction.h5ad` from an AnnData whose obs has `condition`; X becomes dense float32."""
    import anndata
    import numpy

    if "condition" not in getattr(answer, "obs", ()):
        raise ValueError("predict must return an AnnData with a column 'condition' in obs")
    array = numpy.ascontiguousarray(_dense(answer.X), dtype=numpy.float32)
    obs = answer.obs[["condition"]].astype(str)
    anndata.AnnData(X=array, obs=obs, var=answer.var[[]]).write_h5ad(folder / PREDICTION)
    return [Output(PREDICTION, list(array.shape), "float32", sha256(folder / PREDICTION))]


def sha256(path: Path) -> str:
    """Hash a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else values
