"""Runs a model as a process of its own: same contract, same folders, no isolation. For authors and for machines
without Docker."""

import os
import platform
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import BinaryIO

from cellgauge import disk, owner
from cellgauge.engines.launch import GRACE, Cancel, Exit, Launch, environment, labels
from cellgauge.engines.log import Log
from cellgauge.engines.quota import Quota
from cellgauge.errors import EngineError
from cellgauge.specs import Used

PACE = 0.2


class LocalEngine:
    """An engine whose models run in this machine's Python environment."""

    name = "local"

    def check(self) -> str:
        return f"Python {platform.python_version()}"

    def sandbox(self, launch: Launch) -> dict[str, str]:
        return {
            "isolation": "none: a process with the caller's rights",
            "inputs": "a copy",
            "disk": f"{launch.limits.disk_mb} MiB in output and scratch",
            "log": f"{launch.limits.log_mb} MiB",
            "gpus": ", ".join(launch.gpus) or "none",
        }

    def run(self, launch: Launch, cancel: Cancel) -> Exit:
        began = time.monotonic()
        command = _command(launch)
        with Log(launch.log, launch.limits.log_mb) as log:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=launch.scratch,
                    env=_environment(launch),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a group of its own, so that its children end with it
                )
            except OSError as problem:
                reason = f"cannot start '{command[0]}': {problem.strerror}"
                raise EngineError(reason, "See `command` in model.yaml.", lasting=True, phase="start") from problem
            reader = threading.Thread(target=_read, args=(process.stdout, log), daemon=True)
            reader.start()
            started = time.monotonic() - began
            quota = Quota(launch)
            peak = _Peak(process.pid)
            try:
                why = _wait(process, launch, cancel, quota, peak)
            finally:
                code, used = _reap(process, peak)
            here = str(launch.scratch.absolute())
            _kill(lambda told: told.get("CELLGAUGE_SCRATCH") == here)  # what left the group, and may hold the pipe
            reader.join(1.0)
        disk.reclaim(launch.output)
        if not why and quota.exceeded():
            why = ["disk_full"]
        return Exit(code=code, start_seconds=started, used=used, **dict.fromkeys(why, True))

    def replay(self, launch: Launch) -> tuple[str, ...]:
        again = launch.output.parent / "replay"
        changed = launch.model_copy(update={"output": again / "output", "scratch": again / "scratch"})
        settings = [f"{name}={value}" for name, value in _environment(changed).items()]
        return (
            *("mkdir", "-p", str(changed.output), str(changed.scratch), "&&"),
            *("env", "-i", "-C", str(changed.scratch), *settings, *_command(changed)),
        )

    def packages(self, image: str, cancel: Cancel) -> tuple[str, ...]:
        return tuple(sorted({f"{found.name}=={found.version}" for found in distributions()}))

    def gpus_in_use(self) -> frozenset[str]:
        return frozenset()

    def sweep(self) -> list[str]:
        """Kill processes that say in their environment that they belong to a run that is dead."""
        return [f"process {pid}" for pid in _kill(lambda told: _abandoned(told.get("CELLGAUGE_OWNER", "")))]


def _kill(which: Callable[[dict[str, str]], bool]) -> list[int]:
    """Kill this user's processes by their environment, which they keep whatever group they leave."""
    import psutil

    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and which(process.environ()):
                process.kill()
                killed.append(process.pid)
    return killed


def _abandoned(token: str) -> bool:
    whose = owner.Owner.parse(token)
    return whose is not None and whose.abandoned()


def _command(launch: Launch) -> list[str]:
    command = [sys.executable if part == "python" else part for part in launch.command]
    # A path below the model's folder is its own file; everything else is left to PATH.
    found = [str(launch.folder / part) if (launch.folder / part).is_file() else part for part in command]
    return [*found, launch.verb]


def _environment(launch: Launch) -> dict[str, str]:
    """Pass on the search path alone: secrets in the caller's environment are none of a model's business."""
    folders = environment(
        launch,
        input=str(launch.input.absolute()),
        output=str(launch.output.absolute()),
        weights=str((launch.weights or launch.scratch / "weights").absolute()),
        scratch=str(launch.scratch.absolute()),
    )
    whose = labels(launch)
    told = {"CELLGAUGE_OWNER": whose["owner"], "CELLGAUGE_JOB": whose["job"]}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**folders, **told, "CUDA_VISIBLE_DEVICES": ",".join(launch.gpus), "PATH": path}


def _read(stream: BinaryIO | None, log: Log) -> None:
    # The log is closed where nobody waits any more.
    with stream or nullcontext(), suppress(ValueError, OSError):
        while stream and (chunk := os.read(stream.fileno(), 1 << 16)):
            log.write(chunk)


class _Peak:
    """The most memory that a process was seen to hold."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._seen: int | None = None

    def look(self) -> None:
        with suppress(OSError):
            if found := re.search(r"^VmHWM:\s+(\d+) kB", self._status.read_text(), flags=re.MULTILINE):
                self._seen = int(found[1]) * 1024

    def most(self, reported: int) -> int | None:
        """Decide between what was seen and what the kernel reports: its count of a process begins with ours, which
        fork and exec pass on, and says something of the process only once it is beyond that."""
        return reported * 1024 if reported > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss else self._seen


def _wait(process: subprocess.Popen[bytes], launch: Launch, cancel: Cancel, quota: Quota, peak: _Peak) -> list[str]:
    """Wait for the end, or bring it about; say why."""
    deadline = time.monotonic() + launch.limits.time
    while not _ended(process, PACE):
        peak.look()
        now = time.monotonic()
        why = ["cancelled"] if cancel.asked else ["timed_out"] if now >= deadline else []
        if not why and quota.due:
            why = ["disk_full"] if quota.exceeded(process.pid) else []
        if why:
            _signal(process.pid, signal.SIGTERM)
            patience = time.monotonic() + GRACE
            while time.monotonic() < patience and not cancel.hurry and not _ended(process, PACE):
                pass
            return why
    return []


def _ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    """Look whether it has ended, without taking its exit code: that comes with what it used."""
    until = time.monotonic() + patience
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    return True


def _reap(process: subprocess.Popen[bytes], peak: _Peak) -> tuple[int, Used]:
    _signal(process.pid, signal.SIGKILL)  # it, and what it left in the background
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = round(usage.ru_utime + usage.ru_stime, 3)
    return process.returncode, Used(cpu_seconds=seconds, peak_memory=peak.most(usage.ru_maxrss))


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the whole group has ended
        os.killpg(group, number)
