"""Judges the way of an NVIDIA GPU into a container: hardware, driver, toolkit, device links."""

import functools
import re
import shutil
from pathlib import Path

from cellgauge.doctor.finding import Finding, ok, problem, warning
from cellgauge.errors import GpuError
from cellgauge.gpus import Device, Nvml
from cellgauge.specs import Spec

NVIDIA = "0x10de"
HOOK = "nvidia-container-runtime-hook"
TOOLS = (HOOK, "nvidia-container-cli", "nvidia-ctk")
INSTALL = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"


class Driver(Spec):
    """What NVIDIA's driver says."""

    devices: tuple[Device, ...] = ()
    cuda: str = ""
    """The newest CUDA that it runs."""
    error: str = ""
    """Why it gives no devices, where it does not; and what to do about it."""
    hint: str = ""

    @property
    def version(self) -> str:
        """Its own."""
        return self.devices[0].driver if self.devices else ""


class Toolkit(Spec):
    """What would bring a GPU into a container."""

    tools: tuple[str, ...] = ()
    """Programs that are on PATH."""
    specs: dict[Path, str] = {}
    """CDI specifications for NVIDIA GPUs: their text by file."""


# --- facts ----------------------------------------------------------------------------------------------------------


def hardware(devices: Path = Path("/sys/bus/pci/devices"), module: Path = Path("/proc/driver/nvidia")) -> bool:
    """Tell whether there is an NVIDIA GPU on the bus, or a driver that has one."""
    return module.exists() or any(
        (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith("0x03")
        for device in (devices.iterdir() if devices.is_dir() else ())
    )


@functools.cache
def driver() -> Driver:
    """Ask the driver about itself and its devices; once a process, since waking a GPU may take a second."""
    try:
        devices = Nvml().devices()
    except GpuError as problem:
        return Driver(error=problem.message, hint=problem.hint)
    return Driver(devices=tuple(devices), cuda=_cuda())


def _cuda() -> str:
    import pynvml

    pynvml.nvmlInit()
    try:
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return f"{number // 1000}.{number % 1000 // 10}"
    except pynvml.NVMLError:
        return "unknown"
    finally:
        pynvml.nvmlShutdown()


def toolkit(folders: tuple[Path, ...]) -> Toolkit:
    """Look for the container toolkit's programs, and for CDI specifications."""
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    texts = {file: file.read_text(errors="replace") for file in files if file.suffix in (".yaml", ".yml", ".json")}
    return Toolkit(
        tools=tuple(tool for tool in TOOLS if shutil.which(tool)),
        specs={file: text for file, text in texts.items() if "nvidia.com/gpu" in text},
    )


def linked(folder: Path = Path("/dev/char")) -> bool:
    """Tell whether the links by which systemd finds GPUs are there."""
    return folder.is_dir() and any("nvidia" in str(link.readlink()) for link in folder.iterdir() if link.is_symlink())


# --- judgements -----------------------------------------------------------------------------------------------------


def devices(present: bool, driver: Driver) -> Finding:
    """Judge hardware and driver."""
    if driver.devices:
        listed = ", ".join(f"{one.name} ({one.memory_mb / 1024:.1f} GiB)" for one in driver.devices)
        return ok("gpu", f"driver {driver.version}, CUDA up to {driver.cuda}: {listed}")
    if not present:
        return ok("gpu", "no NVIDIA GPU on this machine")
    return problem("gpu", f"there is an NVIDIA GPU, and {driver.error}", driver.hint or "See what nvidia-smi says.")


def way_in(driver: Driver, toolkit: Toolkit, engine_reads: tuple[Path, ...]) -> Finding:
    """Judge whether containers can get the GPU.

    Parameters
    ----------
    engine_reads
        Folders in which the engine looks for CDI specifications; none if it does not look for any.
    """
    seen = ", ".join([*toolkit.tools, *map(str, toolkit.specs)]) or f"none of {', '.join(TOOLS)}, no CDI specification"
    read = {file: text for file, text in toolkit.specs.items() if file.parent in engine_reads}
    if read:
        return _described(driver, read, seen)
    if HOOK in toolkit.tools:
        return ok("gpu toolkit", seen)
    if engine_reads and "nvidia-ctk" in toolkit.tools:
        fix = f"sudo nvidia-ctk cdi generate --output={engine_reads[0]}/nvidia.yaml, then restart the engine."
    else:
        fix = f"Install NVIDIA's package nvidia-container-toolkit, which has {HOOK}, then restart the engine: {INSTALL}"
    return problem("gpu toolkit", f"containers cannot get the GPU: {seen}", fix)


def _described(driver: Driver, specs: dict[Path, str], seen: str) -> Finding:
    """Judge CDI specifications, which the engine prefers to the hook."""
    fix = f"Write it again: sudo nvidia-ctk cdi generate --device-name-strategy=uuid --output={next(iter(specs))}"
    text = "\n".join(specs.values())
    lost = [one.uuid for one in driver.devices if one.uuid not in text]
    if lost:
        return problem("gpu toolkit", f"{seen}: does not name the GPU {', '.join(lost)}", fix)
    made_for = sorted(set(re.findall(r"libcuda\.so\.(\d+\.[\d.]*\d)", text)))
    if made_for and driver.version not in made_for:
        return problem("gpu toolkit", f"{seen}: is for driver {', '.join(made_for)}, not {driver.version}", fix)
    return ok("gpu toolkit", seen)


def links(there: bool, cgroup: str, manager: str) -> Finding:
    """Judge whether running containers keep their GPU when systemd reloads.

    See https://github.com/NVIDIA/nvidia-container-toolkit/issues/48.
    """
    if there or (cgroup, manager) != ("2", "systemd"):
        return ok("gpu links", "containers keep their GPU when systemd reloads")
    fix = "sudo nvidia-ctk system create-dev-char-symlinks --create-all (and at every boot, by a udev rule)"
    return warning("gpu links", "no links in /dev/char: `systemctl daemon-reload` takes the GPU from containers", fix)
