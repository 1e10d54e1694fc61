"""What a task is, and what every task does first: look whether its input can be scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Embedding = NDArray[np.floating[Any]]
"""Cells x dimensions, finite."""
Labels = NDArray[np.str_]
"""One label a cell."""


@dataclass(frozen=True)
class Score:
    """One number, and how many cells went into it."""

    metric: str
    value: float
    n_cells: int
    params: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A question that an output can be scored on."""

    name: str
    version: str
    """Raised whenever the same input could give another number."""
    title: str
    roles: tuple[str, ...]
    """Roles of the obs columns that `score` reads, for instance `cell_type`. No model sees them."""
    score: Callable[..., list[Score]]
    """`score(embedding, obs, *, seed)`, where `obs[role]` is a column. With a split there is more: see there."""
    headline: Mapping[str, str]
    """The metrics that a summary shows, and their short names there; every one of them is better when higher."""
    baseline: str
    """The plain model that a claim on this task has to beat."""
    verb: Literal["embed", "predict"] = "embed"
    split: str | None = None
    """The split, by its name in the catalogue, whose held-out cells no model gets; None: models get every cell.

    With a split, `score(output, obs, *, seed, train, test)` is given every cell of the dataset in `obs`, and two masks:
    `train` are the cells that the model had, whose rows the output has in this order, and `test` those held out."""


class NotApplicable(Exception):
    """The task has no defined value for this input, with the reason."""


def labelled(embedding: Any, obs: Mapping[str, ArrayLike], role: str) -> tuple[Embedding, Labels]:
    """Check an embedding and its labels, and leave out the cells that have no label.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions); a sparse matrix becomes dense.
    obs
        Columns by role, each of shape (cells,). None and NaN mean that a cell has no label.
    role
        The column that holds the labels.

    Returns
    -------
    The rows that have a label, as given, and their labels as strings.

    Raises
    ------
    ValueError
        If there is no such column, the embedding is not 2-D and finite, or the lengths differ.
    NotApplicable
        If fewer than two labels are left.
    """
    if role not in obs:
        raise ValueError(f"obs has no column '{role}'; name yours so: obs.rename(columns={{'YOURS': '{role}'}})")
    values = np.asarray(embedding.toarray() if hasattr(embedding, "toarray") else embedding)
    column = pd.Series(np.asarray(obs[role], dtype=object))
    if values.ndim != 2 or len(values) != len(column):
        raise ValueError(f"an embedding of shape {values.shape} does not fit {len(column)} labels")
    if not np.isfinite(values).all():
        raise ValueError("the embedding holds NaN or infinite values")
    if values.dtype.itemsize < 8 and np.abs(values).max(initial=0) > 1e15:
        values = values.astype(np.float64)  # squares of these would overflow
    known = column.notna().to_numpy()
    names = column[known].astype(str).to_numpy(dtype=str)
    if len(np.unique(names)) < 2:
        raise NotApplicable(
            f"{len(np.unique(names))} distinct label(s) among {len(names)} cells; at least 2 are needed"
        )
    return values[known], names
