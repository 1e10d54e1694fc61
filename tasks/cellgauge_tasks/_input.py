"""Looks whether an input can be scored, which is what every task does first."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cellgauge_tasks._base import Embedding, Labels, NotApplicable
from cellgauge_tasks._space import Space

MISSING = ("", "nan", "NaN", "NAN", "None", "none", "<NA>", "NA", "N/A", "n/a", "null", "NULL")
"""Texts by which programs write that there is no value. They count as labels, since one may be meant, and are told."""


def cells(
    embedding: Any, obs: Mapping[str, ArrayLike], *roles: str, optional: Sequence[str] = ()
) -> tuple[Space, dict[str, Labels]]:
    """Check an embedding and its columns, and leave out the cells that lack a value in one of the roles.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`; a sparse matrix becomes dense.
    obs
        Columns by role, each of shape (cells,). None and NaN mean that a cell has no value; a text that reads so is a
        label like any other, and is warned of.
    roles
        The columns that are needed.
    optional
        Columns that are taken where they are there and every cell that is left has a value.

    Returns
    -------
    The cells that are left, and their columns as strings, by role.

    Raises
    ------
    ValueError
        If there is no such column, the embedding is not 2-D and finite, or the lengths differ, or rows that are named,
        of data frames and series, are not named alike in one order.
    NotApplicable
        If no cell is left.
    """
    _in_order(embedding, obs)
    space = Space.of(embedding)
    columns = {role: _column(obs, role, len(space)) for role in roles}
    known = np.logical_and.reduce([one.notna().to_numpy() for one in columns.values()], axis=0)
    if columns and not known.any():
        raise NotApplicable(f"no cell has a value of {' and '.join(roles)}")
    for role, one in columns.items():
        if counts := missing(one):
            told = " and ".join(f"'{text}' for {count}" for text, count in counts.items())
            warnings.warn(
                f"{role} is {told} of {len(one)} cells, which count as labels: make NaN of them", stacklevel=3
            )
    found = {role: one[known].astype(str).to_numpy(dtype=str) for role, one in columns.items()}
    for role in optional:
        if role not in obs:
            continue
        one = _column(obs, role, len(space))[known]
        if one.notna().all():
            found[role] = one.astype(str).to_numpy(dtype=str)
        elif one.notna().any():
            warnings.warn(f"{role} is left out: {int(one.isna().sum())} of {len(one)} cells have none", stacklevel=3)
    return space.among(known), found


def missing(column: "pd.Series[Any]", but: str | None = None) -> dict[str, int]:
    """Count the cells of a column whose text reads like no value: those texts that occur, and how often.

    Parameters
    ----------
    but
        One that is meant: the control of a perturbation, perhaps.
    """
    texts = column[column.isin([one for one in MISSING if one != but])]
    counts = {one: int((texts == one).sum()) for one in MISSING}
    return {one: count for one, count in counts.items() if count}


def _in_order(embedding: Any, obs: Any) -> None:
    """See that rows that are named are named as the cells are: of other order, every score would be wrong."""
    named: dict[str, pd.Index] = (
        {"the embedding's rows": embedding.index} if isinstance(embedding, pd.DataFrame) else {}
    )
    if isinstance(obs, pd.DataFrame):
        named["obs"] = obs.index
    else:
        named |= {f"obs['{role}']": one.index for role, one in obs.items() if isinstance(one, pd.Series)}
    for first, other in itertools.pairwise(named):
        if len(named[first]) == len(named[other]) and not named[first].equals(named[other]):
            whole = isinstance(obs, pd.DataFrame)
            hint = "try embedding.loc[obs.index]" if whole else "reindex one by the other, or give arrays in one order"
            raise ValueError(f"{first} and {other} are not named alike, in one order; {hint}")


def _column(obs: Mapping[str, ArrayLike], role: str, length: int) -> pd.Series:
    if role not in obs:
        raise ValueError(f"obs has no column '{role}'; name yours so: obs.rename(columns={{'YOURS': '{role}'}})")
    column = pd.Series(np.asarray(obs[role], dtype=object))
    if len(column) != length:
        raise ValueError(f"an embedding of {length} cells does not fit {len(column)} values of {role}")
    return column


def several(labels: Labels, what: str = "label") -> None:
    """See that there are two different labels at least.

    Raises
    ------
    NotApplicable
        If there are fewer.
    """
    if (found := len(np.unique(labels))) < 2:
        raise NotApplicable(f"{found} distinct {what}(s) among {len(labels)} cells; at least 2 are needed")


def labelled(embedding: Any, obs: Mapping[str, ArrayLike], role: str) -> tuple[Embedding, Labels]:
    """Give the rows that have a label, as an array, and their labels; see `cells` and `several`."""
    space, found = cells(embedding, obs, role)
    several(found[role])
    return space.values, found[role]


def codes(labels: Labels) -> tuple[np.ndarray, Labels]:
    """Number labels in the order of their names: the number of each cell's, shape (cells,) int64, and the names."""
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), names


def donors_apart(known: Mapping[str, Labels]) -> Labels | None:
    """Tell donors of two species apart even if they have one name, as `donor1` in two datasets may."""
    if "donor" not in known:
        return None
    donor, species = (codes(known[role])[0] for role in ("donor", "organism"))
    return np.asarray(donor * (species.max() + 1) + species, dtype=str)
