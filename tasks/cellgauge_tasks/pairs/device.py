"""Goes over all pairs of points on a device that torch knows, a GPU above all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cellgauge_tasks.pairs.nearest import Nearest
from cellgauge_tasks.pairs.points import FEW, FEW_POINTS, FLAT, NEAR, VERY_NEAR, Block, Points
from cellgauge_tasks.pairs.sums import Sums


def over_all_pairs(
    points: Points, blocks: list[Block], sums: Sums | None, nearest: Nearest | None, device: str
) -> None:
    """Fill in sums and candidates as the pass without a device does: the same but for rounding.

    Products are computed in full float32; blocks in which points are near each other again in float64.

    Raises
    ------
    ValueError
        If torch is not installed, or does not know the device.
    """
    try:
        import torch
    except ImportError as problem:
        raise ValueError(f"device '{device}' needs torch: pip install torch") from problem
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as problem:
        raise ValueError(
            f"torch {torch.__version__} cannot use device '{device}'; leave it out to do without"
        ) from problem
    with _repeatable(torch):
        work = _Work(torch, place, points, blocks)
        for which in range(len(blocks)):
            work.rows(which, sums, nearest)


@contextmanager
def _repeatable(torch: Any) -> Iterator[None]:
    """Have torch compute the same bits each time, and all digits of float32."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_float32_matmul_precision(before[1])


class _Work:
    """What is done with each block of rows."""

    def __init__(self, torch: Any, place: Any, points: Points, blocks: list[Block]) -> None:
        self.torch, self.place, self.points, self.blocks = torch, place, points, blocks
        self.right = [self._there(one.right) for one in blocks]
        self.norms = [self._there(one.norms.astype(np.float32)) for one in blocks]
        self.precise = len(points.values) <= FEW_POINTS

    def _there(self, values: Any) -> Any:
        return self.torch.from_numpy(values).to(self.place)

    def rows(self, which: int, sums: Sums | None, nearest: Nearest | None) -> None:
        torch, rows, best = self.torch, self.blocks[which], None
        size = (len(sums.totals) if sums else 0, len(rows.cells))
        totals = torch.zeros(size, dtype=torch.float64, device=self.place)
        left = self._there(rows.left())
        for other, columns in enumerate(self.blocks):
            squares = self._squares(left, which, other)
            if nearest:
                best = self._best(best, squares, columns.at.start, nearest.keep)
            if sums:
                if which == other:
                    squares.fill_diagonal_(0)
                touched, members = sums.members(columns)
                totals[self._there(touched)] += self._there(members).double().T @ squares.sqrt().T.double()
        if sums:
            sums.totals[:, rows.at] = totals.cpu().numpy()
        if nearest and best is not None:
            chosen = np.concatenate([one.cells for one in self.blocks])
            nearest.put(rows.at, chosen[best[1].cpu().numpy()], best[0].cpu().numpy())

    def _squares(self, left: Any, which: int, other: int) -> Any:
        """Compute the squared distances of two blocks; infinite of a point to itself."""
        rows, columns = self.blocks[which], self.blocks[other]
        if self.precise or rows.norms.max() + columns.norms.max() < FLAT:
            return self._again(which, other)
        found = left @ self.right[other].T
        if which == other:
            found.fill_diagonal_(self.torch.inf)
        near = found < (self.norms[which][:, None] + self.norms[other]) * NEAR
        if (count := int(near.sum())) > FEW:
            return self._again(which, other)
        return self._corrected(found, near, rows, columns) if count else found

    def _again(self, which: int, other: int) -> Any:
        rows, columns = self.blocks[which], self.blocks[other]
        first, second = (self.points.values[one.cells].astype(np.float64) for one in (rows, columns))
        middle = np.median(first[:: max(1, len(first) // 32)], axis=0)
        first, second = self._there(first - middle), self._there(second - middle)
        norms, others = (one.square().sum(dim=1) for one in (first, second))
        found = norms[:, None] + others - 2 * (first @ second.T)
        near = found <= (norms[:, None] + others) * VERY_NEAR
        if bool(near.any()):
            found = self._corrected(found, near, rows, columns)
        if which == other:
            found.fill_diagonal_(self.torch.inf)
        return found

    def _corrected(self, found: Any, near: Any, rows: Block, columns: Block) -> Any:
        """Put in the squared distances of near points, from their differences."""
        row, column = (one.cpu().numpy() for one in near.nonzero(as_tuple=True))
        exact = self.points.exact(rows.cells[row], columns.cells[column])
        found[near] = self._there(exact).to(found.dtype)
        return found

    def _best(self, best: Any, squares: Any, start: int, keep: int) -> Any:
        """Take the nearest of those found so far and these: squared distances, and which they are."""
        found, place = squares.float().topk(min(keep, squares.shape[1]), dim=1, largest=False)
        place = place + start
        if best is not None:
            found, place = (self.torch.cat(both, dim=1) for both in zip(best, (found, place), strict=True))
            found, order = found.topk(min(keep, found.shape[1]), dim=1, largest=False)
            place = place.gather(1, order)
        return found, place
