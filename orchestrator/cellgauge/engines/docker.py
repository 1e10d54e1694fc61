"""Runs a job in a container: no network, nothing writable but its output, the caller's uid, limits on everything."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import docker
import docker.errors
import requests.exceptions
from docker.types import LogConfig, Mount

from cellgauge.engines.launch import Exit, Launch, environment
from cellgauge.errors import EngineError

GRACE = 5
"""Seconds between SIGTERM and SIGKILL."""
LOOK = 2.0
"""Seconds between looks at the clock and at `cancel` while a container runs."""
PIDS = 1024
LOG_BYTES = 64 << 20
LABEL = "org.cellgauge"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn docker-py's errors into ours."""
    try:
        yield
    except docker.errors.ImageNotFound as problem:
        raise EngineError(f"{doing}: {problem.explanation}", "Build or pull the image again.") from problem
    except docker.errors.APIError as problem:
        raise EngineError(f"{doing}: {problem.explanation or problem}", "See the Docker engine's log.") from problem
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as problem:
        raise EngineError(f"{doing} ({_root(problem)})", "Is the engine running? Try: docker info") from problem


def _root(problem: BaseException) -> str:
    """Find the words that matter below the wrapping of three libraries."""
    text = str(problem)
    for known in ("No such file or directory", "Permission denied", "Connection refused", "timed out"):
        if known in text:
            return known
    return text


@cache
def connect() -> docker.DockerClient:
    """Connect to the engine that DOCKER_HOST names, or the default one; once a process."""
    with translated("no Docker engine answers"):
        client = docker.from_env(timeout=60, max_pool_size=64)
        client.ping()
        return client


class DockerEngine:
    """An engine whose models run in containers."""

    name = "docker"

    def __init__(self) -> None:
        self.sandbox = {
            "network": "none",
            "root": "read-only",
            "user": f"{os.getuid()}:{os.getgid()}",
            "capabilities": "none",
            "privileges": "no new ones",
            "pids": str(PIDS),
            "inputs": "read-only",
        }

    def check(self) -> str:
        with translated("the Docker engine does not tell its version"):
            version = connect().version()
        return f"Docker {version['Version']}"

    def run(self, launch: Launch, cancel: Event) -> Exit:
        with translated(f"job {launch.job}"):
            container = connect().containers.create(**self._options(launch))
            try:
                container.start()
                outcome = _wait(container, launch.time_limit, cancel)
                _save_log(container, launch.log)
                return outcome
            finally:
                _remove(container)

    def _options(self, launch: Launch) -> dict[str, Any]:
        memory = f"{launch.memory_mb}m"
        binds = [
            ("/job/input", launch.input, True),
            ("/job/output", launch.output, False),
            ("/scratch", launch.scratch, False),
        ]
        return {
            "image": launch.image,
            "command": [launch.verb],
            "name": f"cellgauge-{launch.job}-{os.getpid()}-{time.monotonic_ns()}",
            "labels": {f"{LABEL}.job": launch.job, f"{LABEL}.model": launch.model, f"{LABEL}.uid": str(os.getuid())},
            "mounts": [Mount(to, str(path.absolute()), type="bind", read_only=only) for to, path, only in binds],
            "environment": environment(
                input="/job/input", output="/job/output", weights="/weights", scratch="/scratch", threads=launch.cpus
            ),
            "working_dir": "/scratch",
            "user": self.sandbox["user"],
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {"/tmp": "size=256m,mode=1777"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": PIDS,
            "mem_limit": memory,
            "memswap_limit": memory,
            "shm_size": f"{launch.shm_mb}m",
            "nano_cpus": int(launch.cpus * 1e9),
            "init": True,
            "log_config": LogConfig(type="json-file", config={"max-size": str(LOG_BYTES), "max-file": "2"}),
        }


def _wait(container: Any, limit: float, cancel: Event) -> Exit:
    deadline = time.monotonic() + limit
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or cancel.is_set():
            _stop(container)
            state = _state(container)
            return Exit(code=state["ExitCode"], oom_killed=state["OOMKilled"], timed_out=left <= 0, cancelled=left > 0)
        with suppress(requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
            # Asked in short turns: docker-py raises ConnectionError on this time-out, not the documented ReadTimeout,
            # and so does an engine that goes away (docker/docker-py#1966). `_state` tells the two apart.
            container.client.api.wait(container.id, timeout=min(LOOK, left))
        state = _state(container)
        if state["Status"] not in ("running", "created"):
            if state.get("Error"):
                raise EngineError(f"the container did not start: {state['Error']}", "See the Docker engine's log.")
            return Exit(code=state["ExitCode"], oom_killed=state["OOMKilled"])


def _state(container: Any) -> dict[str, Any]:
    container.reload()
    return dict(container.attrs["State"])


def _stop(container: Any) -> None:
    """Send SIGTERM, and SIGKILL after the grace."""
    container.stop(timeout=GRACE)


def _save_log(container: Any, path: Path) -> None:
    written = 0
    with path.open("wb") as log:
        for chunk in container.logs(stream=True, stdout=True, stderr=True):
            log.write(chunk[: LOG_BYTES - written])
            written += len(chunk)
            if written >= LOG_BYTES:
                log.write(b"\n[cut here: the log is longer]\n")
                break


def _remove(container: Any) -> None:
    with suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)
