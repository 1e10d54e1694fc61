"""Results in Python: a finished embedding, in the order of your own AnnData.

::

    adata.obsm["X_model"] = cellgauge.results.embedding("bb8b2779", adata)
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge import named, outputs
from cellgauge.data.view import opaque
from cellgauge.errors import UsageError
from cellgauge.store import Store

if TYPE_CHECKING:
    import anndata
    import numpy as np
    from numpy.typing import NDArray


def embedding(
    job: str, adata: "anndata.AnnData", *, folder: str | Path = "cellgauge-results", dataset: str | None = None
) -> "NDArray[np.float32]":
    """Read what a job embedded, a row for each cell of `adata`, in its order.

    Parameters
    ----------
    job
        A job's id, or its first characters.
    adata
        The dataset that was embedded, or some of its cells; cells are found by `obs_names`.
    folder
        The results folder.
    dataset
        Which dataset of the job; needed only if it had several.

    Returns
    -------
    Shape (cells, dimensions), float32.

    Raises
    ------
    UsageError
        If there is no such finished job, or a cell of `adata` was not in the dataset.
    ContractViolation
        If the files were changed since.
    """
    store = Store(Path(folder))
    id = named.job_id(job, store)
    record = store.record(id) if id else None
    if id is None or record is None:
        raise named.nothing("job", job, store)
    names = [one.name for one in record.job.datasets]
    if record.state != "ok" or record.job.verb != "embed" or (dataset or names[0]) not in names:
        raise UsageError(f"job {id} has no embedding of {dataset or names[0]}: {record.state} {record.reason}")
    item = next(one for one in record.job.datasets if one.name == (dataset or names[0]))
    return outputs.rows(store.job_folder(id) / "output", item.name, opaque(adata.obs_names, item.view.sha256))
