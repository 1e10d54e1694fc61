"""Packs small arrays into one file, and reads them again without trust: no pickle, no size that it cannot have."""

import io
import math
import os
import secrets
import threading
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 64 << 20
"""Bytes that all arrays of a file may have, unpacked."""
LONGEST = 128
"""Characters of a name."""
SAFE = " /+=,@"
"""Beside letters, digits and `_.-~`: what a name keeps in the file; all else is percent-escaped there."""
KINDS = "biufU"
"""Numbers and text."""
ONE_AT_A_TIME = threading.Lock()
"""numpy reads a header with `ast`, whose count of its depth is one for all threads in Python 3.11
(python/cpython#106905): the error that may come of it would be blamed on whoever wrote the file."""


def plain(name: str, value: Any) -> "NDArray[Any] | str":
    """Make an array of numbers or text of what a task gives, or say why it cannot be kept."""
    import numpy as np

    if not 0 < len(name) <= LONGEST or not name.isprintable() or name[0] in "./" or ".." in name:
        return f"its name is none that can be kept: {name[:60]!r}"
    array = np.asarray(value)
    if array.dtype.kind == "O" and all(isinstance(one, str) for one in array.ravel()):
        array = array.astype(str)
    if array.dtype.kind not in KINDS:
        return f"it holds neither numbers nor text, but {array.dtype}"
    return np.ascontiguousarray(array) if array.ndim else array


def pack(arrays: Mapping[str, "NDArray[Any]"]) -> bytes:
    """Write arrays of numbers and text, by name, as an .npz file: the same arrays give the same bytes."""
    import numpy as np

    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            with ONE_AT_A_TIME:
                np.lib.format.write_array(one, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{quote(name, SAFE)}.npy"), one.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return found.getvalue()


def unpack(content: bytes, wanted: Collection[str] | None = None) -> "dict[str, NDArray[Any]]":
    """Read arrays by name; None: all of them.

    Raises
    ------
    ValueError
        If it is no such file, or one of them is not what it says.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {unquote(one.filename.removesuffix(".npy")): one for one in archive.infolist()}
            chosen = members if wanted is None else {name: members[name] for name in wanted if name in members}
            if sum(one.file_size for one in chosen.values()) > 2 * LIMIT:
                raise ValueError("it unpacks to more than such a file may hold")
            for name, member in chosen.items():
                found[name] = _array(archive.read(member))
    except ValueError:
        raise
    except Exception as problem:  # zipfile, zlib and numpy's parser raise many kinds on a damaged file
        raise ValueError(f"it is no .npz file: {problem}") from problem
    return found


def _array(content: bytes) -> "NDArray[Any]":
    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with ONE_AT_A_TIME:
        shape, fortran, dtype = read(file)
    rest = content[file.tell() :]
    if dtype.kind not in KINDS or (fortran and len(shape) > 1) or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"its header says {dtype} {shape}, and {len(rest)} bytes follow")
    if not dtype.itemsize:  # texts that are all empty
        return np.zeros(shape, dtype)
    return np.frombuffer(rest, dtype).reshape(shape)


def write(path: Path, content: bytes) -> None:
    """Write bytes so that a reader sees all of them or nothing."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
