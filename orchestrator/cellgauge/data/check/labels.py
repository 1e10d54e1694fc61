"""Checks the obs columns that an entry names, and tells which of them give away which."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cellgauge.data import joined
from cellgauge.data.check.rules import Misfit, listed, misfit
from cellgauge.specs import Columns, DatasetSpec

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.99
"""Share of cells for which a guess must be right."""
VARIED = 0.95
"""Share of the most frequent value below which there is something to guess."""
BINS = 100
"""Groups into which the values of a numeric column are put, where there are more."""
GROUP = 4
"""Cells of such a group, at least: with fewer a guess is right by chance."""


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
    for role, given in wanted.items():
        missing = [name for name in joined.parts(given) if name not in columns]
        for name in missing:
            yield misfit(
                "D301",
                f"obs has no column '{name}' for {role} (it has: {listed(columns)})",
                "Name one that is there in the entry's obs, or leave the role out.",
            )
        if role == "total_counts" and given == spec.matrix.total_counts and not missing:
            yield from _totals(given, obs[given])
        elif not missing:
            yield from _values(role, given, obs)
            yield from _unsaid(role, given, obs, spec.control if role == "perturbation" else None)
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


def _values(role: str, given: Columns, obs: "pd.DataFrame") -> Iterator[Misfit]:
    import pandas as pd

    column, what = joined.values(obs, given), f"obs column '{joined.named(given)}' for {role}"
    if not len(column):
        return
    if column.isna().all():
        both = "" if isinstance(given, str) else "; several joined say nothing of a cell that lacks one of them"
        yield misfit("D302", f"{what} is empty{both}", "Name a column that holds values, or leave the role out.")
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


def _unsaid(role: str, given: Columns, obs: "pd.DataFrame", control: str | None) -> Iterator[Misfit]:
    """Find texts that some program wrote where there was no value: they would be a cell type of their own."""
    from cellgauge_tasks import missing

    for name in joined.parts(given):
        if counts := missing(obs[name], but=control):
            told = " and ".join(f"'{text}' for {count}" for text, count in counts.items())
            yield misfit(
                "D307",
                f"obs column '{name}' for {role} is {told} of {len(obs)} cells, which count as a label of that name",
                f"If these have none: adata.obs.loc[adata.obs['{name}'].isin({list(counts)}), '{name}'] = None",
            )


def _control(spec: DatasetSpec, obs: "pd.DataFrame") -> Iterator[Misfit]:
    given = spec.obs.get("perturbation", "")
    if spec.control is None or not _there(given, obs):
        return
    if spec.control not in (found := texts(joined.values(obs, given))):
        yield misfit(
            "D305",
            f"control says '{spec.control}', which does not occur in obs column '{joined.named(given)}'",
            f"It has: {listed(sorted(found))}.",
        )


def _splits(spec: DatasetSpec, obs: "pd.DataFrame") -> Iterator[Misfit]:
    for name, split in spec.splits.items():
        given = spec.obs.get(split.by or "", "")
        if not _there(given, obs):
            continue
        found = texts(joined.values(obs, given))
        if missing := [value for value in (*split.train, *split.test) if value not in found]:
            yield misfit(
                "D306",
                f"split '{name}' names {listed([repr(value) for value in missing])}, "
                f"which does not occur in obs column '{joined.named(given)}'",
                f"It has: {listed(sorted(found))}.",
            )


def _there(given: Columns, obs: "pd.DataFrame") -> bool:
    return all(column in obs for column in joined.parts(given))


def ids(roles: Mapping[str, Columns], obs: "pd.DataFrame") -> tuple[str, ...]:
    """Find the roles whose column names cells rather than groups of them: words, half as many or more as cells.

    Parameters
    ----------
    roles
        Role → obs column, or several.
    """
    known = (role for role, given in roles.items() if _there(given, obs) and _is_id(joined.values(obs, given)))
    return tuple(sorted(known))


def _is_id(column: "pd.Series[Any]") -> bool:
    import pandas as pd

    distinct = column.nunique()
    # Numbers may be as many as cells and still say something, as times do.
    return not pd.api.types.is_numeric_dtype(column) and distinct > 2 and 2 * distinct >= column.notna().sum()


def pair(one: str, other: str) -> str:
    """Name two roles that tell something together: `batch+donor`."""
    return "+".join(sorted((one, other)))


def tells(roles: Mapping[str, Columns], obs: "pd.DataFrame") -> dict[str, tuple[str, ...]]:
    """Find which roles' values can be told from which others', or from which two others' together.

    A role tells another if the most frequent value of the other among the cells of each of its own values is the
    right one for 99 % of the labelled cells, unless one value of the other is that of 95 % anyway, or the role has a
    value for every second cell, as an id has. Numbers are compared as they are and in groups of about equal size, at
    most 100 and of four cells at least. Two roles of one column tell each other, and several columns joined tell each
    of them.

    Parameters
    ----------
    roles
        Role → obs column, or several.

    Returns
    -------
    Role → the other roles, in order; without those that tell none. Two roles, as `pair` names them, stand there for
    what neither of them tells alone.
    """
    codes = {given: _codes(joined.values(obs, given)) for given in {*roles.values()} if _there(given, obs)}
    known: dict[Columns, set[Columns]] = {one: set() for one in codes}
    for one, other in itertools.permutations(codes, 2):
        if _tells(codes[one], codes[other], len(obs)):
            known[one].add(other)
    found = {role: {*known.get(given, ()), *_within(given, roles.values())} for role, given in roles.items()}
    for one, other in itertools.combinations(sorted(found), 2):
        left, right = roles[one], roles[other]
        unknown = codes.keys() - found[one] - found[other] if {left, right} <= codes.keys() else set()
        if unknown and left != right:
            both = [_together(this, that) for this in codes[left] for that in codes[right]]
            found[pair(one, other)] = {told for told in unknown if _tells(both, codes[told], len(obs))}
    named = {
        key: tuple(sorted(role for role, given in roles.items() if given in told and role not in key.split("+")))
        for key, told in found.items()
    }
    return {key: others for key, others in named.items() if others}


def _within(given: Columns, others: Iterable[Columns]) -> Iterator[Columns]:
    """Find what takes no other columns than these."""
    return (other for other in others if {*joined.parts(other)} <= {*joined.parts(given)})


def _codes(column: "pd.Series[Any]") -> list[Any]:
    """Number the values of a column from 1 on, 0 where there is none: as they are, and numbers also in groups."""
    import numpy as np
    import pandas as pd

    found = [pd.factorize(column)[0] + 1]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        fine = min(BINS, len(column) // GROUP)
        for groups in (fine, math.isqrt(fine)):  # as many as leave some cells in each, of one column and of two
            if 1 < groups < found[0].max(initial=0):
                cut = pd.qcut(numbers, groups, labels=False, duplicates="drop")
                found.append(pd.factorize(cut)[0] + 1)
    return found


def _together(one: Any, other: Any) -> Any:
    """Number the pairs of two columns' values."""
    import numpy as np
    import pandas as pd

    return pd.factorize(one.astype(np.int64) * (int(other.max()) + 1) + other)[0]


def _tells(one: list[Any], other: list[Any], cells: int) -> bool:
    """Tell whether one column, in any of its forms, tells the other in any of its."""
    import numpy as np

    for told in other:
        labelled = told > 0
        words = told[labelled]
        if len(words) and np.bincount(words).max() < VARIED * len(words):
            for form in (form[labelled] for form in one):
                values = np.count_nonzero(np.bincount(form))
                if 2 * values < cells and _right(form, words) >= SURE * len(words):
                    return True
    return False


def _right(one: Any, other: Any) -> int:
    """Count the cells for which the most frequent value of the other, among those of one's value, is the right one."""
    import numpy as np

    width, values = int(other.max()) + 1, int(one.max()) + 1
    keys = one.astype(np.int64) * width + other
    if width * values <= 4 * len(keys):  # a small table is counted many times quicker than so many cells are sorted
        return int(np.bincount(keys, minlength=width * values).reshape(values, width).max(axis=1).sum())
    pairs, counts = np.unique(keys, return_counts=True)
    best = np.zeros(values, dtype=np.int64)
    np.maximum.at(best, pairs // width, counts)
    return int(best.sum())
