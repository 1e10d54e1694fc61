"""The seam: an engine gets a `Launch` and gives back an `Exit`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Protocol

from cellgauge import owner
from cellgauge.specs import Limits, Relaxation, Spec, Used, Verb

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


class Launch(Spec):
    """Everything an engine needs to know to start a model once."""

    jobs: tuple[str, ...]
    """The jobs that this start does."""
    run: str = ""
    verb: Verb
    model: str
    image: str
    """For containers: what to run, by digest."""
    command: tuple[str, ...]
    """For processes: what to run, in `folder`."""
    folder: Path
    """For processes: the model's folder, or a copy of what was hashed of it."""
    input: Path
    """Read-only to the model."""
    output: Path
    scratch: Path
    weights: Path | None = None
    """Read-only to the model."""
    log: Path
    """Where stdout and stderr go."""
    limits: Limits
    gpus: tuple[str, ...] = ()
    """UUIDs of the devices that it may use."""
    allow: tuple[Relaxation, ...] = ()
    """What is allowed beyond the sandbox."""


class Exit(Spec):
    """How a start of a model ended."""

    code: int | None
    """None if it never ran to an end."""
    oom_killed: bool = False
    timed_out: bool = False
    cancelled: bool = False
    disk_full: bool = False
    """It wrote more than its limit."""
    start_seconds: float = 0.0
    """Until the model's process ran."""
    used: Used = Used()


class Cancel:
    """A wish to stop: once asked, a model is told and gets its grace; asked again, it is killed at once."""

    def __init__(self) -> None:
        self._asked, self._hurry = Event(), Event()

    def ask(self) -> None:
        (self._hurry if self._asked.is_set() else self._asked).set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def hurry(self) -> bool:
        return self._hurry.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep until somebody wishes to stop."""
        self._asked.wait(seconds)


class Engine(Protocol):
    """Isolates one start of a model.

    Whoever writes another engine implements this, and subclasses `cellgauge.engines.conformance.Suite` in a test.
    """

    name: str

    def check(self) -> str:
        """Say which engine this is and its version.

        Raises
        ------
        EngineError
            If it cannot run anything, with what to do about it.
        """
        ...

    def sandbox(self, launch: Launch) -> dict[str, str]:
        """Tell what is withheld from this model, by aspect; recorded in every result."""
        ...

    def run(self, launch: Launch, cancel: Cancel) -> Exit:
        """Run a model to its end, its time limit, or `cancel`, and leave nothing running.

        Raises
        ------
        EngineError
            If the engine itself fails; a model that fails is an `Exit`.
        """
        ...

    def replay(self, launch: Launch) -> tuple[str, ...]:
        """Write the shell command that would start this again, without the engine."""
        ...

    def packages(self, image: str, cancel: Cancel) -> tuple[str, ...]:
        """List what is installed where the model runs, as `name==version`; nothing where that cannot be told.

        Raises
        ------
        EngineError
            If the engine itself fails, or `cancel` is asked before there is an answer.
        """
        ...

    def gpus_in_use(self) -> frozenset[str]:
        """UUIDs of devices that something running holds, whoever started it."""
        ...

    def sweep(self) -> list[str]:
        """Remove whatever this user's dead runs left behind, and say what it was."""
        ...


def labels(launch: Launch) -> dict[str, str]:
    """Say whose a container or process is, and which job it does; liveness is told from it."""
    me = owner.me()
    return {
        "run": launch.run,
        "job": ",".join(launch.jobs),
        "model": launch.model,
        "uid": str(me.uid),
        "boot": me.boot,
        "pid": str(me.pid),
        "started": str(me.started),
        "owner": me.token,
        "gpus": ",".join(launch.gpus),
    }


def environment(launch: Launch, *, input: str, output: str, weights: str, scratch: str) -> dict[str, str]:
    """Tell a program where its folders are, and libraries to keep to their threads and to the scratch folder."""
    count = str(launch.limits.cpus)
    return {
        "CELLGAUGE_INPUT": input,
        "CELLGAUGE_OUTPUT": output,
        "CELLGAUGE_WEIGHTS": weights,
        "CELLGAUGE_SCRATCH": scratch,
        # Two jobs with two threads each on two cores were seen to run 20 times slower.
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        # A uid without a home breaks libraries that look for one (getpass, torch, numba, matplotlib).
        "HOME": scratch,
        "USER": "cellgauge",
        "TMPDIR": scratch,
        "XDG_CACHE_HOME": f"{scratch}/.cache",
        "HF_HOME": f"{scratch}/.cache/huggingface",
        "TORCH_HOME": f"{scratch}/.cache/torch",
        "TRITON_CACHE_DIR": f"{scratch}/.cache/triton",
        "NUMBA_CACHE_DIR": f"{scratch}/.cache/numba",
        "MPLCONFIGDIR": f"{scratch}/.cache/matplotlib",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
    }


def quote(words: Iterable[str]) -> str:
    """Join words to a line for a shell."""
    return " ".join(word if word == "&&" else shlex.quote(word) for word in words)
