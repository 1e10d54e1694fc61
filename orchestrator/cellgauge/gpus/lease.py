"""Leases GPUs with one lock file each, that all processes and users of a machine respect."""

import fcntl
import functools
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cellgauge.errors import GpuError
from cellgauge.gpus.device import Device, Inventory
from cellgauge.gpus.lock import Lock, named
from cellgauge.gpus.nvml import OTHERWISE

EMPTY = 0.9
"""Part of a device that must be free for a model that does not say how much it needs."""


class Stopped(Exception):
    """Waiting for a GPU was called off."""


@dataclass(frozen=True)
class Lessor:
    """Lends devices, each to one job at a time, or to several by the memory that they declare."""

    devices: tuple[Device, ...]
    """Those that may be used."""
    inventory: Inventory
    folder: Path
    """Of lock files: on a local disk, the same for all users of the machine."""
    share: bool = False
    """Several models on one device, by declared memory; one that declares none still gets a whole device."""

    def fits(self, count: int, memory_mb: int) -> str:
        """Tell why a job can never have what it wants; empty if it can."""
        large = self.candidates(memory_mb)
        if len(large) >= count:
            return ""
        listed = ", ".join(f"{one} has {one.memory_mb:,} MB" for one in self.devices) or "none may be used"
        wanted = "1 GPU" if count == 1 else f"{count} GPUs"
        if len(self.devices) >= count:
            wanted += f" with {memory_mb:,} MB" + (" each" if count > 1 else "")
        return f"{wanted} needed, {len(large)} there: {listed}"

    def candidates(self, memory_mb: int) -> tuple[Device, ...]:
        """Devices that are large enough, as far as is known."""
        return tuple(one for one in self.devices if one.memory_mb >= memory_mb or not one.memory_mb)

    @contextmanager
    def lease(
        self,
        count: int,
        memory_mb: int,
        cancel: Callable[[], bool],
        *,
        wait: float | None = None,
        busy: Callable[[], Collection[str]] = lambda: (),
        queued: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Device, ...]]:
        """Wait for devices, and hold them until the end of the block.

        Parameters
        ----------
        count
            How many.
        memory_mb
            That must be free on each; 0: not known, so each must be all but empty.
        cancel
            Asked while waiting; true ends it with `Stopped`.
        wait
            Seconds after which to give up with a GpuError; None: never.
        busy
            UUIDs of devices on which a container runs: not leased, whoever holds their locks.
        queued
            Told once, where they cannot be had at once.
        """
        if never := self.fits(count, memory_mb):
            raise GpuError(never, f"Name other GPUs with --gpus. {OTHERWISE}", lasting=True)
        lease = Lease(self, count, memory_mb, busy)
        try:
            lease.wait(cancel, wait, queued)
            yield lease.devices
        finally:
            lease.close()


@dataclass(frozen=True)
class _Refusal:
    """Why a device cannot be had now."""

    by: Literal["awaited", "leased", "shared", "foreign", "gone"]
    """`leased` and `shared` end by themselves: waiting in front of them pays."""
    why: str


