"""Which cells are trained on, which are tested, and the scale of each training set."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels

BLOCK = 8192
FLAT = 1e-6
"""A feature whose spread in a training set is so small a part of its spread among all cells is constant there."""


class Split(NamedTuple):
    """Rows to train on and rows to test, in order."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def stratified(codes: NDArray[np.int64], folds: int, seed: int) -> list[Split]:
    """Share out cells so that each fold has its part of each class; shuffled.

    Raises
    ------
    ValueError
        If a class has fewer cells than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if (fewest := np.bincount(codes).min()) < folds:
        raise ValueError(f"a label has {fewest} cells, fewer than the {folds} folds")
    return [Split(*one) for one in StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, codes)]


def grouped(codes: NDArray[np.int64], groups: Labels, folds: int, seed: int) -> list[Split]:
    """Share out whole groups, so that no donor is both trained on and tested."""
    from sklearn.model_selection import StratifiedGroupKFold

    chosen = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [Split(*one) for one in chosen.split(codes, codes, groups)]


def trained(splits: list[Split], n: int) -> NDArray[np.bool_]:
    """Tell which cells each split trains on, shape (n, splits)."""
    found = np.zeros((n, len(splits)), dtype=bool)
    for number, split in enumerate(splits):
        found[split.train, number] = True
    return found


class Scaled(NamedTuple):
    """Features standardised once, over all cells, and what turns them into those of each training set."""

    values: NDArray[np.floating]
    """Shape (cells, dimensions): mean 0 and spread 1; 0 where all are equal."""
    ratio: NDArray[np.float64]
    """Shape (splits, dimensions): a standardised value times this is, but for a constant, that of the training set."""
    unit: NDArray[np.float64]
    """Shape (dimensions,): what the values were divided by."""

    @classmethod
    def of(cls, values: NDArray[np.floating], chosen: NDArray[np.bool_], dtype: type[np.floating]) -> "Scaled":
        """Standardise, with the training cells of each split, shape (cells, splits)."""
        blocks = [slice(first, first + BLOCK) for first in range(0, len(values), BLOCK)]
        centre = sum(values[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / len(values)
        spread = np.sqrt(sum(((values[rows] - centre) ** 2).sum(axis=0) for rows in blocks) / len(values))
        # As scikit-learn: what rounding alone would leave is none.
        size = np.finfo(values.dtype).eps * np.abs(centre) * np.sqrt(len(values))
        flat = spread <= np.maximum(size, np.finfo(np.float64).tiny)
        unit = np.where(flat, 1.0, spread)
        found = np.empty(values.shape, dtype=dtype)
        sums, squares = np.zeros((2, chosen.shape[1], values.shape[1]))
        for rows in blocks:
            part = np.where(flat, 0.0, (values[rows] - centre) / unit)
            found[rows] = part
            sums += chosen[rows].T.astype(np.float64) @ part
            squares += chosen[rows].T.astype(np.float64) @ part**2
        counts = chosen.sum(axis=0)[:, None]
        own = np.sqrt(np.maximum(squares / counts - (sums / counts) ** 2, 0.0))
        return cls(found, np.where(own > FLAT, 1 / np.maximum(own, FLAT), unit), unit)


def shared(splits: list[Split], n: int) -> bool:
    """Tell whether every cell is tested once and trains all other folds."""
    tested = np.sort(np.concatenate([split.test for split in splits]))
    return np.array_equal(tested, np.arange(n)) and all(len(split.train) + len(split.test) == n for split in splits)
