"""What the Docker engine tells of itself, for whoever must judge whether models can run in it."""

import socket
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cellgauge.engines.docker_client import connect, translated
from cellgauge.specs import Spec

DEFAULT = "unix:///var/run/docker.sock"
"""Where docker-py looks without DOCKER_HOST; contexts of the `docker` command mean nothing to it."""


class DockerInfo(Spec):
    """An engine's answers to `docker version` and `docker info`, as far as they matter."""

    product: str
    """`Engine`, or what answers in its place: `Podman Engine`."""
    version: str
    api: str
    machine: str
    """The host name of where it runs."""
    system: str
    memory_mb: int
    driver: str
    """How images are stored: `overlay2`, `vfs`, …"""
    root: Path
    images: Path
    """Where images lie: below `root`, unless containerd keeps them."""
    cgroup: str
    """`1` or `2`."""
    cgroup_driver: str
    limits: dict[str, bool]
    """Which of memory, swap, cpu and pids it can limit."""
    security: frozenset[str]
    """`seccomp`, `rootless`, `userns`, `selinux`, …"""
    cdi: tuple[Path, ...]
    """Where it looks for CDI devices; empty if it does not."""
    time: datetime


def read() -> DockerInfo:
    """Ask the engine about itself.

    Raises
    ------
    EngineError
        If it does not answer.
    """
    with translated("the Docker engine does not tell of itself"):
        client = connect()
        return parse(client.version(), client.info())


def parse(version: dict[str, Any], info: dict[str, Any]) -> DockerInfo:
    """Take what matters out of an engine's two answers; older engines leave fields out."""
    root = Path(info["DockerRootDir"])
    by_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
    names = {"memory": "MemoryLimit", "swap": "SwapLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}
    return DockerInfo(
        product=next((part["Name"] for part in version.get("Components") or []), "Engine"),
        version=version["Version"],
        api=version["ApiVersion"],
        machine=info["Name"],
        system=info["OperatingSystem"],
        memory_mb=info["MemTotal"] >> 20,
        driver=info["Driver"],
        root=root,
        images=Path("/var/lib/containerd") if by_containerd else root,
        cgroup=info.get("CgroupVersion") or "1",
        cgroup_driver=info.get("CgroupDriver") or "unknown",
        limits={name: bool(info.get(key)) for name, key in names.items()},
        security=frozenset(
            option.split(",")[0].removeprefix("name=")
            for option in info.get("SecurityOptions") or []
            if "profile=unconfined" not in option
        ),
        cdi=tuple(Path(folder) for folder in info.get("CDISpecDirs") or []),
        time=datetime.fromisoformat(info["SystemTime"]),
    )


def probe(address: str, patience: float = 5) -> None:
    """Knock at an engine's address: docker-py would wait for a minute, and says less about what is wrong.

    Raises
    ------
    OSError
        What the kernel says: FileNotFoundError, PermissionError, ConnectionRefusedError, TimeoutError, …
    """
    if path := socket_of(address):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(patience)
            line.connect(str(path))
            line.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            if not line.recv(1):
                raise ConnectionResetError("it hangs up")
    elif address.startswith(("tcp://", "http://", "https://")):
        where = urlsplit(address)
        socket.create_connection((where.hostname or "127.0.0.1", where.port or 2375), patience).close()


def socket_of(address: str) -> Path | None:
    """Find the socket that an address names; None if it names none."""
    scheme, _, path = address.partition("://")
    return Path("/" + path.lstrip("/")) if scheme in ("unix", "http+unix") and path else None
