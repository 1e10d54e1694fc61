"""Reads what a model wrote, trusting nothing: no links, no pickle, no sizes, no row order."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cellgauge.arrays import ONE_AT_A_TIME
from cellgauge.errors import ContractViolation, UsageError
from cellgauge.specs import Verb
from cellgauge.words import by_line
from cellgauge_model.contract import CELLS, CONTRACT_VERSION, EMBEDDING, PREDICTION, PROGRESS, RESULT, RunResult

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from pydantic import TypeAdapter

RESULT_LIMIT = 4 << 20
ARRAY_LIMIT = 64 << 30
PROGRESS_LIMIT = 1 << 30
MAX_DIMENSIONS = 100_000
HEADER_LIMIT = 64 << 10
WARNINGS, WARNING_LENGTH = 50, 500
"""How many of a model's warnings are kept, and how many characters of each."""


@contextmanager
def opened(folder: Path, name: str, limit: int) -> Iterator[BinaryIO]:
    """Open a plain file directly in a plain folder, following no link.

    Raises
    ------
    ContractViolation
        If either is missing, a link, a device, or the file is larger than `limit` bytes.
    """
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as problem:
        raise ContractViolation(f"output folder '{folder.name}': {problem.strerror}") from problem
    try:
        # Non-blocking, or a FIFO would wait for a writer for ever.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as problem:
        raise ContractViolation(f"{folder.name}/{name}: {problem.strerror}") from problem
    finally:
        os.close(directory)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)  # a folder cannot become a file object, and would stay open
        raise ContractViolation(f"{folder.name}/{name} is not a plain file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > limit:
            raise ContractViolation(f"{folder.name}/{name} has {status.st_size} bytes, more than the {limit} allowed")
        yield file


def result(output: Path, item: str) -> RunResult | None:
    """Read an item's `result.json`; None if the model never wrote one.

    Raises
    ------
    ContractViolation
        If it is not one of this contract version.
    """
    from pydantic import ValidationError

    if not told(output, item):
        return None
    with opened(output / item, RESULT, RESULT_LIMIT) as file:
        content = file.read()
    try:
        with ONE_AT_A_TIME:  # pydantic may parse the source of the class when the first one asks
            found = _validator().validate_python(json.loads(content, parse_constant=_no_number))
        # What cannot be written as JSON again must not get into a record: 1e999, "inf", half a surrogate pair.
        json.dumps(dataclasses.asdict(found), allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        if not isinstance(problem, ValidationError):
            raise ContractViolation(f"{item}/{RESULT} is not JSON: {short(problem)}") from problem
        first = problem.errors()[0]
        field = short(".".join(map(str, first["loc"]))) or "the file"
        raise ContractViolation(f"{item}/{RESULT}: {field}: {short(first['msg'])}") from problem
    if found.contract != CONTRACT_VERSION:
        raise ContractViolation(f"{item}/{RESULT} is of contract version {found.contract}, not {CONTRACT_VERSION}")
    if found.status not in ("ok", "failed", "not_applicable"):
        raise ContractViolation(f"{item}/{RESULT}: unknown status '{short(found.status)}'")
    return dataclasses.replace(found, warnings=[text[:WARNING_LENGTH] for text in found.warnings[:WARNINGS]])


def short(text: object) -> str:
    """Cut short what a model may have made long."""
    words = str(text)
    return words if len(words) <= 200 else f"{words[:200]}…"


@dataclass(frozen=True)
class Progress:
    """How far a model says it is."""

    item: str
    done: int | None = None
    total: int | None = None


def told(output: Path, item: str) -> bool:
    """Tell whether a model has left a result for an item, whatever it is worth."""
    return os.path.islink(output / item) or os.path.lexists(output / item / RESULT)  # noqa: PTH114 - it never raises


def progress(output: Path) -> Progress | None:
    """Read the last thing that a running model said of its progress; None if it said nothing that can be read."""
    try:
        with opened(output, PROGRESS, PROGRESS_LIMIT) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().splitlines()
    except ContractViolation:
        return None
    for line in reversed(lines):
        try:
            said = json.loads(line)
            if said["state"] == "running":
                numbers = [int(said[name]) if name in said else None for name in ("done", "total")]
                return Progress(str(said["item"])[:64], *numbers)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue  # half a line, or nonsense
    return None


@functools.cache
def _validator() -> "TypeAdapter[RunResult]":
    from pydantic import TypeAdapter

    return TypeAdapter(RunResult)


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}")


def digest(output: Path, item: str, verb: Verb) -> str:
    """Hash what an item produced.

    Raises
    ------
    ContractViolation
        If it is not there, or no plain files.
    """
    found = hashlib.sha256()
    for name in (EMBEDDING, CELLS) if verb == "embed" else (PREDICTION,):
        with opened(output / item, name, ARRAY_LIMIT) as file:
            for block in iter(lambda file=file: file.read(1 << 20), b""):  # type: ignore[misc]
                found.update(block)
    return found.hexdigest()


def embedding(output: Path, item: str, cells: Sequence[str]) -> "NDArray[np.float32]":
    """Read an item's embedding with its rows in the order of `cells`.

    Raises
    ------
    ContractViolation
        If it is not a finite float32 matrix with exactly one row for each cell.
    """
    import pandas as pd

    array, index = _named(output, item, len(cells))
    order = index.get_indexer(pd.Index(cells))
    if (order < 0).any():
        raise ContractViolation(f"{int((order < 0).sum())} of {len(cells)} cells have no row in {EMBEDDING}")
    return array[order]


def rows(output: Path, item: str, cells: Sequence[str]) -> "NDArray[np.float32]":
    """Read the rows of some cells of an item's embedding, in their order.

    Raises
    ------
    UsageError
        If a cell is not in it.
    ContractViolation
        If the files are not as the contract says.
    """
    import pandas as pd

    array, index = _named(output, item)
    order = index.get_indexer(pd.Index(cells))
    if (order < 0).any():
        hint = "They are found by obs_names: these must be as in the file that was embedded."
        raise UsageError(f"{int((order < 0).sum())} of {len(cells)} cells were not in the dataset", hint)
    return array[order]


def _named(output: Path, item: str, most: int = 1 << 40) -> "tuple[NDArray[np.float32], pd.Index[str]]":
    """Read an embedding and the id of each of its rows."""
    import pandas as pd

    array = _array(output / item, most)
    with opened(output / item, CELLS, 256 * len(array) + 4096) as file:
        try:
            names = by_line(file.read().decode())
        except UnicodeDecodeError as problem:
            raise ContractViolation(f"{item}/{CELLS} is not UTF-8 text") from problem
    if len(names) != len(array):
        raise ContractViolation(f"{EMBEDDING} has {len(array)} rows, {CELLS} {len(names)} lines")
    index = pd.Index(names)
    if not index.is_unique:
        raise ContractViolation(f"{CELLS} repeats the cell '{short(index[index.duplicated()][0])}'")
    return array, index


def _array(folder: Path, most: int) -> "NDArray[np.float32]":
    import numpy as np

    with opened(folder, EMBEDDING, ARRAY_LIMIT) as file:
        head = io.BytesIO(file.read(HEADER_LIMIT))  # it says itself how long it is: up to 4 GiB
        try:
            version = np.lib.format.read_magic(head)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
                version
            ]
            with ONE_AT_A_TIME:
                shape, fortran, dtype = read_header(head)
        except Exception as problem:  # numpy's own parser raises many kinds on a made-up header
            raise ContractViolation(f"{EMBEDDING} is not an .npy file of version 1 or 2") from problem
        if dtype != np.dtype("<f4"):
            raise ContractViolation(f"{EMBEDDING} holds {dtype}, not float32")
        if fortran and len(shape) == 2 and min(shape) > 1:
            raise ContractViolation(f"{EMBEDDING} is in Fortran order, not C order")
        if len(shape) != 2 or not 1 <= shape[1] <= MAX_DIMENSIONS:
            raise ContractViolation(f"{EMBEDDING} has shape {shape}, not (cells, dimensions)")
        if shape[0] > most:
            raise ContractViolation(f"{EMBEDDING} has {shape[0]} rows for {most} cells")
        # Checked before anything is allocated: a header may claim any size.
        expected = file.seek(head.tell()) + 4 * shape[0] * shape[1]
        actual = os.fstat(file.fileno()).st_size
        if actual != expected:
            raise ContractViolation(f"{EMBEDDING} has {actual} bytes, its header promises {expected}")
        array = np.frombuffer(file.read(), dtype="<f4").reshape(shape)
    broken = ~np.isfinite(array).all(axis=1)
    if broken.any():
        raise ContractViolation(f"{EMBEDDING} holds NaN or infinite values in {int(broken.sum())} of {len(array)} rows")
    return array
