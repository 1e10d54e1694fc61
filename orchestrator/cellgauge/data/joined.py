"""Tells what a role says of each cell: the values of one obs column, or those of several joined."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cellgauge.specs import Columns

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = "|"
"""Stands between values that are joined."""
ESCAPE = "\\"
"""Stands before a `|` or `\\` that belongs to a value, so that `a|b` and `c` do not read like `a` and `b|c`."""


def parts(given: Columns) -> tuple[str, ...]:
    """List the obs columns of a role."""
    return (given,) if isinstance(given, str) else given


def columns(several: Iterable[Columns]) -> list[str]:
    """List the obs columns of several roles, each once."""
    return list(dict.fromkeys(column for given in several for column in parts(given)))


def named(given: Columns) -> str:
    """Name a role's columns for people: `donor_id + assay`."""
    return " + ".join(parts(given))


def values(obs: "pd.DataFrame", given: Columns) -> "pd.Series[Any]":
    r"""Take what a role says of each cell.

    Parameters
    ----------
    obs
        Cells x columns, with those of the role among them.

    Returns
    -------
    One column as it is. Of several a categorical of their values as text, in the order of the columns, with `|`
    between them and `\` before a `|` or `\` of their own: two cells have the same text only if they have the same
    value in each column. A cell without a value in one of them has none.
    """
    return obs[given] if isinstance(given, str) else _joined([obs[column] for column in given])


def _joined(several: "list[pd.Series[Any]]") -> "pd.Series[Any]":
    import numpy as np
    import pandas as pd

    size = len(several[0])
    coded, alike, missing = [], np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
    for column in several:
        codes, found = pd.factorize(column)
        coded.append((codes, [_escaped(str(one)) for one in found]))
        missing |= codes < 0
        alike = pd.factorize(alike * (len(found) + 1) + codes + 1)[0]
    kept = np.flatnonzero(~missing)
    _, first, which = np.unique(alike[kept], return_index=True, return_inverse=True)
    texts = [BETWEEN.join(words[codes[row]] for codes, words in coded) for row in kept[first]]
    names = pd.Index(sorted({*texts}), dtype=object)
    place = np.full(size, -1, dtype=np.int64)
    place[kept] = names.get_indexer(pd.Index(texts, dtype=object))[which]
    return pd.Series(pd.Categorical.from_codes(place, names), index=several[0].index)


def _escaped(text: str) -> str:
    return text.replace(ESCAPE, 2 * ESCAPE).replace(BETWEEN, ESCAPE + BETWEEN)
