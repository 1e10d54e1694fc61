"""Finds, before HDF5 opens a file, the damage on which it would never return.

Text in HDF5 lies in global heaps (https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, III.E): objects
behind one another, each with its size. The library steps from one to the next by that size; where it is 0, as in a
file that a broken download or disk has filled with zeros, it stands still for ever, and where it is immense, it goes in
circles: inside one call that no signal and no time limit ends.
"""

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIGNATURE = b"GCOL\x01"
HEADER = 16
"""Bytes before the first object of a heap, and before the content of an object."""
WINDOW = 8 << 20
"""Bytes looked at at once."""
OBJECT = struct.Struct("<H6xQ")
"""What a heap says of an object: its number, and the size of its content."""
PAGE = 4096
"""Bytes of a heap read at once: most heaps have as many."""
PATIENCE = 16 << 20
"""Bytes of heaps that are followed beyond twice the file's length. Heaps do not overlap, so a good file needs less."""


def endless(path: Path) -> bool:
    """Tell whether a file holds a heap in which HDF5 would stand still, or too many that overlap."""
    length = path.stat().st_size
    left = 2 * length + PATIENCE
    with path.open("rb", buffering=0) as file:
        for at in _found(file):
            followed = _followed(file.fileno(), at, length, left)
            if followed is None or (left := left - followed) < 0:
                return True
    return False


def _found(file: Any) -> list[int]:
    """Find where heaps begin, or what looks like it; one may lie across two windows."""
    window, found, start, kept = bytearray(WINDOW), list[int](), 0, 0
    overlap = len(SIGNATURE) - 1
    find = _finder(window)
    while read := file.readinto(memoryview(window)[kept:]):
        length = kept + read
        at = find(0, length)
        while at >= 0:
            found.append(start + at)
            at = find(at + 1, length)
        kept = min(overlap, length)
        window[:kept] = window[length - kept : length]
        start += length - kept
    return found


def _finder(window: bytearray) -> Callable[[int, int], int]:
    """Search a window for the signature, between two places; -1 if it is not there.

    By the C library where it can: Python's own search takes four times as long, which counts in files of gigabytes.
    """
    memmem = getattr(ctypes.CDLL(None), "memmem", None)
    if memmem is None:
        return lambda start, end: window.find(SIGNATURE, start, end)
    memmem.restype, memmem.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] * 2
    needle = ctypes.create_string_buffer(SIGNATURE, len(SIGNATURE))
    base = ctypes.addressof((ctypes.c_char * len(window)).from_buffer(window))

    def find(start: int, end: int) -> int:
        at = memmem(base + start, end - start, ctypes.addressof(needle), len(SIGNATURE))
        return -1 if at is None else int(at) - base

    return find


def _followed(handle: int, at: int, length: int, most: int) -> int | None:
    """Step through a heap as HDF5 does, and count the bytes on the way, until past `most`; None: it never ends."""
    size = int.from_bytes(os.pread(handle, 8, at + 8), "little")
    if at + size > length:
        return HEADER  # HDF5 sees that, too
    page, start, place, seen = b"", 0, HEADER, HEADER
    while place + HEADER <= size and seen <= most:
        if place + HEADER > start + len(page):
            page, start = os.pread(handle, PAGE, at + place), place
        number, taken = OBJECT.unpack_from(page, place - start)
        # As C counts, in 64 bits: a size of almost 2^64 is a small step, or one backwards.
        step = taken if number == 0 else (HEADER + (taken + 7) % 2**64 // 8 * 8) % 2**64
        if not 0 < step < 2**63:
            return None
        place += step
        seen += max(min(step, size), HEADER)
    return seen
