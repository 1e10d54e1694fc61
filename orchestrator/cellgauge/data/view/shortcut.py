"""Copies a checked matrix into a view past HDF5: row by row in the view's order, without looking at values again.

For files that lie plain on the disk, of which `check` has seen every value. All others go through `counts`.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cellgauge.data.h5ad import H5ad
from cellgauge.data.view import pipe
from cellgauge.data.view.sheet import SAMPLES, Sheet
from cellgauge.data.view.source import Source, changed, fits, opened
from cellgauge.data.view.strip import Part, Strip
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
COPIED = 1 << 21
"""Values of which is said at once where they lie, if they are copied as they are."""
VALUES, GENES = 0, 1
"""The two arrays."""
SHOWN = "<f4", "<i4"
"""Their kinds in a view."""
THREADS = 4
"""Threads at most; where there are fewer processors, as many as those."""


class Wanted(NamedTuple):
    """Rows of the dataset in the view's order."""

    starts: "NDArray[np.int64]"
    """Of each the first value in the dataset."""
    stops: "NDArray[np.int64]"
    """And the one behind its last."""
    bounds: "NDArray[np.int64]"
    """Where each would begin if nothing were left out."""
    sheet: Sheet
    """Where they are written."""


class Shortcut:
    """The way of a matrix into a view.

    Parameters
    ----------
    bounds
        Where each row begins among the values, and where the last one ends.
    """

    def __init__(self, path: Path, source: Source, bounds: "NDArray[np.int64]", n_genes: int) -> None:
        self._path, self._source, self._bounds, self._n_genes = path, source, bounds, n_genes
        self._number: NDArray[np.int32] | None = None
        self._enough = Event()

    def choose(self, chosen: "NDArray[np.int64]") -> None:
        """Leave all genes out of the view but these, which are numbered anew in this order.

        Parameters
        ----------
        chosen
            Ascending.
        """
        import numpy as np

        self._number = np.full(self._n_genes, -1, dtype=np.int32)
        self._number[chosen] = np.arange(len(chosen), dtype=np.int32)

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
            for span in self._spans(self._bounds, mine, SPAN):
                bounds = self._bounds[span.start : span.stop + 1]
                genes = self._source.fetch(self._source.both[GENES], bounds[:1], bounds[-1:])
                kept = np.concatenate([[0], np.cumsum(self._named(number, genes) >= 0)])
                found[span] = np.diff(kept[bounds - bounds[0]])

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

        starts, stops = self._bounds[rows], self._bounds[rows + 1]
        wanted = Wanted(starts, stops, np.concatenate([[0], np.cumsum(stops - starts)]), sheet)
        parts = []
        if self._number is None:
            for one in (VALUES, GENES):
                self._source.ready(one)  # the next one is read from the disk while this one is copied
                parts += self._shared(functools.partial(self._one, one, wanted), wanted.bounds)
        else:
            self._source.ready(GENES)
            shares = self._shared(functools.partial(self._both, wanted), wanted.bounds)
            parts += itertools.chain.from_iterable(shares)
        for row in range(0, len(rows), max(1, len(rows) // SAMPLES)):
            sheet.remember(row, *self._read(starts[row : row + 1], stops[row : row + 1]))
        return parts

    def _one(self, one: int, wanted: Wanted, mine: range) -> Part:
        """Write one of the arrays of some rows, of which every gene is in the view."""
        source, lies = self._source, self._source.both[one]
        if lies.dtype.str == SHOWN[one]:
            with (
                suppress(OSError),
                pipe.opened() as way,
            ):  # whatever it was: what follows does it, or says what is wrong
                strip = wanted.sheet.strips(mine)[one]
                for span in self._spans(wanted.bounds, mine, COPIED):
                    strip.take(way, source.handle, lies.pieces(wanted.starts[span], wanted.stops[span]))
                return self._whole(strip)
        strip = wanted.sheet.strips(mine)[one]
        for span in self._spans(wanted.bounds, mine, SPAN):
            found = source.fetch(lies, wanted.starts[span], wanted.stops[span])
            strip.add(found.astype(SHOWN[one], copy=False))
        return self._whole(strip)

    def _both(self, wanted: Wanted, mine: range) -> list[Part]:
        """Write some rows, without the genes that are not in the view."""
        strips = wanted.sheet.strips(mine)
        for span in self._spans(wanted.bounds, mine, SPAN):
            for strip, array in zip(strips, self._read(wanted.starts[span], wanted.stops[span]), strict=True):
                strip.add(array)
        return [self._whole(strip) for strip in strips]

    def _read(self, starts: Any, stops: Any) -> tuple[Any, Any]:
        """Read some rows as the view shows them."""
        data, genes = (self._source.fetch(lies, starts, stops) for lies in self._source.both)
        if self._number is not None:
            numbers = self._named(self._number, genes)
            here = numbers >= 0
            data, genes = data[here], numbers[here]
        return data.astype(SHOWN[VALUES], copy=False), genes.astype(SHOWN[GENES], copy=False)

    def _whole(self, strip: Strip) -> Part:
        if not strip.full:
            raise changed(self._path)
        return strip.part

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

    def _spans(self, bounds: "NDArray[np.int64]", rows: range, most: int) -> Iterator[slice]:
        return itertools.takewhile(lambda _: not self._enough.is_set(), _spans(bounds, rows, most))


@contextmanager
def found(file: H5ad, dataset: Dataset, view: View) -> Iterator[Shortcut | None]:
    """Find the shortcut of a view; None where there is none, and the values have to be looked at, or turned.

    Nor is there one where the matrix is too large to stay in memory: then it is read in order, block by block, and
    rows are written all over the view, since reads cannot wait for the disk and writes can.
    """
    import numpy as np

    slot = view.matrix.slot
    lies = file.stored(slot) if _vouched(dataset, view) else None
    sizes = file.row_sizes(slot)
    if lies is None or sizes is None or lies[0].dtype.str not in EXACT or not fits(lies):
        yield None
        return
    with opened(file.path, lies) as source:
        yield Shortcut(file.path, source, np.concatenate([[0], np.cumsum(sizes)]), file.shape(slot)[1])


def _vouched(dataset: Dataset, view: View) -> bool:
    """Tell whether every value was seen to be one that a view shows as it is."""
    return dataset.tidy and view.matrix == dataset.spec.matrix and view.matrix.kind != "log1p"


def _spans(bounds: "NDArray[np.int64]", rows: range, most: int) -> Iterator[slice]:
    """Cut rows into spans of so many values at most, or of one row."""
    import numpy as np

    first = rows.start
    while first < rows.stop:
        end = int(np.searchsorted(bounds, bounds[first] + most, side="right")) - 1
        end = min(max(end, first + 1), first + most, rows.stop)
        yield slice(first, end)
        first = end
