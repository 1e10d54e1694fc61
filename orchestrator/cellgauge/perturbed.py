"""Reads what a model predicts, and the cells that this is compared with, in the form that tasks take."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge import predictions
from cellgauge.data import conditions, masked, view
from cellgauge.data.cache import Cache
from cellgauge.errors import ContractViolation, StorageError
from cellgauge.specs import Dataset, Job, JobDataset
from cellgauge_model import contract
from cellgauge_model.contract import PREDICTION, Condition, Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellgauge_tasks.metrics.perturbation import Perturbed

Masks = dict[str, "NDArray[np.bool_]"]


@dataclass(frozen=True)
class Truth:
    """Cells of a dataset with their conditions: those that a model had, and those held out from it."""

    cells: "Perturbed"
    """Its genes are those of the model's input."""
    masks: "Masks"
    """`train`: cells that the model had, the controls among them; `test`: those held out. Each of shape (cells,)."""
    asked: Sequence[Condition]
    """Conditions of the cells held out; where a model was shown some of their genes, those that it was asked for."""


def item_of(job: Job, dataset: Dataset) -> JobDataset:
    """Find what a job is about."""
    return next(one for one in job.datasets if one.name == dataset.spec.name)


def inputs(
    item: JobDataset, dataset: Dataset, output: Path, caches: Sequence[Path] = ()
) -> "tuple[Callable[[], Perturbed], Callable[[], Perturbed], Callable[[], Masks]]":
    """Give prediction, truth and masks as functions, since they may not be needed; each is read once.

    Parameters
    ----------
    output
        The folder that holds the item's.
    caches
        Folders that may hold the views, of which the first takes them in; none: they are written for this alone.
    """

    @functools.cache
    def known() -> Truth:
        return truth(item, dataset, caches)

    @functools.cache
    def predicted() -> "Perturbed":
        return prediction(output, item, known())

    return predicted, lambda: known().cells, lambda: known().masks


def prediction(output: Path, item: JobDataset, truth: Truth) -> "Perturbed":
    """Read what a model predicted, with the same distrust as when it was checked first.

    Raises
    ------
    ContractViolation
        If it is not as the contract says.
    """
    from cellgauge_tasks.metrics.perturbation import Perturbed, mistaken

    asked = Item(item.name, "", conditions=list(truth.asked))
    level, cells = item.level or "cells", truth.cells
    if item.masked:
        _same_genes(output, item, asked)
    found = predictions.read(output, asked, cells.genes.tolist(), level)
    found.matrix.setflags(write=False)  # what one task changes would be another's wrong number
    made = Perturbed(found.matrix, found.conditions, cells.control, found.genes, cells.targets, level)  # type: ignore[arg-type]
    if total := mistaken.logged(made):
        raise ContractViolation(
            f"{PREDICTION}: X holds logarithms, and counts are asked for: expm1 of every row adds up to {total:.4g}"
        )
    return made


def alike(made: "Perturbed", item: JobDataset) -> "Perturbed":
    """Give a control's cells the form of a model's prediction: of one that predicts means, their means.

    So both are compared with the truth in the same way, and one says where the other stands.
    """
    import numpy as np

    from cellgauge_tasks.metrics.perturbation import scale

    if item.level != "means":
        return made
    made = made.among(made.codes > 0)
    return replace(made, matrix=scale.means(made)[1:], conditions=np.asarray(made.names), level="means")


def _same_genes(output: Path, item: JobDataset, asked: Item) -> None:
    """See that the genes that were masked are those that would be now: others were no secret to the model.

    Raises
    ------
    StorageError
        If they are not, or nobody can tell.
    """
    try:
        request = contract.read_request(output.parent / "input")
        told = {one.id: one.masked for each in request.items if each.name == item.name for one in each.conditions}
    except contract.BadRequest:
        told = {}
    if told != {one.id: one.masked for one in asked.conditions}:
        hint = "Delete the job's folder; it runs again."
        raise StorageError(f"{output.parent}: other genes were masked when this ran than would be now", hint)


def truth(item: JobDataset, dataset: Dataset, caches: Sequence[Path] = ()) -> Truth:
    """Read the cells that a prediction is compared with: by views, so that genes are named as the model has them.

    Raises
    ------
    DatasetError
        If the dataset's file was changed.
    StorageError
        If a view cannot be written.
    """
    import anndata
    import numpy as np
    import scipy.sparse as sp

    from cellgauge_tasks.metrics.perturbation import Perturbed

    assert item.training is not None  # noqa: S101 - a job that predicts has both
    assert item.held_out is not None  # noqa: S101
    with _cache(caches) as cache:
        had, held = (anndata.read_h5ad(view.write(dataset, one, cache)) for one in (item.training, item.held_out))
    control = dataset.spec.control or ""
    told = view.annotations(dataset, item.held_out, item.held_out.obs)
    asked = conditions.table(told, control, item.level or "cells")
    # Views that an older version wrote may hold numbers.
    trained, tests = (conditions.words(one.obs[conditions.ROLE]) for one in (had, held))
    tested = tests.isin([one.id for one in asked]).to_numpy()  # some controls may be held out, too
    labels = [np.asarray(one, dtype=object) for one in (trained, tests[tested])]
    cells = Perturbed(
        sp.vstack([had.X, held.X[tested]], format="csr"),
        np.concatenate(labels),
        control,
        np.asarray(had.var_names, dtype=str),
        _genes({one.id: one.targets for one in asked}, had.var),
    )
    train = np.arange(len(cells)) < had.n_obs
    if item.masked and (hidden := masked.chosen(cells.among(~train | (cells.codes == 0)))):
        asked = [replace(one, masked=hidden[one.id]) for one in asked if one.id in hidden]
    return Truth(cells, {"train": train, "test": ~train}, asked)


def _genes(targets: Mapping[str, Sequence[str]], var: Any) -> dict[str, list[str]]:
    """Name targets as the view names its genes, whichever kind of id they were given in; others stay as they are."""
    known: dict[str, str] = {}
    for column in ("feature_name", "ensembl_id", "gene_symbol"):
        known |= {str(name): str(gene) for gene, name in var[column].items() if name}
    known |= {str(gene): str(gene) for gene in var.index}  # the view's own names come first
    return {name: [known.get(one, one) for one in several] for name, several in targets.items()}


@contextmanager
def _cache(folders: Sequence[Path]) -> Iterator[Cache]:
    if folders:
        yield Cache(folders[0], folders[1:])
        return
    with tempfile.TemporaryDirectory(prefix="cellgauge-") as folder:
        yield Cache(Path(folder))
