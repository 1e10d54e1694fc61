"""Judges the Docker engine: does it answer, is it on this machine, can it withhold from models what it should."""

import grp
import os
import pwd
import re
from pathlib import Path
from urllib.parse import urlsplit

from cellgauge.doctor.finding import Finding, ok, problem, warning
from cellgauge.engines.docker_info import DEFAULT, DockerInfo, socket_of
from cellgauge.errors import CellgaugeError
from cellgauge.specs import Spec

OLDEST = (20, 10)
CONTROLLERS = (
    "Switch on the kernel's control groups (kernel options `cgroup_enable=memory swapaccount=1`), or, where the "
    "engine is rootless, delegate them to your user: https://docs.docker.com/engine/security/rootless/tips/"
)


class Door(Spec):
    """Who may go through an engine's socket."""

    group: str
    member: bool
    """The user is listed in the group, which counts from the next login on."""
    others: tuple[Path, ...]
    """Sockets of other engines, where one of this user is likely to listen."""


def door(address: str) -> Door:
    """Look at an engine's socket, and for others."""
    home, uid = Path.home(), os.getuid()
    likely = (Path(f"/run/user/{uid}/docker.sock"), home / ".docker/desktop/docker.sock")
    path = socket_of(address or DEFAULT)
    try:
        group = grp.getgrgid(path.stat().st_gid) if path else None
    except (OSError, KeyError):
        group = None
    return Door(
        group=group.gr_name if group else "docker",
        member=group is not None and user() in group.gr_mem,
        others=tuple(one for one in likely if os.path.exists(one) and one != path),  # noqa: PTH110 - never raises
    )


