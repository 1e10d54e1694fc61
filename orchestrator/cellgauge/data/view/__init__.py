"""Writes what a model may see of a dataset: counts, genes, opaque cell ids, and only the granted obs columns."""

import functools
import hashlib
import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.data import check, conditions, h5ad, joined, rows
from cellgauge.data.cache import Cache, seal
from cellgauge.data.h5ad import H5ad
from cellgauge.data.view import panel, shortcut
from cellgauge.data.view.counts import Counts
from cellgauge.data.view.sheet import Sheet, laid_out
from cellgauge.data.view.source import changed
from cellgauge.disk import explained
from cellgauge.specs import Columns, Coverage, Dataset, View
from cellgauge_model import contract

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

GENES = "genes.json"
WRITERS = 2
"""Threads that write while another reads."""
AHEAD = 3
"""Blocks that may wait to be written."""


def write(dataset: Dataset, view: View, cache: Cache) -> Path:
    """Write a view, or return the path of one that is already there, here or in a shared cache.

    Cells are in the order of their opaque ids, so that neither id nor order says anything about them. Values flow
    through in blocks, so the dataset may be larger than memory.

    Raises
    ------
    DatasetError
        If the file holds no counts and none can be recovered from its values, or was changed.
    StorageError
        If the cache cannot be written.
    """
    cache.use("views", view.id)
    for root in (cache.root, *cache.shared):
        if _untouched(path := _place(root, view), cache, own=root == cache.root):
            return path
    path = _place(cache.root, view)
    with cache.lock(f"view-{view.id}"):
        if not _untouched(path, cache, own=True):  # else somebody was faster
            with explained(path, "CELLGAUGE_CACHE"):
                path.parent.mkdir(parents=True, exist_ok=True)
                for left in path.parent.glob("*.part"):  # of one that was killed: whoever has the lock writes alone
                    left.unlink()
                try:
                    _write(dataset, view, path)
                except BaseException:
                    _forget(path)
                    raise
    return path


def cells(dataset: Dataset, view: View) -> list[str]:
    """List the opaque ids of the cells that a view holds, in the dataset's order.

    Raises
    ------
    DatasetError
        If the dataset's file was changed, or the view's rules leave no cell.
    """
    with check.reopen(dataset) as file:
        return opaque(file.cells()[rows.kept(dataset, view.rows)], dataset.sha256)


def annotations(dataset: Dataset, view: View, roles: Mapping[str, Columns]) -> "pd.DataFrame":
    """Read obs columns by role of the cells that a view holds, in the dataset's order, indexed by opaque cell ids.

    Parameters
    ----------
    roles
        Role → obs column, or several whose values are joined.

    Raises
    ------
    DatasetError
        If the dataset's file was changed, or the view's rules leave no cell.
    """
    import pandas as pd

    kept = rows.kept(dataset, view.rows)
    with check.reopen(dataset) as file:
        found = file.obs(joined.columns(roles.values()))
        columns = {role: joined.values(found, given).to_numpy()[kept] for role, given in roles.items()}
        return pd.DataFrame(columns, index=opaque(file.cells()[kept], dataset.sha256))


def coverage(path: Path) -> Coverage:
    """Say how many of the dataset's genes a view holds that lies at a path."""
    return Coverage.model_validate_json(path.with_name(GENES).read_bytes())


def genes(path: Path) -> list[str]:
    """List the genes of a view that lies at a path, as its var index names them."""
    with h5ad.open(path, vouched=True) as file:  # it is our own
        return [str(one) for one in file.genes("X")]


def opaque(cells: Iterable[object], key: str) -> list[str]:
    """Name each cell by a hash of its id and the dataset's checksum: the same in every view.

    That hides barcodes, and what is in them, from a model that was not prepared for this very dataset. It is no secret
    from one that was: the checksum is public, and a cell can be known by its counts as well.
    """
    return [hashlib.blake2b(str(cell).encode(), key=key[:64].encode(), digest_size=10).hexdigest() for cell in cells]


def _place(root: Path, view: View) -> Path:
    return root / "views" / view.id / "view.h5ad"


def _untouched(path: Path, cache: Cache, *, own: bool) -> bool:
    """Tell whether a view is there as it was written: failed jobs link to it, and somebody may have edited it there."""
    sealed = seal.Summed(path)
    with suppress(OSError):  # what cannot be read is not there
        if not path.with_name(GENES).exists():
            return False
        if sealed.untouched():
            if own:
                sealed.store()
            return True
        # It may have been copied, perhaps with the whole cache. Into somebody else's nothing is written.
        told = sealed.checksum
        if told and told == (seal.checksum(path) if own else cache.summed(path)):
            if own:
                sealed.write(told, stored=False)
            return True
    return False


