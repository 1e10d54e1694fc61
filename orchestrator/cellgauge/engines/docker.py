"""Runs a model in a container: no network, nothing writable but its output, the caller's uid, limits on everything."""

import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import docker.errors
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from cellgauge import disk, owner
from cellgauge.engines import cdi
from cellgauge.engines.docker_client import UNREACHABLE, connect, ended, patiently, translated
from cellgauge.engines.docker_replay import flags
from cellgauge.engines.docker_watch import Watch
from cellgauge.engines.launch import Cancel, Exit, Launch, environment, labels
from cellgauge.engines.log import Log
from cellgauge.errors import EngineError, GpuError

LABEL = "org.cellgauge"
TMP_MB = 256
PACKAGES_MB = 1
"""Of what a container says of its packages."""
LIST_PACKAGES = (
    "import importlib.metadata as m; print(*sorted({f'{d.name}=={d.version}' for d in m.distributions()}), sep='\\n')"
)


class DockerEngine:
    """An engine whose models run in containers."""

    name = "docker"

    _busy: ClassVar[set[str]] = set()
    """Names of containers that a thread of this process looks after, whichever engine object it has."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def check(self) -> str:
        with translated("the Docker engine does not tell its version"):
            version = connect().version()
        return f"Docker {version['Version']}"

    def sandbox(self, launch: Launch) -> dict[str, str]:
        limits = launch.limits
        return {
            "network": "bridge" if "network" in launch.allow else "none",
            "root": "writable" if "writable-root" in launch.allow else "read-only",
            "inputs": "read-only",
            "weights": "read-only",
            "user": f"{os.getuid()}:{os.getgid()}",
            "capabilities": "none",
            "privileges": "no new ones",
            "system calls": "the engine's seccomp profile",
            "processes": f"own namespace, {limits.pids} at most",
            "memory": f"{limits.memory_mb} MiB, no swap",
            "cpus": str(limits.cpus),
            "shared memory": f"{limits.shm_mb} MiB, own",
            "/tmp": f"{TMP_MB} MiB, in memory",
            "disk": f"{limits.disk_mb} MiB in output and scratch",
            "core dumps": "none",
            "log": f"{limits.log_mb} MiB",
            "gpus": ", ".join(launch.gpus) or "none",
        }

    def run(self, launch: Launch, cancel: Cancel) -> Exit:
        began = time.monotonic()
        options = self._options(launch)
        with self._looking_after(options["name"]):
            with translated("the container was not made", "start"):
                container = patiently(lambda: _make(connect(launch.limits.start), options), cancel)
            try:
                with translated(f"container {container.short_id}", "run"), Log(launch.log, launch.limits.log_mb) as log:
                    watch = Watch(container, launch, cancel, log)  # listens before there is anything to hear
                    if reason := _start(container):
                        log.write(f"{reason}\n".encode())
                        return Exit(code=127, start_seconds=time.monotonic() - began)
                    started = time.monotonic() - began
                    return watch.until_the_end().model_copy(update={"start_seconds": started})
            finally:
                _remove(container)
                disk.reclaim(launch.output)

    @contextmanager
    def _looking_after(self, name: str) -> Iterator[None]:
        """Keep a container from being swept, from before it is there: another thread may sweep at any time."""
        with self._lock:
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(name)

    def replay(self, launch: Launch) -> tuple[str, ...]:
        # Not into the output of the first time; and on the engine's log, since this is for reading along.
        again = launch.output.parent / "replay"
        changed = launch.model_copy(update={"output": again / "output", "scratch": again / "scratch"})
        return (
            *("mkdir", "-p", str(changed.output), str(changed.scratch), "&&"),
            *("docker", "run", "--rm", *flags(self._options(changed)), launch.image, launch.verb),
        )

    def packages(self, image: str, cancel: Cancel) -> tuple[str, ...]:
        options: dict[str, Any] = {
            **_sealed(memory_mb=512, pids=64, cpus=1, disk_mb=1, shm_mb=1),
            **{"image": image, "entrypoint": ["python", "-c", LIST_PACKAGES], "name": _name("packages")},
            **{"network_mode": "none", "read_only": True, "use_config_proxy": False},
            **{"environment": {"NVIDIA_VISIBLE_DEVICES": "void"}},
            **{"labels": {f"{LABEL}.owner": owner.me().token, f"{LABEL}.uid": str(os.getuid())}},
            # All of it is read into memory.
            **{"log_config": _log(f"{PACKAGES_MB}m", 1)},
        }
        with self._looking_after(options["name"]), translated(f"image {image} does not tell its packages"):
            container = connect().containers.create(**options)
            try:
                container.start()
                ended(container, cancel)
                text = container.logs(stdout=True, stderr=False, tail=5000).decode(errors="replace")
            except docker.errors.APIError as problem:
                if problem.is_client_error():
                    return ()  # no Python in it
                raise
            finally:
                _remove(container)
        return tuple(line for line in text.splitlines() if re.fullmatch(r"[\w.-]{1,100}==[\w.+!-]{1,100}", line))

    def gpus_in_use(self) -> frozenset[str]:
        with translated("the Docker engine does not tell which containers run"):
            running = connect().api.containers(filters={"label": f"{LABEL}.gpus"})
        held = {one for found in running for one in found["Labels"].get(f"{LABEL}.gpus", "").split(",")}
        return frozenset(held - {""})

    def sweep(self) -> list[str]:
        with translated("the Docker engine does not tell what is left over"):
            found = connect().api.containers(all=True, filters={"label": f"{LABEL}.owner"})
        dead = [one for one in found if self._abandoned(one)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: _remove(connect().api, one["Id"]), dead))
        return [f"container {one['Names'][0].lstrip('/')}" for one in dead]

    def _abandoned(self, found: dict[str, Any]) -> bool:
        whose = owner.Owner.parse(found["Labels"][f"{LABEL}.owner"])
        if whose is None:
            return False
        with self._lock:
            ours = {name.lstrip("/") for name in found["Names"]} & self._busy
        return whose.abandoned() or (whose == owner.me() and not ours)

    def _options(self, launch: Launch) -> dict[str, Any]:
        limits = launch.limits
        weights = [("/weights", launch.weights, True)] if launch.weights else []
        binds = [
            ("/job/input", launch.input, True),
            ("/job/output", launch.output, False),
            ("/scratch", launch.scratch, False),
            *weights,
        ]
        folders = {"input": "/job/input", "output": "/job/output", "weights": "/weights", "scratch": "/scratch"}
        # Where NVIDIA's runtime is the default one, an image of theirs would get every device without asking.
        hidden = {} if launch.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}
        sealed = _sealed(
            memory_mb=limits.memory_mb,
            pids=limits.pids,
            cpus=limits.cpus,
            disk_mb=limits.disk_mb,
            shm_mb=limits.shm_mb,
        )
        return {
            **sealed,
            "image": launch.image,
            "command": [launch.verb],
            "name": _name(launch.jobs[0]),
            "labels": {f"{LABEL}.{name}": value for name, value in labels(launch).items() if value},
            "mounts": [Mount(to, str(path.absolute()), type="bind", read_only=only) for to, path, only in binds],
            "environment": {**environment(launch, **folders), **hidden},
            "working_dir": "/scratch",
            "network_mode": "bridge" if "network" in launch.allow else "none",
            # The caller's ~/.docker/config.json may name a proxy, and a password in its address.
            "use_config_proxy": "network" in launch.allow,
            "read_only": "writable-root" not in launch.allow,
            "device_requests": [_devices(launch.gpus, cdi.names(_cdi_folders()))] if launch.gpus else [],
        }


def _sealed(*, memory_mb: int, pids: int, cpus: float, disk_mb: int, shm_mb: int) -> dict[str, Any]:
    """What no container goes without, a model's or one that is only asked what is in it."""
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "tmpfs": {"/tmp": f"size={TMP_MB}m,mode=1777,nosuid,nodev"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        "pids_limit": pids,
        "mem_limit": f"{memory_mb}m",
        "memswap_limit": f"{memory_mb}m",
        "shm_size": f"{shm_mb}m",
        "nano_cpus": int(cpus * 1e9),
        "ulimits": [_limit("core", 0), _limit("fsize", disk_mb << 20)],
        "oom_score_adj": 500,  # where the whole machine runs out of memory, a model goes before anything else
        "init": True,
        # Ours is kept from the stream; this one is for people who look with `docker logs`.
        "log_config": _log("4m", 2),
    }


