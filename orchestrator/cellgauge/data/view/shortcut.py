"""Copies a checked matrix into a view past HDF5: row by row in the view's order, without looking at values again.

For files that lie plain on the disk, of which `check` has seen every value. All others go through `counts`.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from cellgauge.data.h5ad import H5ad
from cellgauge.data.h5ad.stored import Stored
from cellgauge.data.view.sheet import SAMPLES, Sheet
from cellgauge.data.view.source import Source, changed, fits, opened
from cellgauge.data.view.strip import Part
from cellgauge.specs import Dataset, View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
SPAN = 1 << 18
"""Values taken at once by each thread: with their genes 2 MB, which a processor keeps near."""
EXACT = {
    "<f4",
    *(f"{order}{kind}" for order, kind in itertools.product("<|", ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"))),
}
"""Kinds of values that no view turns into 0 or into infinity, whatever they are."""
THREADS = 4
"""Threads at most; where there are fewer processors, as many as those."""


class Shortcut:
    """The way of a matrix into a view.

    Parameters
    ----------
    bounds
        Where each row begins among the values, and where the last one ends.
    number
        What each gene is called in the view, int32; -1: it is not there. None: all are, and keep their numbers.
    """

    def __init__(
        self, path: Path, source: Source, bounds: "NDArray[np.int64]", number: "NDArray[np.int32] | None"
    ) -> None:
        self._path, self._source, self._bounds, self._number = path, source, bounds, number
        self._enough = Event()

    def sizes(self) -> "NDArray[np.int64]":
        """Count how many values each row of the dataset has that belong to genes of the view.

        Raises
        ------
        DatasetError
            If the file is not what it was.
        """
        import numpy as np

        number = self._number
        if number is None:
            return np.diff(self._bounds)
        found = np.zeros(len(self._bounds) - 1, dtype=np.int64)

        def count(mine: range) -> None:
            lies, buffer = self._source.indices, _buffer(self._bounds, mine, self._source.indices)
            for first, end in self._spans(self._bounds, mine):
                bounds = self._bounds[first : end + 1]
                genes = self._source.fetch(lies, bounds[:1], bounds[-1:], buffer)
                kept = np.concatenate([[0], np.cumsum(self._named(number, genes) >= 0)])
                found[first:end] = np.diff(kept[bounds - bounds[0]])

        self._shared(count, self._bounds)
        return found

    def copy(self, rows: "NDArray[np.int64]", sheet: Sheet) -> list[Part]:
        """Write rows of the dataset into a view, in this order, and sum them up.

        Raises
        ------
        DatasetError
            If the file is not what it was.
        OSError
            If the view cannot be written.
        """
        import numpy as np

        self._source.ready()
        starts, stops = self._bounds[rows], self._bounds[rows + 1]
        bounds = np.concatenate([[0], np.cumsum(stops - starts)])
        apart = max(1, len(rows) // SAMPLES)

        def write(mine: range) -> list[Part]:
            strip = sheet.strip(mine)
            arrays = [(one, _buffer(bounds, mine, one)) for one in (self._source.data, self._source.indices)]
            for first, end in self._spans(bounds, mine):
                found = [self._source.fetch(one, starts[first:end], stops[first:end], room) for one, room in arrays]
                data, genes = self._chosen(*found)
                strip.add(data, genes)
                if first == mine.start or first // apart != end // apart:
                    sheet.remember(first, data, genes)
            if not strip.full:
                raise changed(self._path)
            return strip.parts

        with sheet.flushed():
            return [part for parts in self._shared(write, bounds) for part in parts]

    def _chosen(self, data: Any, genes: Any) -> tuple[Any, Any]:
        if self._number is not None:
            numbers = self._named(self._number, genes)
            here = numbers >= 0
            data, genes = data[here], numbers[here]
        return data.astype("<f4", copy=False), genes.astype("<i4", copy=False)

    def _named(self, number: "NDArray[np.int32]", genes: Any) -> "NDArray[np.int32]":
        try:
            found: NDArray[np.int32] = number[genes]
            return found
        except IndexError as problem:  # there was no such gene when the file was checked
            raise changed(self._path) from problem

    def _shared(self, work: Callable[[range], T], bounds: "NDArray[np.int64]") -> list[T]:
        """Share rows among threads, to each its own stretch of as many values; all end soon after one has failed."""
        import numpy as np

        threads = min(THREADS, len(os.sched_getaffinity(0)))
        cuts = [0, *np.searchsorted(bounds, np.linspace(0, bounds[-1], threads + 1)[1:-1]).tolist(), len(bounds) - 1]
        with ThreadPoolExecutor(threads, thread_name_prefix="view") as pool:
            shares = [pool.submit(work, range(first, end)) for first, end in itertools.pairwise(cuts)]
            try:
                for done in as_completed(shares):
                    done.result()
            except BaseException:
                self._enough.set()
                raise
        return [one.result() for one in shares]

    def _spans(self, bounds: "NDArray[np.int64]", rows: range) -> Iterator[tuple[int, int]]:
        return itertools.takewhile(lambda _: not self._enough.is_set(), _spans(bounds, rows))


@contextmanager
def found(file: H5ad, dataset: Dataset, view: View, chosen: "NDArray[np.int64] | None") -> Iterator[Shortcut | None]:
    """Find the shortcut of a view; None where there is none, and the values have to be looked at, or turned.

    Nor is there one where the matrix is too large to stay in memory: then it is read in order, block by block, and
    rows are written all over the view, since reads cannot wait for the disk and writes can.

    Parameters
    ----------
    chosen
        Which genes the view has, ascending; None: all of them.
    """
    import numpy as np

    slot = view.matrix.slot
    lies = file.stored(slot) if _vouched(dataset, view) else None
    sizes = file.row_sizes(slot)
    if lies is None or sizes is None or lies[0].dtype.str not in EXACT or not fits(lies):
        yield None
        return
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    number = None
    if chosen is not None:
        number = np.full(file.shape(slot)[1], -1, dtype=np.int32)
        number[chosen] = np.arange(len(chosen), dtype=np.int32)
    with opened(file.path, lies) as source:
        yield Shortcut(file.path, source, bounds, number)


def _vouched(dataset: Dataset, view: View) -> bool:
    """Tell whether every value was seen to be one that a view shows as it is."""
    return dataset.tidy and view.matrix == dataset.spec.matrix and view.matrix.kind != "log1p"


def _spans(bounds: "NDArray[np.int64]", rows: range) -> Iterator[tuple[int, int]]:
    """Cut rows into spans of some thousand values, or of one row."""
    import numpy as np

    first = rows.start
    while first < rows.stop:
        end = int(np.searchsorted(bounds, bounds[first] + SPAN, side="right")) - 1
        end = min(max(end, first + 1), first + SPAN, rows.stop)
        yield first, end
        first = end


def _buffer(bounds: "NDArray[np.int64]", rows: range, lies: Stored) -> bytearray:
    """Make room for the largest span of some rows."""
    largest = max((int(bounds[end] - bounds[first]) for first, end in _spans(bounds, rows)), default=0)
    return bytearray(largest * lies.dtype.itemsize)
