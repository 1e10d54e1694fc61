"""Expression under several conditions and under none: what was measured, or what a model predicts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Rows of expression, each of one condition.

    A prediction needs no control rows: those of the truth are used for both.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, genes are repeated, or there are two means of one condition.
    """

    matrix: Any
    """Shape (rows, genes), dense or sparse; kept as float32, sparse ones as CSR."""
    conditions: Labels
    """Shape (rows,): one condition a row. None, NaN and the empty string: of no condition, and left out."""
    control: str
    """The condition that means: not perturbed."""
    genes: Labels
    """Shape (genes,), each once."""
    targets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Condition → the genes that it targets. Of one that is not here, its name, if that is a gene."""
    level: Literal["cells", "means"] = "cells"
    """A row is a cell, or the mean of all cells of its condition."""
    scale: Literal["counts", "log1p"] = "counts"
    """Counts, or log1p of counts that were scaled to a common total a cell."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _matrix(self.matrix))
        object.__setattr__(self, "conditions", _labels(self.conditions))
        object.__setattr__(self, "genes", np.asarray(self.genes, dtype=str))
        expected = (len(self.conditions), len(self.genes))
        if self.matrix.shape != expected:
            raise ValueError(f"a matrix of shape {self.matrix.shape} does not fit {expected} conditions and genes")
        if len(np.unique(self.genes)) < len(self.genes):
            raise ValueError("genes holds some gene twice; add them up, or keep one of them")
        if self.level == "means" and self.counts.max(initial=0) > 1:
            repeated = [self.control, *self.names][int(self.counts.argmax())]
            raise ValueError(f"'{repeated}' has {self.counts.max()} means; with level='cells' its rows are cells")

    def __len__(self) -> int:
        return len(self.conditions)

    @cached_property
    def names(self) -> Labels:
        """Every condition but the control, in the order of their names."""
        found = np.unique(self.conditions)
        return np.asarray(found[(found != self.control) & (found != "")])

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Shape (rows,): 0 is the control, from 1 on the conditions in the order of `names`; -1 is none."""
        found = np.searchsorted(self.names, self.conditions).astype(np.int64) + 1
        found[self.conditions == self.control] = 0
        found[self.conditions == ""] = -1
        return found

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Shape (1 + conditions,): how many rows the control has, and each condition."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names) + 1)

    def rows(self, code: int, chosen: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Take the rows of one condition by its code, as a dense array.

        Parameters
        ----------
        chosen
            Which of these rows, in this order, and perhaps several times: so that no more than these is made dense.
        """
        places = np.flatnonzero(self.codes == code)
        found = self.matrix[places if chosen is None else places[chosen]]
        return found if isinstance(found, np.ndarray) else np.asarray(found.toarray())

    def among(self, kept: NDArray[np.bool_]) -> "Perturbed":
        """Take some of the rows."""
        kept = np.asarray(kept, dtype=bool)
        return self if kept.all() else replace(self, matrix=self.matrix[kept], conditions=self.conditions[kept])

    def only(self, names: Collection[str]) -> "Perturbed":
        """Take some of the conditions, and the control."""
        return self.among(np.isin(self.conditions, [*names, self.control]))

    def targeted(self, name: str) -> NDArray[np.int64]:
        """Find the columns of the genes that a condition targets."""
        return np.flatnonzero(np.isin(self.genes, list(self.targets.get(name, [name]))))


def _matrix(given: Any) -> Any:
    if hasattr(given, "tocsr"):
        from scipy.sparse import csr_matrix

        found = csr_matrix(given, dtype=np.float32)
        if not found.has_canonical_format:
            found = found.copy()  # the caller's own stays as it is
            found.sum_duplicates()
        values = found.data
    else:
        found = values = np.asarray(given, dtype=np.float32)
    if found.ndim != 2:
        raise ValueError(f"a matrix has rows and genes; this one has shape {found.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the matrix holds NaN or infinite values")
    return found


def _labels(given: Any) -> Labels:
    import pandas as pd

    found = np.asarray(given, dtype=object)
    if found.ndim != 1:
        raise ValueError(f"conditions has one label a row; this one has shape {found.shape}")
    return np.where(pd.isna(found), "", found).astype(str)