def _log(size: str, files: int) -> LogConfig:
    return LogConfig(type="json-file", config={"max-size": size, "max-file": str(files)})


def _make(client: docker.DockerClient, options: dict[str, Any]) -> Any:
    try:
        return client.containers.create(**options)
    except docker.errors.APIError as problem:
        if problem.status_code != 409:
            raise
        # The name is ours alone: it was made, and the engine went away before it could say so.
        _remove(client.api, options["name"])
        return client.containers.create(**options)


def _name(job: str) -> str:
    return f"cellgauge-{job}-{os.getpid()}-{time.monotonic_ns()}"


def _limit(name: str, value: int) -> Ulimit:
    return Ulimit(name=name, soft=value, hard=value)


def _devices(uuids: Sequence[str], named: Collection[str]) -> DeviceRequest:
    """Ask for devices by UUID: the engine's own way, or the Container Device Interface where it has all of them."""
    if set(uuids) <= set(named):
        return DeviceRequest(driver="cdi", device_ids=[f"{cdi.KIND}={uuid}" for uuid in uuids])
    return DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])


@cache
def _cdi_folders() -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in connect().info().get("CDISpecDirs") or ())


def _start(container: Any) -> str:
    """Start a container; why its program cannot be started, if it is the image's fault."""
    try:
        with translated("the container did not start", "start"):
            container.start()
    except EngineError as problem:
        if isinstance(problem, GpuError) or not isinstance(problem.__cause__, docker.errors.APIError):
            raise
        container.reload()
        if container.attrs["State"]["ExitCode"] in (126, 127):
            return problem.message
        raise
    return ""


def _remove(container: Any, id: str = "") -> None:
    """Remove a container, running or not. Where the engine does not answer, `sweep` does it later."""
    with suppress(*UNREACHABLE):
        if id:
            container.remove_container(id, force=True, v=True)
        else:
            container.remove(force=True, v=True)
