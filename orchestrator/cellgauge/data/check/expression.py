"""Checks every value of an expression matrix, in blocks: that they are what the entry says they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cellgauge.data.check.rules import Misfit, listed, misfit
from cellgauge.data.h5ad import H5ad
from cellgauge.errors import DatasetError
from cellgauge.specs import DatasetSpec

TRIED = 2_000_000
"""Values of another matrix that are looked at before it is suggested."""


@dataclass
class Tally:
    """What was seen of a matrix's values."""

    cells: int = 0
    empty: int = 0
    """Cells without a value other than 0."""
    odd: float | None = None
    """The first that is negative or not finite."""
    fraction: float | None = None
    """The first that is not whole."""
    twice: int | None = None
    """The first cell with two values of one gene."""
    tidy: bool = True
    """The genes of every cell ascend, none comes twice, and no zero is stored."""

    def add(self, first: int, block: Any) -> None:
        """See one more block of cells."""
        import numpy as np

        data = block.data
        self.cells += block.shape[0]
        filled = np.diff(block.indptr)
        low = data.min() if len(data) else 1
        if self.odd is None and len(data) and not (np.isfinite(low) and low >= 0 and np.isfinite(data.max())):
            self.odd = float(data[~np.isfinite(data) | (data < 0)][0])
        if self.fraction is None and data.dtype.kind == "f" and len(wrong := data[data != np.rint(data)]):
            self.fraction = float(wrong[0])
        if not block.has_canonical_format:
            self.tidy = False
            if self.twice is None:
                self.twice = _twice(first, block)
        if len(data) and not low > 0:
            self.tidy = False
            stored = np.concatenate([[0], np.cumsum(data != 0)])
            filled = np.diff(stored[block.indptr])
        self.empty += int((filled == 0).sum())


def _twice(first: int, block: Any) -> int | None:
    """Find a cell that has two values of one gene; that they are only in disorder is no fault."""
    import numpy as np

    ordered = block.sorted_indices()
    same = np.flatnonzero(ordered.indices[1:] == ordered.indices[:-1]) + 1
    same = same[~np.isin(same, ordered.indptr)]
    return first + int(np.searchsorted(ordered.indptr, same[0], side="right")) - 1 if len(same) else None


def tally(file: H5ad, slot: str) -> Tally:
    """See every value of a matrix.

    Raises
    ------
    DatasetError
        If it is damaged.
    """
    found = Tally()
    for first, block in file.blocks(slot):
        found.add(first, block)
    return found


def check(spec: DatasetSpec, file: H5ad) -> tuple[list[Misfit], bool]:
    """Check the matrix that the entry names.

    Returns
    -------
    What is wrong with it, and whether it is tidy: of each cell genes in order, each once, and never a zero.
    """
    slot, there = spec.matrix.slot, file.slots()
    others = [name for name in there if name != slot]
    if slot not in there:
        return [misfit("D201", _missing(slot, others), f"matrix.slot could be one of: {listed(others)}.")], False
    try:
        seen = tally(file, slot)
    except DatasetError as problem:
        return [misfit("D202", problem.message, problem.hint)], False
    return [*_kind(spec, file, seen, others), *flaws(file, slot, seen, spec.empty_cells)], seen.tidy


def flaws(file: H5ad, slot: str, seen: Tally, empty_cells: float = 0.0) -> Iterator[Misfit]:
    """Say what is wrong with a matrix whatever it is meant to hold."""
    if seen.twice is not None:
        cell = file.cells()[seen.twice]
        yield misfit(
            "D205",
            f"{slot} stores two values of one gene for cell '{cell}'",
            "adata.X.sum_duplicates() adds them up, if that is what they are for.",
        )
    if seen.cells and seen.empty > empty_cells * seen.cells:
        share = seen.empty / seen.cells
        yield misfit(
            "D206",
            f"{seen.empty} of {seen.cells} cells ({100 * share:.2g} %) have no value other than 0 in {slot}",
            f"Leave them out of the file, or put up with them: say `empty_cells: {_above(share)}` in the entry.",
        )


def odd(slot: str, value: float, hint: str) -> Misfit:
    """Say that a matrix holds what no kind of counts does."""
    return misfit("D203", f"{slot} holds negative or non-finite values, so no counts, for instance {value:g}", hint)


def _above(share: float) -> float:
    """Round a share up to something that people write: 0.02."""
    import math

    digits = 2 if share >= 0.01 else 1 - math.floor(math.log10(share))
    scale = float(10**digits)
    return math.ceil(share * scale) / scale


def _kind(spec: DatasetSpec, file: H5ad, seen: Tally, others: list[str]) -> Iterator[Misfit]:
    slot, kind = spec.matrix.slot, spec.matrix.kind
    if seen.odd is not None:
        yield odd(slot, seen.odd, _elsewhere(file, others))
    elif kind == "counts" and seen.fraction is not None:
        yield misfit(
            "D204",
            f"{slot} holds values that are no counts, for instance {seen.fraction:.3f}",
            "Log-normalised? Say `matrix: {kind: log1p}`. Corrected counts? Say `matrix: {kind: corrected}`. "
            + _elsewhere(file, others),
        )
    elif kind != "counts" and seen.fraction is None and seen.empty < seen.cells:
        yield misfit(
            "D208",
            f"the entry says that {slot} holds {kind} values, but all of them are whole numbers",
            "If they are counts, say `matrix: {kind: counts}` in the entry.",
        )


def _missing(slot: str, others: list[str]) -> str:
    if slot == "X":
        return "there is no X"
    if slot == "raw":
        return "there is no raw slot"
    layers = [name.removeprefix("layers/") for name in others if name.startswith("layers/")]
    return f"there is no layer '{slot.removeprefix('layers/')}' (there are: {listed(layers)})"


def _elsewhere(file: H5ad, others: list[str]) -> str:
    """Suggest another matrix: one that does hold counts, as far as it was looked at, or any."""
    whole = [slot for slot in others if holds_counts(file, slot)]
    if whole:
        return f"Whole numbers are in {listed(whole)}: say `matrix: {{slot: {whole[0]}}}`, if these are the counts."
    return f"matrix.slot could be one of: {listed(others)}." if others else "The file has no other matrix."


def holds_counts(file: H5ad, slot: str) -> bool:
    """Tell whether the first values of a matrix, some millions, are whole numbers and not negative."""
    seen, values = Tally(), 0
    try:
        for first, block in file.blocks(slot, values=TRIED):
            seen.add(first, block)
            values += block.nnz
            if values >= TRIED or seen.odd is not None or seen.fraction is not None:
                break
    except DatasetError:
        return False
    return seen.odd is None and seen.fraction is None and values > 0
