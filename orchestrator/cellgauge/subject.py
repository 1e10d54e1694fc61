"""Gives what is scored: outputs that are kept, and what tasks are told of their cells; of a group, all as one."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge import outputs
from cellgauge.data import joined, rows, stack, view
from cellgauge.errors import ContractViolation, StorageError
from cellgauge.specs import Dataset, Part, RunRecord, Scoring, View
from cellgauge.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cellgauge_tasks.metrics.perturbation import Perturbed

Obs = Callable[[], "pd.DataFrame | Perturbed"]
"""Of a prediction, the cells that it is compared with."""
Masks = Callable[[], "dict[str, NDArray[np.bool_]]"]


def unchanged(output: Path, record: RunRecord, dataset: Dataset) -> None:
    """See that an output is what it was when it was checked.

    Raises
    ------
    StorageError
        If it is not.
    """
    name = dataset.spec.name
    if outputs.digest(output, name, record.job.verb) != record.output_of(name):
        hint = "Delete the job's folder; it runs again."
        raise StorageError(f"{output / name} was changed since it was checked", hint)


def embedding(record: RunRecord, dataset: Dataset, store: Store) -> "NDArray[np.float32]":
    """Read what a job embedded of a dataset: cells x dimensions, in the order of the dataset's cells.

    Raises
    ------
    StorageError
        If it was changed since it was checked.
    """
    output = store.job_folder(record.job.id) / "output"
    cells = view.cells(dataset, shown(record, dataset))
    unchanged(output, record, dataset)
    return outputs.embedding(output, dataset.spec.name, cells)


def stacked(records: Sequence[RunRecord], datasets: Sequence[Dataset], store: Store) -> "NDArray[np.float32]":
    """Read what a model embedded of each member of a group, one below the other.

    Raises
    ------
    ContractViolation
        If they are of several widths, so in no one space.
    StorageError
        If one was changed since it was checked.
    """
    import numpy as np

    found = [embedding(record, dataset, store) for record, dataset in zip(records, datasets, strict=True)]
    if len({one.shape[1] for one in found}) > 1:
        widths = (f"{dataset.spec.name} {one.shape[1]}" for dataset, one in zip(datasets, found, strict=True))
        told = f"the members' embeddings are of different width ({', '.join(widths)}), so not in one space"
        raise ContractViolation(told, "Is it right that the manifest says `shared_space`?")
    return np.concatenate(found)


def shown(record: RunRecord, dataset: Dataset) -> View:
    """Say what a job's model was shown of a dataset."""
    return next(one.view for one in record.job.datasets if one.name == dataset.spec.name)


def truth(scoring: Scoring, dataset: Dataset, shown: View) -> tuple[Obs, Masks]:
    """Give what a task is told beside the output, as functions since it may not be needed: obs columns, and masks.

    Without a split, the obs columns of the cells that the model had, and no masks. With one, those of every cell of the
    dataset, with `train`, those that the model had, and `test`, those held out from it.
    """
    rules = shown.rows
    if rules is None or rules.split is None:
        return functools.partial(view.annotations, dataset, shown, scoring.roles), dict
    everything = shown.model_copy(update={"rows": None})

    def masks() -> "dict[str, NDArray[np.bool_]]":
        return {"train": rows.kept(dataset, rules), "test": rows.held_out(dataset, rules)}

    return functools.partial(view.annotations, dataset, everything, scoring.roles), masks


def truth_of_group(scoring: Scoring, datasets: Sequence[Dataset], views: Sequence[View]) -> tuple[Obs, Masks]:
    """Give what a task is told of a group: the obs columns of its members one below the other, with `organism`."""

    def one(part: Part, dataset: Dataset, shown: View) -> "pd.DataFrame":
        found = view.annotations(dataset, shown, part.roles)
        return found.assign(**{stack.ORGANISM: part.organism, stack.HOME: part.dataset})

    def obs() -> "pd.DataFrame":
        import pandas as pd

        found = stack.labels([one(*each) for each in zip(scoring.parts, datasets, views, strict=True)])
        return pd.DataFrame({role: joined.values(found, given) for role, given in scoring.roles.items()})

    return obs, dict


def once(known: tuple[Obs, Masks]) -> tuple[Obs, Masks]:
    """Read what a task is told only once, though it is asked for twice."""
    return functools.cache(known[0]), functools.cache(known[1])
