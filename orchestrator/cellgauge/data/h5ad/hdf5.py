"""Opens pieces of an HDF5 file that nobody vouches for: plain values inside that very file, or a DatasetError."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Never

from cellgauge.errors import CellgaugeError, DatasetError

SMALL = 64 << 20
"""Bytes that an array may claim whatever lies behind it."""
EXPANSION = 1100
"""Bytes that one byte in the file can stand for; deflate reaches 1032."""
LARGEST_CHUNK = 1 << 30
"""Bytes of the largest piece that is unpacked at once."""

REFERENCE = 16
"""Bytes by which a text of any length is found."""
MOST = 1 << 20
"""Values of an attribute; the longest is the list of columns."""


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn whatever a library says about a damaged file into an error that tells what to do.

    Raises
    ------
    DatasetError
        For every exception that is not ours already.
    """
    try:
        yield
    except CellgaugeError:
        raise
    except Exception as problem:  # h5py, numpy, pandas and anndata raise many kinds on a damaged file
        refuse(path, reason(problem), problem)


def reason(problem: BaseException) -> str:
    """Say in one line what a library complains of; its last words are often the telling ones."""
    lines = [line for line in str(problem).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(problem).__name__


def refuse(path: Path, why: str, problem: BaseException | None = None) -> Never:
    """Say that a file cannot be read.

    Raises
    ------
    DatasetError
        Always.
    """
    hint = "It may be truncated or damaged. Fetch it again, or read it with anndata and write it anew."
    raise DatasetError(f"{path} is not a readable h5ad: {why}", hint) from problem


def child(group: Any, name: str) -> Any:
    """Open what lies under a name in a group, without ever following a link to elsewhere.

    Raises
    ------
    KeyError
        If nothing is there.
    ValueError
        If it is a soft or an external link, which could lead to any file of this machine.
    """
    import h5py

    for part in name.split("/"):
        if not isinstance(group, h5py.Group) or part in ("", "."):
            raise KeyError(f"there is no '{name}'")
        try:
            kind = group.id.links.get_info(part.encode("utf-8", "surrogateescape")).type
        except (KeyError, RuntimeError) as problem:
            raise KeyError(f"there is no '{name}'") from problem
        if kind != h5py.h5l.TYPE_HARD:
            raise ValueError(f"'{name}' is a link to elsewhere, which is not followed")
        group = group[part]
    if not isinstance(group, h5py.Group | h5py.Dataset):
        raise ValueError(f"'{name}' holds no data")
    return group


def has(group: Any, name: str) -> bool:
    """Tell whether something lies under a name, a link included."""
    import h5py

    for part in (parts := name.split("/"))[:-1]:
        if not has(group, part):
            return False
        group = child(group, part)
    return isinstance(group, h5py.Group) and bool(group.id.links.exists(parts[-1].encode("utf-8", "surrogateescape")))


def attribute(node: Any, name: str) -> Any:
    """Read an attribute: a string as str, an array of them as a list; None if it is not there.

    Raises
    ------
    ValueError
        If it is something that h5ad does not use: of some damaged types HDF5 reads beyond its memory.
    """
    import h5py
    import numpy as np

    if name not in node.attrs:
        return None
    found = h5py.h5a.open(node.id, name.encode())
    usual = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM, h5py.h5t.REFERENCE)
    if found.get_type().get_class() not in usual or math.prod(found.shape) > MOST:
        raise ValueError(f"the attribute {name} of {node.name} is of no usual kind")
    value = node.attrs[name]
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        return [one.decode() if isinstance(one, bytes) else str(one) for one in value.ravel()]
    return value


def plain(data: Any, dimensions: int = 1) -> Any:
    """Return a dataset whose values are numbers or text in this file, and as many as the file can hold.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    import h5py

    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"{data.name} is a group where an array belongs")
    if data.is_virtual or data.external:
        raise ValueError(f"{data.name} keeps its values in other files, which are not read")
    if data.shape is None or len(data.shape) != dimensions:
        raise ValueError(f"{data.name} has the shape {data.shape}, not {dimensions} dimension(s)")
    if not _is_plain(data.dtype):
        raise ValueError(f"{data.name} holds neither numbers nor text, but {data.dtype}")
    # A shape is a few bytes that a file may claim anything in; memory is taken for it before anything is read.
    stored = min(data.id.get_storage_size(), Path(data.file.filename).stat().st_size)
    if math.prod(data.shape) * data.dtype.itemsize > max(SMALL, stored * EXPANSION):
        raise ValueError(f"{data.name} claims the shape {data.shape}, but only {stored} bytes lie behind it")
    if data.chunks and math.prod(data.shape):
        chunk = math.prod(data.chunks) * data.dtype.itemsize
        if chunk > LARGEST_CHUNK:
            raise ValueError(f"{data.name} can only be read in pieces of {chunk >> 20} MiB (HDF5 chunks)")
    return data


def _is_plain(dtype: Any) -> bool:
    import h5py

    if dtype.names:
        return all(_is_plain(dtype[name]) for name in dtype.names)
    return dtype.kind in "biuf" or h5py.check_string_dtype(dtype) is not None


def values(data: Any) -> Any:
    """Read a whole one-dimensional dataset; text comes as an object array of str."""
    import h5py

    data = plain(data)
    if h5py.check_string_dtype(data.dtype) is None:
        return data[()]
    if not _text_fits(data):
        raise ValueError(f"{data.name} claims more text than the file can hold")
    return data.asstr("utf-8")[()]


def _text_fits(data: Any) -> bool:
    """Tell whether texts can be as long as they say; HDF5 takes memory for them, up to 4 GiB each, before it looks.

    Each is stored as its length (4 bytes), and the address (8) and number (4) of its heap and object. Those that are
    compressed are left to the checksum that compression comes with.
    """
    import h5py
    import numpy as np

    stored, size = data.id, Path(data.file.filename).stat().st_size
    if h5py.check_string_dtype(data.dtype).length is not None or data.file.userblock_size:
        return True
    if data.chunks is None:
        places = [(stored.get_offset(), data.size * REFERENCE)]
    elif stored.get_create_plist().get_nfilters():
        return True
    else:
        if stored.get_num_chunks() * math.prod(data.chunks) * REFERENCE > size:
            return False
        places = []
        stored.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))  # each in turn would be n²
    total = 0
    with Path(data.file.filename).open("rb") as file:
        for place, length in places:
            if place is None or place >= size:  # it lies in the header, or nowhere
                continue
            file.seek(place)
            found = file.read(length)
            lengths = np.frombuffer(found[: len(found) // REFERENCE * REFERENCE], dtype="<u4")
            total += int(lengths[:: REFERENCE // 4].sum(dtype=np.int64))
    return total <= size
