"""Shows a model cells of conditions that it is asked for, in which the genes that it is asked for are 0.

Nothing else may tell of these genes' values: no total, no column of obs, no place where a value was stored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.data import conditions, view
from cellgauge.data.cache import Cache
from cellgauge.specs import Dataset, JobDataset, View, identity

if TYPE_CHECKING:
    from cellgauge_tasks.metrics.perturbation import Perturbed

Masked = Mapping[str, list[str]]
"""Condition → its masked genes, as the view names them."""


def choose(dataset: Dataset, item: JobDataset, cache: Cache) -> Masked:
    """Choose which genes of which conditions held out are masked, by the cells that a prediction is compared with.

    Raises
    ------
    DatasetError
        If the dataset's file was changed.
    """
    control, held = (_read(dataset, one, cache) for one in (item.view, item.held_out))
    return chosen(_together(dataset, control, held))


def chosen(truth: "Perturbed") -> Masked:
    """Choose as `choose` does, of control cells and cells held out; nothing where no condition changes enough genes."""
    from cellgauge_tasks import NotApplicable
    from cellgauge_tasks.metrics.perturbation import protocols

    try:
        found = protocols.choose_masked(truth)
    except NotApplicable:
        return {}
    return {condition: [str(gene) for gene in genes] for condition, genes in found.items()}


def write(dataset: Dataset, item: JobDataset, masked: Masked, cache: Cache, folder: Path) -> tuple[Path, int]:
    """Write the cells held out of conditions with masked genes, and nothing but their counts, ids and conditions.

    Of roles that a model is granted elsewhere there is none here: one may hold what a cell's counts add up to.

    Returns
    -------
    The file, and how many cells it has.

    Raises
    ------
    DatasetError
        If the dataset's file was changed.
    """
    import anndata
    import pandas as pd

    from cellgauge_tasks.metrics.perturbation import Perturbed, protocols

    held = _read(dataset, item.held_out, cache)
    held = held[conditions.words(held.obs[conditions.ROLE]).isin(list(masked)).to_numpy()]
    names = conditions.words(held.obs[conditions.ROLE]).to_numpy()
    cells = Perturbed(held.X, names, dataset.spec.control or "", held.var_names)
    hidden = protocols.mask(cells, masked).matrix
    path = folder / f"{identity([one.id for one in item.views] + [item.masked])}.h5ad"
    obs = pd.DataFrame({conditions.ROLE: names}, index=held.obs_names)
    anndata.AnnData(X=hidden, obs=obs, var=held.var).write_h5ad(path)
    path.chmod(0o444)
    return path, len(obs)


def _read(dataset: Dataset, one: View | None, cache: Cache) -> Any:
    import anndata

    assert one is not None  # noqa: S101 - a job that predicts has it
    return anndata.read_h5ad(view.write(dataset, one, cache))


def _together(dataset: Dataset, control: Any, held: Any) -> "Perturbed":
    """Put control cells before those held out, as the truth has them."""
    import numpy as np
    import scipy.sparse as sp

    from cellgauge_tasks.metrics.perturbation import Perturbed

    name = dataset.spec.control or ""
    words = conditions.words(held.obs[conditions.ROLE])
    tested = (words != name).to_numpy()
    labels = np.concatenate([np.full(control.n_obs, name, dtype=object), words[tested].to_numpy()])
    return Perturbed(sp.vstack([control.X, held.X[tested]], format="csr"), labels, name, control.var_names)
