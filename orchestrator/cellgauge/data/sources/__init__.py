"""Where datasets come from: one small file for each kind of source, found by the scheme of an address.

A new kind is one new file here, with `SCHEMES` and a function `source` that gives a `Local` or a `Remote`.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Head:
    """What a source says of a file before it is read."""

    size: int | None
    """Bytes; None where it does not say."""
    etag: str = ""
    """Tells one state of the file from another; empty where it does not say."""
    ranges: bool = False
    """True: any part of it can be read."""
    address: str = ""
    """Where it is read from, where that is another address than the one that was asked."""
    version: str = ""
    """What the source itself calls this state of the file."""


class Fault(Exception):
    """A source does not give what was asked."""

    def __init__(self, message: str, hint: str = "", *, passing: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.passing = passing
        """True: another attempt may end better."""
        self.wait = wait
        """Seconds that the source asks to be left alone."""


class Changed(Exception):
    """The file is another one than its head told of."""


@runtime_checkable
class Local(Protocol):
    """Files that are on this machine already, and are used where they lie."""

    def path(self, address: str) -> Path:
        """Turn an address into a path, without looking whether it is there.

        Raises
        ------
        Fault
            If it can be none.
        """
        ...


class Remote(Protocol):
    """Files that have to be downloaded. Its methods are called by several threads at once."""

    def head(self, address: str) -> Head:
        """Ask what there is, without reading it.

        Raises
        ------
        Fault
            If there is nothing, or nobody answers.
        """
        ...

    def read(self, address: str, head: Head, start: int, stop: int | None) -> Iterator[bytes]:
        """Read the bytes from `start` to before `stop`, in pieces; without `head.ranges` only from 0 to the end.

        Raises
        ------
        Changed
            If it is not the file that `head` told of.
        Fault
            If it cannot be read.
        """
        ...


def find(scheme: str, cellxgene: str) -> Local | Remote | None:
    """Find what reads addresses of a scheme; None if nothing does.

    Parameters
    ----------
    cellxgene
        Where CELLxGENE Discover is asked.
    """
    for module in _modules():
        if scheme in module.SCHEMES:
            made: Local | Remote = module.source(scheme, cellxgene)
            return made
    return None


def schemes() -> list[str]:
    """Every scheme that can be read."""
    return [scheme for module in _modules() for scheme in module.SCHEMES]


def _modules() -> Iterator[Any]:
    for module in pkgutil.iter_modules(__path__):
        yield importlib.import_module(f"{__name__}.{module.name}")
