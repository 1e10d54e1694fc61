"""What this machine is: recorded with every result, and asked by whoever must know whether a model can run here."""

import functools
import os
import platform
from pathlib import Path

import psutil

from cellgauge.specs import Host

CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def describe() -> Host:
    """Tell what this machine is; asked once a process."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    return Host(
        name=os.uname().nodename,
        system=system,
        kernel=os.uname().release,
        python=platform.python_version(),
        cpu=_field("model name") or platform.machine(),
        cores=cpus(),
        memory_mb=psutil.virtual_memory().total >> 20,
    )


def cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_flags() -> frozenset[str]:
    """What the processor can do beyond its basics, in the kernel's words: avx2, avx512f, …"""
    return frozenset((_field("flags") or _field("Features")).split())  # the second is what ARM says


def _field(name: str) -> str:
    """Read one field of the first processor; empty if there is none."""
    for line in CPUINFO.read_text(errors="replace").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""
