"""Checks the obs columns that an entry names, and tells which of them give away which."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cellgauge.data.check.rules import Misfit, listed, misfit
from cellgauge.specs import DatasetSpec

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.99
"""Share of cells for which a guess must be right."""
VARIED = 0.95
"""Share of the most frequent value below which there is something to guess."""
BINS = 100
"""Groups into which the values of a numeric column are put, where there are more."""


def check(spec: DatasetSpec, columns: list[str], obs: "pd.DataFrame") -> Iterator[Misfit]:
    """Check the columns that the entry names.

    Parameters
    ----------
    columns
        All that obs has.
    obs
        Those that the entry names, as far as they are there.
    """
    wanted = dict(spec.obs)
    if spec.matrix.total_counts:
        wanted["total_counts"] = spec.matrix.total_counts
    for role, name in wanted.items():
        if name not in columns:
            yield misfit(
                "D301",
                f"obs has no column '{name}' for {role} (it has: {listed(columns)})",
                "Name one that is there in the entry's obs, or leave the role out.",
            )
        elif role == "total_counts" and name == spec.matrix.total_counts:
            yield from _totals(name, obs[name])
        else:
            yield from _values(role, name, obs[name])
    yield from _control(spec, obs)
    yield from _splits(spec, obs)


def texts(column: "pd.Series[Any]") -> set[str]:
    """Name the values that occur, as the entry names them."""
    return {str(value) for value in column.dropna().unique()}


def _totals(name: str, column: "pd.Series[Any]") -> Iterator[Misfit]:
    import numpy as np
    import pandas as pd

    totals = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(totals) & (totals > 0)).all():
        yield misfit(
            "D207",
            f"obs column '{name}' for total_counts holds values that are no totals: text, NaN, 0 or less",
            "Name the column of each cell's total before scaling, or leave total_counts out.",
        )


def _values(role: str, name: str, column: "pd.Series[Any]") -> Iterator[Misfit]:
    import pandas as pd

    what = f"obs column '{name}' for {role}"
    if not len(column):
        return
    if column.isna().all():
        yield misfit("D302", f"{what} is empty", "Name a column that holds values, or leave the role out.")
    elif column.nunique() == 1:
        yield misfit("D303", f"{what} has one value only: '{column.dropna().iloc[0]}'", "Leave the role out.")
    elif role == "time" and not pd.api.types.is_numeric_dtype(column):
        ordered = isinstance(column.dtype, pd.CategoricalDtype) and bool(column.cat.ordered)
        several = [one for one in texts(column) if len(re.findall(r"\d+(?:\.\d+)?", one)) != 1]
        if several and not ordered:
            yield misfit(
                "D304",
                f"{what} is neither a number nor ordered, for instance '{min(several)}'",
                "Make it numbers or an ordered categorical: pd.Categorical(…, categories=[…], ordered=True).",
            )


def _control(spec: DatasetSpec, obs: "pd.DataFrame") -> Iterator[Misfit]:
    column = spec.obs.get("perturbation", "")
    if spec.control is not None and column in obs and spec.control not in (found := texts(obs[column])):
        yield misfit(
            "D305",
            f"control says '{spec.control}', which does not occur in obs column '{column}'",
            f"It has: {listed(sorted(found))}.",
        )


def _splits(spec: DatasetSpec, obs: "pd.DataFrame") -> Iterator[Misfit]:
    for name, split in spec.splits.items():
        column = spec.obs.get(split.by or "", "")
        if column not in obs:
            continue
        found = texts(obs[column])
        if missing := [value for value in (*split.train, *split.test) if value not in found]:
            yield misfit(
                "D306",
                f"split '{name}' names {listed([repr(value) for value in missing])}, "
                f"which does not occur in obs column '{column}'",
                f"It has: {listed(sorted(found))}.",
            )


def tells(roles: dict[str, str], obs: "pd.DataFrame") -> dict[str, tuple[str, ...]]:
    """Find which roles' values can be told from which others'.

    A role tells another if the most frequent value of the other among the cells of each of its own values is the
    right one for 99 % of the labelled cells, unless one value of the other is that of 95 % anyway, or the role has a
    value for every second cell, as an id has. Numbers are compared in at most 100 groups of about equal size. Two
    roles of one column tell each other.

    Parameters
    ----------
    roles
        Role → obs column.

    Returns
    -------
    Role → the other roles, in order; without those that tell none.
    """
    codes = {column: _codes(obs[column]) for column in {*roles.values()} if column in obs}
    known = {
        (one, other): one == other or _tells(codes[one], codes[other], len(obs)) for one in codes for other in codes
    }
    found = {
        role: tuple(
            sorted(other for other, told in roles.items() if other != role and known.get((column, told), False))
        )
        for role, column in roles.items()
    }
    return {role: others for role, others in found.items() if others}


def _codes(column: "pd.Series[Any]") -> Any:
    """Number the values of a column from 1 on; 0 where there is none."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) and column.nunique() > BINS:
        column = pd.qcut(column.astype(float), BINS, labels=False, duplicates="drop")
    return pd.factorize(column)[0] + 1


def _tells(one: Any, other: Any, cells: int) -> bool:
    import numpy as np

    labelled = other > 0
    one, other = one[labelled], other[labelled]
    values = len(np.unique(one))
    if not len(other) or 2 * values >= cells or np.bincount(other).max() >= VARIED * len(other):
        return False
    width = int(other.max()) + 1
    pairs, counts = np.unique(one.astype(np.int64) * width + other, return_counts=True)
    best = np.zeros(int(one.max()) + 1, dtype=np.int64)
    np.maximum.at(best, pairs // width, counts)
    return bool(best.sum() >= SURE * len(other))