def _forget(path: Path) -> None:
    """Leave no folder of a view that could not be made."""
    with suppress(OSError):
        if not path.exists():
            path.with_name(GENES).unlink(missing_ok=True)
            path.parent.rmdir()


def _write(dataset: Dataset, view: View, path: Path) -> None:
    partial = path.with_name(f"view.{secrets.token_hex(4)}.part")
    try:
        with check.reopen(dataset) as file:
            coverage, checksum = _pour(file, dataset, view, partial)
        check.same(dataset)
        contract.write_atomically(path.with_name(GENES), coverage.model_dump_json())
        partial.chmod(0o444)
        partial.replace(path)
        seal.Summed(path).write(checksum, stored=False)
    finally:
        partial.unlink(missing_ok=True)


def _pour(file: H5ad, dataset: Dataset, view: View, partial: Path) -> tuple[Coverage, str]:
    """Write a view's file; return which genes it has, and its checksum."""
    import numpy as np

    with shortcut.found(file, dataset, view) as way:  # the disk is busy from here on
        genes = panel.make(file, view)
        chosen = None if len(genes.chosen) == genes.coverage.given else genes.chosen
        kept = np.flatnonzero(rows.kept(dataset, view.rows))
        ids = np.array(opaque(file.cells()[kept], dataset.sha256))
        order = np.argsort(ids)
        kept, ids = kept[order], ids[order]
        lay = functools.partial(laid_out, partial, _shown(file, view, kept, ids), genes.table)
        if way:
            if chosen is not None:
                way.choose(chosen)
            with lay(way.sizes()[kept]) as sheet:
                return genes.coverage, sheet.finish(way.copy(kept, sheet))
    counts = Counts(file, view.matrix, chosen)
    factors = counts.factors()
    # Where the source's own word on how many values a cell has proves wrong, they are counted, and all is done again.
    for sizes in (counts.sizes_told(), None):
        counted = counts.sizes(factors) if sizes is None else sizes
        with lay(counted[kept]) as sheet:
            if _filled(sheet, counts.blocks(factors), kept, counted):
                return genes.coverage, sheet.finish()
        partial.unlink()
    raise changed(file.path)


def _filled(
    sheet: Sheet, blocks: Iterator[tuple[int, Any]], kept: "NDArray[np.int64]", sizes: "NDArray[np.int64]"
) -> bool:
    """Write every row to its place while the next ones are read; False as soon as a row has another size.

    Parameters
    ----------
    kept
        Which rows of the dataset the view holds, in its order.
    sizes
        Of each row of the dataset.
    """
    import numpy as np

    to = np.full(len(sizes), -1, dtype=np.int64)
    to[kept] = np.arange(len(kept))
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="view") as pool:
        for first, block in blocks:
            end = first + block.shape[0]
            if not np.array_equal(np.diff(block.indptr), sizes[first:end]):
                return False
            while len(waiting) >= AHEAD:
                waiting.popleft().result()
            waiting.append(pool.submit(sheet.fill, to[first:end], block))
        for one in waiting:
            one.result()
    return True


def _shown(file: H5ad, view: View, order: "NDArray[np.int64]", ids: Any) -> "pd.DataFrame":
    """Take the granted columns under their roles, of the view's cells alone; conditions as they are asked for."""
    import pandas as pd

    found = file.obs(joined.columns(view.obs.values()))
    columns = {role: joined.values(found, given).iloc[order] for role, given in view.obs.items()}
    if conditions.ROLE in columns:
        columns[conditions.ROLE] = conditions.words(columns[conditions.ROLE])
    columns = {role: _values(column) for role, column in columns.items()}
    return pd.DataFrame(columns, index=pd.Index(ids, dtype=object))


def _values(column: Any) -> Any:
    """Take a column's values and nothing else: categories that no cell here has, and their order, would tell more."""
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.to_numpy())
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        plain = isinstance(column.dtype, np.dtype)
        return column.to_numpy() if plain or not column.isna().any() else column.to_numpy(float, na_value=np.nan)
    missing = column.isna().to_numpy()
    words = np.array(["" if gone else str(one) for one, gone in zip(column, missing, strict=True)], dtype=object)
    names = sorted(set(words[~missing]))
    codes = pd.Index(names, dtype=object).get_indexer(words)
    return pd.Categorical.from_codes(np.where(missing, -1, codes), pd.Index(names, dtype=object))