def user() -> str:
    """This user's name, or number where there is no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def unreachable(setting: str, address: str, reason: Exception, door: Door) -> Finding:
    """Say why no engine answers, and how one will."""
    where = address or DEFAULT
    match reason:
        case PermissionError() if door.member:
            seen, fix = "permission denied", f"You joined the group '{door.group}' after you logged in: log in again."
        case PermissionError() if door.group == "root":
            seen = "permission denied"
            fix = "sudo groupadd -f docker && sudo usermod -aG docker $USER, restart the engine, log in again."
        case PermissionError():
            seen = "permission denied"
            fix = f"Join the group that may: sudo usermod -aG {door.group} $USER, then log in again."
        case ConnectionRefusedError():
            seen, fix = "connection refused: nothing listens there", "Start the engine: sudo systemctl start docker"
        case FileNotFoundError():
            seen = "no such socket"
            fix = "Start Docker (sudo systemctl start docker), or install it: https://docs.docker.com/engine/install/"
        case TimeoutError():
            seen, fix = "it does not answer in time", "Wait for it to start, or: sudo systemctl restart docker"
        case _:
            hint = reason.hint if isinstance(reason, CellgaugeError) else ""
            seen, fix = str(reason), " ".join(filter(None, ("Check DOCKER_HOST." if address else "", hint)))
            fix = fix or "See the Docker engine's log."
    if door.others:
        fix += f" Another engine may listen: export DOCKER_HOST=unix://{door.others[0]}"
    falls_back = setting == "auto" and not address
    then = "; until it does, models run as processes, not sealed off" if falls_back else ""
    return problem("engine", f"engine '{setting}': no Docker at {where}: {seen}{then}", fix)


def reachable(setting: str, info: DockerInfo) -> Finding:
    """Say which engine answers, and whether it is fit."""
    first = "models run as processes, not sealed off; there is also " if setting == "local" else ""
    seen = (
        f"engine '{setting}': {first}Docker {info.version}, API {info.api}, {info.driver} in {info.root}, "
        f"{info.memory_mb / 1024:.1f} GiB memory"
    )
    if "podman" in info.product.lower():
        return warning("engine", f"{seen}; it is {info.product}", "Podman is not tested. If runs fail, use Docker.")
    found = re.match(r"(\d+)\.(\d+)", info.version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        return warning("engine", seen, "Update Docker to 20.10 or newer: https://docs.docker.com/engine/install/")
    if info.driver == "vfs":
        return warning("engine", f"{seen}; vfs copies every layer whole", 'Set "storage-driver": "overlay2".')
    return ok("engine", seen)


def address(docker_host: str, info: DockerInfo | None, here: str) -> Finding:
    """Judge whether the engine sees the same folders as we do.

    Parameters
    ----------
    here
        This machine's host name.
    """
    fix = "Run cellgauge where the engine is (unset DOCKER_HOST): models get their data by folders of that machine."
    where = docker_host or f"{DEFAULT} (DOCKER_HOST is not set)"
    host = "" if socket_of(docker_host or DEFAULT) else urlsplit(docker_host).hostname or ""
    if docker_host.startswith("ssh://") or (host and host != "localhost" and not host.startswith(("127.", "::1"))):
        return problem("engine address", f"{docker_host} is another machine", fix)
    if info and info.machine != here and info.system != "Docker Desktop":
        seen = f"{where}: the engine says that it runs on '{info.machine}', and this is '{here}'"
        same = "If this is a container with the engine's socket, mount results and cache at the same paths as outside."
        return warning("engine address", seen, same)
    return ok("engine address", where)


def shared(info: DockerInfo, uid: int) -> Finding:
    """Judge whether what a model writes will be ours, and whether it can read what we give it."""
    if "rootless" in info.security:
        return warning(
            "shared folders",
            f"the engine is rootless: in a container uid {uid} is another user, who may not write to your folders",
            "Use the system's engine: export DOCKER_HOST=unix:///var/run/docker.sock",
        )
    if "userns" in info.security:
        return warning(
            "shared folders",
            f"userns-remap is on: in a container uid {uid} is another user, who may not write to your folders",
            'Take "userns-remap" out of /etc/docker/daemon.json and restart the engine.',
        )
    if info.system == "Docker Desktop":
        return warning(
            "shared folders",
            "Docker Desktop: containers run in a virtual machine and see shared folders only",
            "Share the folders of results and cache: Settings, Resources, File sharing.",
        )
    if "/snap/" in str(info.root):
        return warning(
            "shared folders",
            f"Docker is a snap ({info.root}), which sees little outside your home",
            "Keep results and cache below your home, or install Docker's own packages.",
        )
    if "selinux" in info.security:
        return warning(
            "shared folders",
            "the engine separates containers by SELinux, which may keep them from your folders",
            "If jobs get 'Permission denied': sudo chcon -Rt container_file_t RESULTS CACHE",
        )
    return ok("shared folders", f"what models write belongs to you (uid {uid})")


def limits(info: DockerInfo) -> tuple[Finding, ...]:
    """Judge whether the engine can hold a model to its memory, processors and number of processes."""
    seen = f"cgroup version {info.cgroup}, {info.cgroup_driver}"
    missing = [name for name, there in info.limits.items() if not there and name != "swap"]
    main = (
        problem("cgroup limits", f"{seen}; cannot be limited: {', '.join(missing)}", CONTROLLERS)
        if missing
        else ok("cgroup limits", f"{seen}; memory, cpu and pids can be limited")
    )
    if info.limits["swap"]:
        return main, ok("swap limit", "swap can be limited")
    fix = "Add `swapaccount=1` to the kernel's options (GRUB_CMDLINE_LINUX), sudo update-grub, reboot."
    return main, warning("swap limit", "a model that exceeds its memory may go on in swap, slowly", fix)


def seccomp(info: DockerInfo) -> Finding:
    """Judge whether the engine filters system calls."""
    if "seccomp" in info.security:
        return ok("seccomp", "system calls of models are filtered")
    fix = 'Use a kernel with CONFIG_SECCOMP, and take "seccomp-profile": "unconfined" out of /etc/docker/daemon.json.'
    return warning("seccomp", "the engine does not filter system calls of models", fix)
