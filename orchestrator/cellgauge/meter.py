"""Watches how much memory is in use on GPUs while a job holds them."""

import threading
from collections.abc import Sequence
from typing import Self

from cellgauge.errors import GpuError
from cellgauge.gpus import Device, Inventory
from cellgauge.specs import GpuUse

PACE = 1.0


class Meter:
    """Samples the memory in use on devices, between entering and leaving a block."""

    def __init__(self, devices: Sequence[Device], inventory: Inventory | None) -> None:
        self._devices, self._inventory = devices, inventory
        self._peaks: dict[str, int] = {}
        self.lost = ""
        """Why a device could no longer be asked, if so."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._devices and self._inventory is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident:
            self._thread.join()

    def uses(self) -> tuple[GpuUse, ...]:
        """What each device is, and the most that was in use on it."""
        return tuple(
            GpuUse(
                uuid=one.uuid,
                name=one.name,
                driver=one.driver,
                memory_mb=one.memory_mb,
                peak_memory_mb=self._peaks.get(one.uuid),
            )
            for one in self._devices
        )

    def _watch(self) -> None:
        while True:
            for one in self._devices:
                self._look(one)
            if self._done.wait(PACE):
                return

    def _look(self, one: Device) -> None:
        try:
            used = self._inventory.used_mb(one.uuid) if self._inventory else 0
        except GpuError as problem:
            if problem.lasting:
                self.lost = problem.message
        else:
            self._peaks[one.uuid] = max(used, self._peaks.get(one.uuid, 0))
