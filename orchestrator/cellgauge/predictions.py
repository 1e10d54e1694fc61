"""Checks what a model predicted, trusting nothing: no links, no other files, no sizes, no names."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellgauge.errors import ContractViolation
from cellgauge.outputs import ARRAY_LIMIT, opened, short
from cellgauge_model.contract import PREDICTION, Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OBJECTS = 10_000
ROOM, SLACK = 256 << 20, 8
"""Bytes that all of it may take once it is read: this, and so many times what was asked for."""


class Prediction(NamedTuple):
    """What a model predicts, on the scale of its input: counts."""

    matrix: "NDArray[np.float32]"
    """Shape (rows, genes)."""
    conditions: list[str]
    """Of each row."""
    genes: list[str]


def check(output: Path, item: Item, genes: Sequence[str], level: str = "cells") -> tuple[int, int]:
    """Check an item's prediction and return its shape.

    Raises
    ------
    ContractViolation
        As `read`.
    """
    rows, columns = read(output, item, genes, level).matrix.shape
    return rows, columns


def read(output: Path, item: Item, genes: Sequence[str], level: str = "cells") -> Prediction:
    """Read an item's prediction.

    Parameters
    ----------
    genes
        Those of the input, among which the predicted ones are.
    level
        `means`: each condition has one row; `cells`: one, or more up to as many as are asked for.

    Raises
    ------
    ContractViolation
        If a requested condition is missing or has more rows than were asked for, an unknown one or an unknown gene is
        there, or no gene, or a value is not finite.
    """
    import h5py

    with opened(output / item.name, PREDICTION, ARRAY_LIMIT) as file:
        try:
            with h5py.File(file, "r") as content:
                _refuse_tricks(content, item, genes)
                return _checked(content, item, genes, level)
        except ContractViolation:
            raise
        except Exception as problem:  # h5py raises many kinds on a damaged file
            raise ContractViolation(f"{PREDICTION} cannot be read: {short(problem)}") from problem


def _refuse_tricks(content: Any, item: Item, genes: Sequence[str]) -> None:
    """Refuse whatever would make HDF5 open another file, or fill memory and time from a tiny one."""
    import h5py

    asked = sum(max(1, condition.n_cells) for condition in item.conditions) * len(genes)
    room = ROOM + SLACK * 4 * asked
    waiting, objects = [content], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            objects += 1
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ContractViolation(f"{PREDICTION}: {short(f'{group.name}/{name}')} is a link")
            child = group[name]
            if isinstance(child, h5py.Group):
                waiting.append(child)
            elif isinstance(child, h5py.Dataset):
                if child.external or child.is_virtual:
                    raise ContractViolation(f"{PREDICTION}: {short(child.name)} lies in another file")
                room -= child.nbytes
            # A group can hold itself, or be held by many, so that there is no end.
            if room < 0 or objects > OBJECTS:
                raise ContractViolation(f"{PREDICTION} holds far more than was asked for, from {short(child.name)} on")


def _checked(content: Any, item: Item, genes: Sequence[str], level: str) -> Prediction:
    import numpy as np
    from anndata.io import read_elem

    matrix = content["X"]
    if not hasattr(matrix, "dtype") or matrix.dtype != np.float32 or matrix.ndim != 2:
        raise ContractViolation(f"{PREDICTION}: X is not a dense float32 matrix")
    rows, columns = read_elem(content["obs"]), read_elem(content["var"]).index
    if matrix.shape != (len(rows), len(columns)):
        raise ContractViolation(
            f"{PREDICTION}: X has shape {matrix.shape}, obs and var say {(len(rows), len(columns))}"
        )
    if not len(columns):
        raise ContractViolation(f"{PREDICTION} has 0 genes, of {len(genes)} in the input")
    if not columns.is_unique or not set(columns) <= set(genes):
        raise ContractViolation(f"{PREDICTION}: var holds repeated genes, or genes that the input does not have")
    if "condition" not in rows:
        raise ContractViolation(f"{PREDICTION}: obs has no column 'condition'")
    conditions = [str(one) for one in rows["condition"]]
    _compare(conditions, item, level)
    values = matrix[()]
    if not np.isfinite(values).all():
        raise ContractViolation(f"{PREDICTION} holds NaN or infinite values")
    return Prediction(values, conditions, [str(one) for one in columns])


def _compare(conditions: Sequence[str], item: Item, level: str) -> None:
    """Refuse other conditions than those asked for, and more rows of one than are wanted."""
    wanted = {condition.id: condition.n_cells for condition in item.conditions}
    asked, given = set(wanted), set(conditions)
    if asked != given:
        wrong = sorted(asked ^ given)[0]
        raise ContractViolation(
            f"{PREDICTION}: condition '{short(wrong)}' is {'missing' if wrong in asked else 'unknown'}"
        )
    rows = Counter(conditions)
    if level == "means" and len(conditions) > len(given):
        twice = rows.most_common(1)[0][0]
        raise ContractViolation(f"{PREDICTION}: condition '{short(twice)}' has several rows, of which one is its mean")
    # More cells than the truth has make any test more certain, and nearly every gene significant.
    if more := [name for name, n in sorted(rows.items()) if n > max(1, wanted[name])]:
        raise ContractViolation(
            f"{PREDICTION}: condition '{short(more[0])}' has {rows[more[0]]} rows, of which at most "
            f"{max(1, wanted[more[0]])} are asked for ({len(more)} of {len(given)} conditions have too many)"
        )