@dataclass(eq=False)
class Lease:
    """What one job holds: devices, and, as long as it collects them, the gates before them.

    Whoever wants a device passes its gate first. Who needs several devices, or waits for sharers to go, stays in the
    gates, so that smaller jobs do not slip by for ever. Nobody waits who lacks a gate, so nobody waits for a waiter.
    """

    lessor: Lessor
    count: int
    memory_mb: int
    busy: Callable[[], Collection[str]]
    held: dict[Device, ExitStack] = field(default_factory=dict)
    gates: dict[Device, ExitStack] = field(default_factory=dict)
    refused: dict[Device, _Refusal] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[Device, ...]:
        """Those that it holds."""
        return tuple(one for one in self.lessor.devices if one in self.held)

    def close(self) -> None:
        """Give everything back."""
        for stacks in (self.held, self.gates):
            while stacks:
                stacks.popitem()[1].close()

    def wait(self, cancel: Callable[[], bool], limit: float | None, queued: Callable[[], None]) -> None:
        """Collect until there is enough."""
        started, pause, told = time.monotonic(), 0.05, False
        while not cancel():
            if self.collect():
                return
            left = 1.0 if limit is None else started + limit - time.monotonic()
            if left <= 0:
                raise GpuError(self._told(limit or 0), f"Try later, or name others with --gpus. {OTHERWISE}")
            if not told:
                queued()
                told = True
            pause = 0.1 if self.gates else min(1.0, pause * 1.2)
            time.sleep(min(left, pause * (1 + secrets.randbelow(100) / 100) / 2))
        raise Stopped

    def collect(self) -> bool:
        """Take what can be had now, and tell whether that is enough; if not, keep it only if the rest will come."""
        self.refused.clear()
        using = functools.cache(self.busy)
        candidates = self.lessor.candidates(self.memory_mb)
        for device in candidates:
            if len(self.held) < self.count and device not in self.held and (refusal := self._take(device, using)):
                self.refused[device] = refusal
        reasons = [one.by for one in self.refused.values()]
        gone = [f"{device}: {one.why}" for device, one in self.refused.items() if one.by == "gone"]
        if len(candidates) - len(gone) < self.count:
            raise GpuError("; ".join(gone), OTHERWISE, lasting=True)
        if len(self.held) == self.count:
            while self.gates:
                self.gates.popitem()[1].close()
            return True
        coming = len(self.held) + reasons.count("leased") + reasons.count("shared")
        # Who needs one device that is leased holds nothing yet: it takes its chances with all others.
        if coming < self.count or (self.count == 1 and "shared" not in reasons):
            self.close()
        return False

    def _told(self, limit: float) -> str:
        small = set(self.lessor.devices) - set(self.lessor.candidates(self.memory_mb))
        said = []
        for device in self.lessor.devices:
            why = self.refused[device].why if device in self.refused else "is free"
            said.append(f"{device} {f'has only {device.memory_mb:,} MB' if device in small else why}")
        what = "no GPU" if self.count == 1 else f"no {self.count} GPUs"
        return f"{what} became free within {limit:g} s: {', '.join(said)}"

    def _take(self, device: Device, using: Callable[[], Collection[str]]) -> _Refusal | None:
        """Pass a device's gate, and lock it; or tell why not."""
        with ExitStack() as gate:
            if device not in self.gates:
                lock = Lock(self._path(device, "gate"), gate)
                if not lock.take():
                    return _Refusal("awaited", f"is awaited by {lock.holder()}")
                lock.sign()
                self.gates[device] = gate.pop_all()
        with ExitStack() as stack:
            shared = self.lessor.share and self.memory_mb > 0 and device.memory_mb > 0
            refusal = self._share(device, using, stack) if shared else self._own(device, using, stack)
            if not refusal:
                self.held[device] = stack.pop_all()
        return refusal

    def _own(self, device: Device, using: Callable[[], Collection[str]], stack: ExitStack) -> _Refusal | None:
        lock = Lock(self._path(device, "lock"), stack)
        if lock.take():
            lock.sign()
            return self._unfit(device, using)
        if sharers := self._sharers(device):
            return _Refusal("shared", f"is shared by {', '.join(who for _, who in sharers)}")
        return _Refusal("leased", f"is leased to {lock.holder()}")

    def _share(self, device: Device, using: Callable[[], Collection[str]], stack: ExitStack) -> _Refusal | None:
        lock = Lock(self._path(device, "lock"), stack)
        if not lock.take(fcntl.LOCK_SH):
            return _Refusal("leased", f"is leased to {lock.holder()}")
        sharers = self._sharers(device)
        promised = sum(mb for mb, _ in sharers)
        if promised + self.memory_mb > device.memory_mb:
            others = ", ".join(who for _, who in sharers)
            return _Refusal("shared", f"has {promised:,} of {device.memory_mb:,} MB promised to {others}")
        # Where sharers live, the containers on it are theirs.
        if refusal := self._unfit(device, (lambda: ()) if sharers else using):
            return refusal
        slot = Lock(self._path(device, f"{secrets.token_hex(8)}.share"), stack, passing=True)
        slot.take()
        slot.sign(f"{self.memory_mb} ")
        return None

    def _unfit(self, device: Device, using: Callable[[], Collection[str]]) -> _Refusal | None:
        """Tell what else is on a device that nobody leases."""
        if device.uuid in using():
            return _Refusal("foreign", "is used by a running container")
        try:
            free = device.memory_mb - self.lessor.inventory.used_mb(device.uuid)
        except GpuError as problem:
            return _Refusal("gone" if problem.lasting else "foreign", problem.message)
        if device.memory_mb and free < (self.memory_mb or EMPTY * device.memory_mb):
            return _Refusal("foreign", f"has {max(0, free):,} of {device.memory_mb:,} MB free")
        return None

    def _sharers(self, device: Device) -> list[tuple[int, str]]:
        """MB and holder of each live slot; remove the dead ones. Called within the gate: none is being made."""
        living = []
        for path in sorted(self.lessor.folder.glob(self._path(device, "*.share").name)):
            with ExitStack() as stack, suppress(GpuError):  # gone meanwhile, or no slot at all
                slot = Lock(path, stack, make=False)
                if slot.take():
                    with suppress(OSError):  # another user's: in a sticky folder only they remove it
                        path.unlink(missing_ok=True)
                    continue
                memory, _, who = slot.read().partition(" ")
                told = int(memory) if memory.isdecimal() and len(memory) < 10 else device.memory_mb
                living.append((told, named(who)))
        return living

    def _path(self, device: Device, kind: str) -> Path:
        return self.lessor.folder / f"{device.uuid.replace('/', '_')}.{kind}"
