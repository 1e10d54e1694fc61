"""Takes in an embedding that was made elsewhere: read without trust, put into the order of a dataset's cells, kept.

It is kept as a job's output is, so it can be scored again, shown and compared; its record says where it comes from.
"""

import hashlib
import io
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cellgauge
from cellgauge import outputs, provenance
from cellgauge.arrays import ONE_AT_A_TIME
from cellgauge.data import h5ad, view
from cellgauge.data.h5ad import hdf5
from cellgauge.disk import explained
from cellgauge.errors import CellgaugeError, UsageError
from cellgauge.specs import ELSEWHERE, Dataset, ItemRecord, Job, JobDataset, RunRecord, View, identity
from cellgauge.store import Store, now_utc
from cellgauge.words import by_line
from cellgauge_model.contract import CELLS, CONTRACT_VERSION, EMBEDDING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

HINT = "Rows are found by cell id: these must be the obs_names of the dataset."
LARGEST_LIST = 1 << 30
"""Bytes of a list of cells."""


@dataclass(frozen=True)
class Made:
    """An embedding out of a file."""

    values: "NDArray[np.float32]"
    """Shape (cells, dimensions)."""
    cells: Sequence[str] | None
    """The id of each row; None: the file does not say."""


def split(text: str) -> tuple[Path, str]:
    """Take apart what a person named: a file, and after a colon what of it."""
    found = re.fullmatch(r"(.+\.h5ad):([^:]+)", text)
    return (Path(found[1]), found[2]) if found else (Path(text), "")


def read(path: Path, key: str = "", cells: Path | None = None) -> Made:
    """Read an embedding.

    Parameters
    ----------
    path
        `.npy`, `.h5ad` or `.parquet`.
    key
        Of a h5ad: the name in obsm; may be left out where there is only one.
    cells
        A text file with the id of each row; of an `.npy` alone.

    Raises
    ------
    CellgaugeError
        If it cannot be read, or holds anything but finite numbers.
    """
    readers = {".npy": _npy, ".h5ad": _h5ad, ".parquet": _parquet}
    if path.suffix not in readers:
        raise UsageError(f"{path}: neither .npy, .h5ad nor .parquet", "Save it with numpy.save(…), for instance.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file", "Name the file in it.")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if cells is not None and path.suffix != ".npy":
        raise UsageError("--cells is for an .npy file: others name their cells themselves")
    values, names = readers[path.suffix](path, key)
    found = _numbers(values, path)
    if cells is not None:
        names = _lines(cells)
    if names is not None and len(names) != len(found):
        raise UsageError(f"{path} has {len(found)} rows, and {len(names)} cells are named", HINT)
    return Made(found, names)


def _npy(path: Path, key: str) -> tuple[Any, None]:
    import numpy as np

    try:
        with ONE_AT_A_TIME, path.open("rb") as file:
            head = io.BytesIO(file.read(outputs.HEADER_LIMIT))
            version = np.lib.format.read_magic(head)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = readers[version](head)
        if dtype.kind not in "biuf" or len(shape) != 2:
            raise UsageError(f"{path} holds {dtype} of shape {shape}, not numbers of shape (cells, dimensions)")
        size, promised = path.stat().st_size, head.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size != promised:  # looked at before anything is allocated: a header may claim any size
            raise UsageError(f"{path} has {size} bytes, its header promises {promised}", "It may have been cut off.")
        values = np.fromfile(path, dtype, offset=head.tell())
        return values.reshape(shape[::-1]).T if fortran else values.reshape(shape), None
    except CellgaugeError:
        raise
    except Exception as problem:  # numpy's parser raises many kinds on a made-up header
        raise UsageError(
            f"{path} is no .npy file that can be read without pickle", "Save it anew: numpy.save."
        ) from problem


def _h5ad(path: Path, key: str) -> tuple[Any, Sequence[str]]:
    with h5ad.open(path) as file:
        names = [str(one) for one in file.cells()]
        there = file.obsm()
        if not key and len(there) != 1:
            raise UsageError(f"{path}: which one of obsm? It has: {', '.join(there) or 'none'}", f"Say {path}:NAME.")
        if key and key not in there:
            raise UsageError(f"{path} has no obsm['{key}']; it has: {', '.join(there) or 'none'}")
        return file.embedding(key or there[0]), names


