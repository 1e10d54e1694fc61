"""What a GPU is, and who tells which there are: the driver's library, or a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, ValidationError

from cellgauge.errors import GpuError, UsageError
from cellgauge.specs import Spec


class Device(Spec):
    """One GPU, or one MIG instance of one. MB are 1024 × 1024 bytes, as nvidia-smi counts."""

    index: str = Field(pattern=r"^[0-9]+(:[0-9]+)?$")
    """`0`, or `0:1` for MIG instance 1 of device 0."""
    uuid: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_-]{0,95}$")
    name: str
    memory_mb: int = Field(ge=0)
    """Of the whole device; 0 where the driver does not tell, for instance if it is the processor's."""
    free_mb: int = Field(ge=0)
    """When it was looked at."""
    driver: str

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name})"


class Inventory(Protocol):
    """Who knows which devices there are."""

    def devices(self) -> list[Device]:
        """Look; a GpuError says what is missing."""

    def used_mb(self, uuid: str) -> int:
        """Memory in use on a device now; a GpuError says that it is gone."""


class Listed:
    """Devices out of a JSON list, read anew each time: for tests and for trying things out without a GPU."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def devices(self) -> list[Device]:
        try:
            entries = json.loads(self.path.read_text())
        except (OSError, ValueError) as problem:
            raise GpuError(f"{self.path}: {getattr(problem, 'strerror', None) or problem}", lasting=True) from problem
        if not isinstance(entries, list) or not entries:
            raise GpuError(f"{self.path}: not a list of one device or more", lasting=True)
        found = [self._read(n, entry) for n, entry in enumerate(entries)]
        for what in ("index", "uuid"):
            if len({getattr(one, what) for one in found}) < len(found):
                raise GpuError(f"{self.path}: two devices have the same {what}", lasting=True)
        return found

    def used_mb(self, uuid: str) -> int:
        for one in self.devices():
            if one.uuid == uuid:
                return one.memory_mb - one.free_mb
        raise GpuError(f"{self.path}: there is no GPU {uuid} any more", lasting=True)

    def _read(self, number: int, entry: Any) -> Device:
        optional = {"name": "listed", "driver": ""}
        if isinstance(entry, dict):
            entry = {**optional, "free_mb": entry.get("memory_mb"), **entry}
        try:
            return Device.model_validate(entry)
        except ValidationError as problem:
            said = {".".join(map(str, one["loc"])): one["msg"] for one in problem.errors()}
            words = "; ".join(f"{name or 'entry'}: {text}" for name, text in said.items())
            raise GpuError(f"{self.path}: device {number}: {words}", lasting=True) from problem


def choose(devices: Sequence[Device], wanted: str) -> list[Device]:
    """Pick devices by `all`, `none`, or a comma list of indices and (beginnings of) UUIDs."""
    if wanted.strip() in ("all", "none"):
        return list(devices) if wanted.strip() == "all" else []
    chosen: list[Device] = []
    for word in map(str.strip, wanted.split(",")):
        found = [one for one in devices if word in (one.index, one.uuid)]
        found = found or [one for one in devices if word and one.uuid.lower().startswith(word.lower())]
        if len(found) != 1:
            listed = "; ".join(f"{one.index}: {one.name}, {one.uuid}" for one in devices)
            problem = f"'{word}' begins the UUIDs of {len(found)} GPUs" if found else f"no GPU '{word}'"
            raise UsageError(problem, f"There is {listed or 'none'}. Or 'all', or 'none'.")
        chosen += [one for one in found if one not in chosen]
    return chosen
