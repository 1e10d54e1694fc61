"""Every error that can reach a person, each with an exit code and a hint.

* CellgaugeError                1
  * UsageError                  2
    * UnknownNameError
  * CatalogError                3
  * DatasetError                4
    * FetchError
      * NotHereError
  * EngineError                 5
    * ImageError
    * GpuError
  * StorageError                6
  * ContractViolation           7   (caught by `execute`, becomes a run record)
  * Interrupted               130

Exit code 1 is also that of a run in which a planned result is missing.
"""

import difflib
from collections.abc import Iterable
from typing import Literal

Phase = Literal["pull", "prepare", "start", "run", "check", "score"]
"""What was being done."""


class CellgaugeError(Exception):
    """Something went wrong that a person can act on."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to do next; may be empty."""


class UsageError(CellgaugeError):
    """The command's words are off."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not known, with the nearest known one as the hint."""

    def __init__(self, kind: str, name: str, known: Iterable[str], more: str = "") -> None:
        plain = {one.lower(): one for one in sorted(known)}
        near = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=0.5)
        listed = ", ".join([*plain.values()][:12]) + (", …" if len(plain) > 12 else "")
        hint = f"Did you mean '{plain[near[0]]}'?" if near else f"Known: {listed or 'none'}."
        super().__init__(f"no {kind} named '{name}'", f"{hint} {more}".strip())


class CatalogError(CellgaugeError):
    """`datasets.yaml` or a `model.yaml` is missing or malformed."""

    exit_code = 3


class DatasetError(CellgaugeError):
    """A dataset cannot be used: unreadable, empty, not what the catalogue says."""

    exit_code = 4


class FetchError(DatasetError):
    """A dataset cannot be had from its source."""


class NotHereError(FetchError):
    """A dataset would have to be pulled first, and nothing is to be pulled."""


class EngineError(CellgaugeError):
    """The engine cannot run anything: it does not answer, or refuses."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", *, lasting: bool = False, phase: "Phase | None" = None) -> None:
        super().__init__(message, hint)
        self.lasting = lasting
        """True if another attempt would end the same way."""
        self.phase = phase


class ImageError(EngineError):
    """A model's image cannot be found, pulled or built."""

    def __init__(self, message: str, hint: str = "", *, lasting: bool = False, phase: "Phase | None" = "pull") -> None:
        super().__init__(message, hint, lasting=lasting, phase=phase)


class GpuError(EngineError):
    """A GPU was asked for and cannot be had: no driver, no such device, not enough memory."""


class StorageError(CellgaugeError):
    """Results cannot be written or read: disk full, no permission, damaged file."""

    exit_code = 6


class ContractViolation(CellgaugeError):
    """A model's output breaks the contract."""

    exit_code = 7


class Interrupted(CellgaugeError):
    """Ctrl-C."""

    exit_code = 130
