"""Decides which cells of a dataset a model gets: those it may be trained on, or as many as were asked for.

What is drawn is drawn by a hash of seed and cell id (or group), not by a random generator: the same cells come out
on every machine, with every version of numpy, and in whatever order a file holds its cells.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cellgauge.data import check, joined
from cellgauge.errors import DatasetError
from cellgauge.specs import Columns, Dataset, Rows, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def kept(dataset: Dataset, rows: Rows | None) -> "NDArray[np.bool_]":
    """Tell for each cell of a dataset, in its order, whether a view with these rules holds it.

    Parameters
    ----------
    rows
        With a split, the cells that may be trained on, or those held out; then, with a limit, at most so many of them,
        of each value of `stratify` its share, and one at least; of all alike, if there are more values than that. Cells
        without a value are a stratum of their own. Of these, the cells that have the values of `only`.

    Returns
    -------
    Shape (cells,), bool.

    Raises
    ------
    DatasetError
        If no cell is left, or a value that is named does not occur.
    """
    import numpy as np

    if rows is None:
        return np.ones(dataset.n_cells, dtype=bool)
    columns = {**dataset.spec.obs, **rows.columns}
    found = np.ones(dataset.n_cells, dtype=bool)
    if rows.split:
        found = _split(dataset, rows.split, columns)[rows.held_out]
    if rows.limit is not None and rows.limit < found.sum():
        found = _limited(dataset, rows, columns, found)
    for role, values in rows.only.items():
        _, words = _read(dataset, role, columns)
        found = found & np.array([one in values for one in words], dtype=bool)
        if not found.any():
            hint = "Look at the entry's control and its split in the catalogue."
            raise DatasetError(f"dataset '{dataset.spec.name}': no cell left is {role} {' or '.join(values)}", hint)
    return found


def _limited(dataset: Dataset, rows: Rows, columns: Mapping[str, Columns], among: Any) -> "NDArray[np.bool_]":
    """Draw as many cells as the rules say."""
    import numpy as np

    limit, left = rows.limit or 0, np.flatnonzero(among)
    cells, words = _read(dataset, rows.stratify, columns)
    strata = words[left] if rows.stratify else np.full(len(left), None)
    if len({*strata}) > limit:  # the shares of so many cannot be kept: a time for each cell, perhaps
        strata = np.full(len(left), None)
    drawn = left[_drawn(strata, _ranks(cells[left], f"limit {rows.seed}"), limit, least=1)]
    found = np.zeros(dataset.n_cells, dtype=bool)
    found[drawn] = True
    return found


def held_out(dataset: Dataset, rows: Rows) -> "NDArray[np.bool_]":
    """Tell for each cell of a dataset, in its order, whether a view with these rules holds it out for testing.

    Returns
    -------
    Shape (cells,), bool; False for all without a split.

    Raises
    ------
    DatasetError
        As `kept`.
    """
    import numpy as np

    if rows.split is None:
        return np.zeros(dataset.n_cells, dtype=bool)
    return _split(dataset, rows.split, {**dataset.spec.obs, **rows.columns})[1]


def split(dataset: Dataset, split: Split) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    """Tell for each cell of a dataset, in its order, whether a model may be trained on it, and whether it is tested.

    A cell without a value in the role that decides is neither.

    Returns
    -------
    Two of shape (cells,), bool: training and test. No cell is in both, and neither is empty.

    Raises
    ------
    DatasetError
        If one of the two would be empty, or a value that is named does not occur.
    """
    return _split(dataset, split, dataset.spec.obs)


def _split(
    dataset: Dataset, split: Split, columns: Mapping[str, Columns]
) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    cells, words = _read(dataset, split.by or split.stratify, columns)
    if split.test:
        train, test = _by_values(dataset, split, words)
    elif split.by:
        train, test = _by_groups(dataset, split, words)
    else:
        train, test = _by_cells(split, cells, words)
    for mask, what in ((train, "to train on"), (test, "to test on")):
        if not mask.any():
            hint = "Change the split in the catalogue entry, or its fraction."
            raise DatasetError(f"dataset '{dataset.spec.name}': the split leaves no cell {what}", hint)
    return train, test


def _read(dataset: Dataset, role: str | None, columns: Mapping[str, Columns]) -> tuple[Any, Any]:
    """Read the cells' ids, and what a role says of each: words, None where it says nothing."""
    import numpy as np
    import pandas as pd

    if role is not None and role not in columns:
        hint = f"Name it under obs in its catalogue entry; there are: {', '.join(columns) or 'none'}."
        raise DatasetError(f"dataset '{dataset.spec.name}' has no role '{role}'", hint)
    with check.reopen(dataset) as file:
        cells = file.cells()
        if role is None:
            return cells, np.full(len(cells), None)
        column = joined.values(file.obs(joined.parts(columns[role])), columns[role])
    missing = pd.isna(column).to_numpy()
    words = np.empty(len(cells), dtype=object)
    words[:] = [None if gone else str(one) for one, gone in zip(column, missing, strict=True)]
    return cells, words