def _parquet(path: Path, key: str) -> tuple[Any, Sequence[str] | None]:
    import pandas as pd

    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except ImportError as problem:
        hint = "Install pyarrow beside cellgauge, or save it as .npy."
        raise UsageError(f"{path}: reading Parquet needs pyarrow", hint) from problem
    except Exception as problem:  # arrow raises many kinds on a damaged file
        raise UsageError(f"{path} is no Parquet file that can be read: {hdf5.reason(problem)}") from problem
    odd = [str(name) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    if odd:
        raise UsageError(
            f"{path}: no numbers: {', '.join(odd[:5])}", "Make the cell ids the index: table.set_index(…)."
        )
    numbered = isinstance(table.index, pd.RangeIndex)
    return _columns(table), None if numbered else [str(one) for one in table.index]


def _columns(table: "pd.DataFrame") -> "NDArray[np.float32]":
    """Put columns of numbers side by side; what is not there in nullable ones becomes NaN, which is told of later."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # so is what is too large
        return table.to_numpy(dtype="float32", na_value=np.nan)


def _numbers(values: Any, path: Path) -> "NDArray[np.float32]":
    """Make float32 of it, as models' outputs are."""
    import numpy as np

    array = np.asarray(values)
    if array.ndim != 2:
        raise UsageError(f"{path} has shape {array.shape}, not (cells, dimensions)")
    if 0 in array.shape:
        what = "rows, so no cells" if array.shape[1] else "dimensions: each cell is a row of no numbers"
        raise UsageError(f"{path} has shape {array.shape}: it has no {what}", "Look at how it was written.")
    if array.shape[1] > outputs.MAX_DIMENSIONS:
        told = f"{path} has {array.shape[1]:,} dimensions; at most {outputs.MAX_DIMENSIONS:,} can be scored"
        raise UsageError(told, "Is it cells by genes, or turned round? Give rows for cells, columns for dimensions.")
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.ascontiguousarray(array, dtype="<f4")
    broken = int((~np.isfinite(found).all(axis=1)).sum())
    if broken:
        hint = "Leave these cells out of the file and the dataset, or find out where they come from."
        raise UsageError(f"{path} holds NaN, infinite or too large values in {broken} of {len(found)} rows", hint)
    return found


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return by_line(file.read(LARGEST_LIST).decode("utf-8-sig"))
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path} is not UTF-8 text", "One cell id a line.") from problem


def ordered(made: Made, dataset: Dataset) -> "tuple[NDArray[np.float32], str]":
    """Put rows into the order of a dataset's cells.

    Returns
    -------
    The rows, one for each cell, and what there is to say of how they were found.

    Raises
    ------
    UsageError
        If a cell has no row, or two.
    """
    import pandas as pd

    with h5ad.open(dataset.path, vouched=True) as file:
        names = pd.Index([str(one) for one in file.cells()])
    if made.cells is None:
        if len(made.values) != len(names):
            hint = (
                "Name the cells: --cells FILE with an id a line, or an .h5ad, or a Parquet file whose index they are."
            )
            raise UsageError(f"{len(made.values)} rows do not fit the {len(names)} cells of {dataset.spec.name}", hint)
        return made.values, "rows are taken to be in the order of the dataset's cells, since the file names none"
    index = pd.Index(made.cells)
    if not index.is_unique:
        raise UsageError(f"the cell '{index[index.duplicated()][0]}' has several rows", HINT)
    order = index.get_indexer(names)
    lacking = names[order < 0]
    if len(lacking):
        shown = f"{len(lacking)} of {len(names)} cells of {dataset.spec.name} have no row: {', '.join(lacking[:3])} …"
        raise UsageError(f"{shown} The file begins with {', '.join(index[:3])}", HINT)
    more = len(index) - len(names)
    return made.values[order], f"{more} rows of cells that the dataset does not have are left out" if more else ""


def whole(dataset: Dataset) -> View:
    """Describe every cell of a dataset, with nothing shown of it."""
    spec = dataset.spec
    fields = {"organism": spec.organism, "gene_index": spec.gene_ids, "gene_columns": {}, "gene_ids": spec.gene_ids}
    return View(sha256=dataset.sha256, matrix=spec.matrix, obs={}, **fields)


def keep(values: "NDArray[np.float32]", name: str, dataset: Dataset, store: Store, *, seed: int, run: str) -> RunRecord:
    """Keep an embedding in the place of a job's output; the same one is kept once.

    Parameters
    ----------
    values
        Shape (cells, dimensions), in the order of the dataset's cells.
    name
        What it is called in tables.
    """
    import numpy as np

    shown = whole(dataset)
    image = ELSEWHERE + hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()
    fields: dict[str, Any] = {"model": name, "model_version": "", "variant": "default", "image": image, "verb": "embed"}
    fields |= {"params": {}, "seed": seed, "contract": CONTRACT_VERSION}
    id = identity({**fields, "items": [[dataset.spec.name, shown.id]]})
    job = Job(id=id, datasets=(JobDataset(name=dataset.spec.name, view=shown),), **fields)
    with store.workspace(id) as folder, explained(folder):
        output = folder / "output" / dataset.spec.name
        output.mkdir(parents=True)
        np.save(output / EMBEDDING, values)
        (output / CELLS).write_text("".join(f"{one}\n" for one in view.cells(dataset, shown)))
        digest = outputs.digest(output.parent, dataset.spec.name, "embed")
        item = ItemRecord(name=dataset.spec.name, state="ok", shape=values.shape, sha256=digest)
        record = RunRecord(
            job=job,
            state="ok",
            items=(item,),
            run=run,
            engine="elsewhere",
            started=now_utc(),
            seconds={},
            host=platform.node(),
            cellgauge=cellgauge.__version__,
            code=provenance.code(),
        )
        return store.keep(folder, record)
