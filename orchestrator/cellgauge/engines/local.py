"""Runs a job as a process of its own: same contract, same folders, no isolation. For authors and for machines
without Docker."""

import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

from cellgauge.engines.launch import Exit, Launch, environment
from cellgauge.errors import EngineError

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


class LocalEngine:
    """An engine whose models run in this machine's Python environment."""

    name = "local"

    def __init__(self) -> None:
        self.sandbox = {"isolation": "none: a process with the caller's rights"}

    def check(self) -> str:
        return f"Python {platform.python_version()}"

    def run(self, launch: Launch, cancel: Event) -> Exit:
        command = [sys.executable if part == "python" else part for part in launch.command]
        # A path below the model's folder is its own file; everything else is left to PATH.
        command = [str(launch.folder / part) if (launch.folder / part).is_file() else part for part in command]
        try:
            with launch.log.open("wb") as log:
                process = subprocess.Popen(
                    [*command, launch.verb],
                    cwd=launch.scratch,
                    env=_environment(launch),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a group of its own, so that its children end with it
                )
        except OSError as problem:
            raise EngineError(
                f"cannot start '{command[0]}': {problem.strerror}", "See `command` in model.yaml."
            ) from problem
        return _wait(process, launch.time_limit, cancel)


def _environment(launch: Launch) -> dict[str, str]:
    """Pass on the search path alone: secrets in the caller's environment are none of a model's business."""
    folders = environment(
        input=str(launch.input.absolute()),
        output=str(launch.output.absolute()),
        weights=str(launch.scratch.absolute() / "weights"),
        scratch=str(launch.scratch.absolute()),
        threads=launch.cpus,
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**folders, "PATH": path}


def _wait(process: subprocess.Popen[bytes], limit: float, cancel: Event) -> Exit:
    deadline = time.monotonic() + limit
    while True:
        try:
            code = process.wait(timeout=max(0.0, min(0.5, deadline - time.monotonic())))
            _signal(process.pid, signal.SIGKILL)  # what it left in the background
            return Exit(code=code)
        except subprocess.TimeoutExpired:
            timed_out = time.monotonic() >= deadline
            if timed_out or cancel.is_set():
                _end(process)
                return Exit(code=process.returncode, timed_out=timed_out, cancelled=not timed_out)


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the whole group has ended
        os.killpg(group, number)