def _by_values(dataset: Dataset, split: Split, words: Any) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    import numpy as np

    there = {one for one in words if one is not None}
    if lacking := [value for value in (*split.test, *split.train) if value not in there]:
        listed = ", ".join(sorted(there)[:12]) + (", …" if len(there) > 12 else "")
        raise DatasetError(
            f"dataset '{dataset.spec.name}': no cell has the {split.by} '{lacking[0]}', which its split names",
            f"There are: {listed}.",
        )
    tested, trained = set(split.test), (set(split.train) or there - set(split.test)) | set(split.keep)
    train = np.array([one in trained for one in words], dtype=bool)
    return train, np.array([one in tested for one in words], dtype=bool)


def _by_groups(dataset: Dataset, split: Split, words: Any) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    import numpy as np

    groups = np.array(sorted({one for one in words if one is not None} - set(split.keep)), dtype=object)
    if len(groups) < 2:
        beside = f" beside {' and '.join(split.keep)}" if split.keep else ""
        few = f"one value only{beside}, and holding it out leaves nothing to train on"
        raise DatasetError(
            f"dataset '{dataset.spec.name}': {split.by} has {few if len(groups) else f'no value{beside}'}",
            "Split by another role, or by none.",
        )
    order = np.argsort(_ranks(groups, f"split {split.seed}"))
    tested = set(groups[order[: _share(split, len(groups))]])
    test = np.array([one in tested for one in words], dtype=bool)
    return ~test & np.array([one is not None for one in words], dtype=bool), test


def _by_cells(split: Split, cells: Any, words: Any) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    import numpy as np

    test = np.zeros(len(cells), dtype=bool)
    test[_drawn(words, _ranks(cells, f"split {split.seed}"), _share(split, len(cells)), least=0)] = True
    return ~test, test


def _share(split: Split, count: int) -> int:
    """Say how many of some things are held out: one at least, and never all."""
    return min(max(round((split.fraction or 0) * count), 1), count - 1)


def _ranks(names: Iterable[object], key: str) -> "NDArray[np.bytes_]":
    """Give each name a number that looks random, and is the same wherever it is computed."""
    import numpy as np

    words = [f"{key}\0{one}".encode() for one in names]
    return np.array([hashlib.blake2b(one, digest_size=15).hexdigest() for one in words])


def _drawn(strata: Any, ranks: Any, count: int, *, least: int) -> "NDArray[np.int64]":
    """Draw so many of each stratum that the shares are kept; returns positions."""
    import numpy as np

    codes: dict[str | None, int] = {}
    for one in sorted({one for one in strata if one is not None}):
        codes[one] = len(codes)
    codes[None] = len(codes)
    coded = np.array([codes[one] for one in strata], dtype=np.int64)
    order = np.lexsort((ranks, coded))
    sizes = np.bincount(coded, minlength=len(codes))
    starts = np.cumsum(sizes) - sizes
    taken = apportioned(sizes, count, least)
    return np.concatenate([order[start : start + many] for start, many in zip(starts, taken, strict=True)])


def apportioned(sizes: "NDArray[np.int64]", count: int, least: int = 0) -> "NDArray[np.int64]":
    """Share out seats by the method of the largest remainder (Hamilton's).

    Parameters
    ----------
    sizes
        Shape (parties,), int64.
    count
        Seats, at most as many as the sum of `sizes`.
    least
        Seats for each that is not empty, if there are enough for all.

    Returns
    -------
    Shape (parties,), int64; sums to `count`, and none has more than its size.
    """
    import numpy as np

    total = max(int(sizes.sum()), 1)
    exact = sizes * count  # in units of 1/total of a seat, so that no rounding decides
    found = exact // total
    if count >= least * np.count_nonzero(sizes):
        found = np.maximum(found, np.minimum(sizes, least))
    missing = count - int(found.sum())
    if missing > 0:  # fewer than there are remainders, so nobody gets two
        found[np.argsort(found * total - exact, kind="stable")[:missing]] += 1
    elif missing < 0:
        found = _returned(found, np.minimum(sizes, least), found * total - exact, -missing)
    return found


def _returned(found: Any, least: Any, surplus: Any, many: int) -> "NDArray[np.int64]":
    """Take seats back, one after the other from who has most too many; a seat less is more than any remainder."""
    import numpy as np

    rounds, most = 0, many  # in which everybody who can gives one
    while rounds < most:
        middle = (rounds + most + 1) // 2
        enough = int(np.minimum(found - least, middle).sum()) <= many
        rounds, most = (middle, most) if enough else (rounds, middle - 1)
    left: NDArray[np.int64] = found - np.minimum(found - least, rounds)
    givers = np.flatnonzero(left > least)
    order = givers[np.argsort(-surplus[givers], kind="stable")]
    left[order[: many - int((found - left).sum())]] -= 1
    return left
