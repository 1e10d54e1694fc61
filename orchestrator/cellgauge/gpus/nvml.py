"""Asks the NVIDIA driver's library which GPUs there are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from cellgauge.errors import GpuError
from cellgauge.gpus.device import Device

T = TypeVar("T")
MB = 1024 * 1024
OTHERWISE = "Or run on the CPU with --gpus none."
SAID = {
    4: ("the NVIDIA driver denies this user the GPUs", "Ask for access to /dev/nvidia*, often by the group 'video'."),
    9: ("the NVIDIA driver is not loaded", "See what nvidia-smi says; a new kernel needs the driver built anew."),
    12: (
        "the NVIDIA driver is not installed: its library libnvidia-ml.so.1 was not found",
        "Install the driver; within a container, start that with --gpus all.",
    ),
    15: ("the NVIDIA driver lost a GPU", "Restart the machine; `dmesg | grep -i xid` tells more."),
    16: ("a GPU has to be reset", "See nvidia-smi, or restart the machine."),
    18: ("the NVIDIA driver and its library differ in version", "The driver was updated: restart the machine."),
}
"""NVML's codes that a person can act on: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html"""


class Nvml:
    """The devices of this machine, as NVIDIA's library tells; MIG instances instead of their parent."""

    def devices(self) -> list[Device]:
        found: list[Device] = []
        lost = []
        with _nvml() as nvml:
            driver = _ask(nvml, nvml.nvmlSystemGetDriverVersion, "")
            for number in range(nvml.nvmlDeviceGetCount()):
                try:
                    found += [_look(nvml, index, handle, driver) for index, handle in _handles(nvml, number)]
                except nvml.NVMLError as problem:  # a lost one does not keep the others from work
                    lost.append(problem)
            if lost and not found:
                raise lost[0]
        if not found:
            hint = f"See nvidia-smi -L; where MIG is on, an instance has to be created. {OTHERWISE}"
            raise GpuError(f"the NVIDIA driver {driver} finds no GPU", hint, lasting=True)
        return found

    def used_mb(self, uuid: str) -> int:
        with _nvml() as nvml:
            try:
                return _memory(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))[1]
            except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument) as problem:
                raise GpuError(f"there is no GPU {uuid} any more", OTHERWISE, lasting=True) from problem


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, started. It counts starts and stops, so threads may overlap.

    https://docs.nvidia.com/deploy/nvml-api/group__nvmlInitializationAndCleanup.html
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as problem:
        message, hint = SAID.get(problem.value, (f"the NVIDIA driver says: {problem}", "See nvidia-smi."))
        raise GpuError(message, f"{hint} {OTHERWISE}", lasting=problem.value in SAID) from problem


def _ask(nvml: Any, query: Callable[[], T], otherwise: T) -> T:
    """Ask for what this device, or an old driver, may not know."""
    try:
        return query()
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return otherwise


def _handles(nvml: Any, number: int) -> Iterator[tuple[str, Any]]:
    """Find one GPU, or its MIG instances, each with its index."""
    parent = nvml.nvmlDeviceGetHandleByIndex(number)
    if not _ask(nvml, lambda: nvml.nvmlDeviceGetMigMode(parent)[0], 0):
        yield str(number), parent
        return
    for instance in range(_ask(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(parent), 0)):
        with suppress(nvml.NVMLError_NotFound, nvml.NVMLError_NoPermission):
            yield f"{number}:{instance}", nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, instance)


def _look(nvml: Any, index: str, handle: Any, driver: str) -> Device:
    total, used = _memory(nvml, handle)
    return Device(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=_ask(nvml, lambda: nvml.nvmlDeviceGetName(handle), "NVIDIA"),
        memory_mb=total,
        free_mb=total - used,
        driver=driver,
    )


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Total and used MB. Used is what is not free: the driver's own share counts."""
    memory = _ask(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle), None)
    return (memory.total // MB, memory.total // MB - memory.free // MB) if memory else (0, 0)
