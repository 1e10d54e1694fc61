"""The seam: an engine gets a `Launch` and gives back an `Exit`."""

from pathlib import Path
from threading import Event
from typing import Protocol

from cellgauge.specs import Spec, Verb


class Launch(Spec):
    """Everything an engine needs to know to run one job."""

    job: str
    verb: Verb
    model: str
    image: str
    """For containers: what to run, by digest."""
    command: tuple[str, ...]
    """For processes: what to run, in `folder`."""
    folder: Path
    """The model's folder."""
    input: Path
    """Read-only to the model."""
    output: Path
    scratch: Path
    log: Path
    """Where stdout and stderr go."""
    cpus: int = 1
    memory_mb: int
    shm_mb: int
    time_limit: float
    """Seconds."""


class Exit(Spec):
    """How a job's process ended."""

    code: int | None
    """None if it never ran to an end."""
    oom_killed: bool = False
    timed_out: bool = False
    cancelled: bool = False


class Engine(Protocol):
    """Isolates one job. Whoever writes another engine implements these two methods and two attributes."""

    name: str
    sandbox: dict[str, str]
    """What the engine withholds from a model, by aspect; recorded in every result."""

    def check(self) -> str:
        """Say which engine this is and its version.

        Raises
        ------
        EngineError
            If it cannot run anything, with what to do about it.
        """
        ...

    def run(self, launch: Launch, cancel: Event) -> Exit:
        """Run a job to its end, its time limit, or `cancel`, and leave nothing running.

        Raises
        ------
        EngineError
            If the engine itself fails; a model that fails is an `Exit`.
        """
        ...


def environment(*, input: str, output: str, weights: str, scratch: str, threads: int) -> dict[str, str]:
    """Tell a program where its folders are, and libraries to keep to their threads and to the scratch folder."""
    count = str(threads)
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
