"""Tells of a task that failed: whose it is and what happened, and all of it for whoever mends it."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from cellgauge import accelerator
from cellgauge.errors import CellgaugeError
from cellgauge_tasks import NotApplicable, Task, package

TRACE = " (traceback: "
"""Stands in a reason before the file that has it, which is another for each output."""
LONGEST = 64 << 10
"""Characters of a traceback: its end, where it happened."""


class TaskFailed(Exception):
    """A task's own code raised what it does not document, or gave what is no score."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@contextmanager
def of(task: Task) -> Iterator[None]:
    """Let the code of a task run, and say of what goes wrong in it that it is the task's.

    Raises
    ------
    TaskFailed
        Whatever the task raises, but for what is no fault of it.
    CellgaugeError
        If memory ran out: the machine's fault.
    """
    try:
        yield
    except (NotApplicable, CellgaugeError, TaskFailed):
        raise
    except MemoryError as problem:
        hint = "Score fewer cells, or at a time when there is more memory."
        raise CellgaugeError(f"memory ran out while '{task.name}' scored: {problem}", hint) from problem
    except Exception as problem:  # a task may come from elsewhere, and one failed cell must not end a run
        if accelerator.full(problem):
            hint = "Give it another GPU, CELLGAUGE_SCORE_DEVICE=cuda:1, or none."
            raise CellgaugeError(f"the GPU's memory ran out while '{task.name}' scored", hint) from problem
        said = f"{type(problem).__name__}: {problem}".rstrip(": ")
        trace = "".join(traceback.format_exception(problem))[-LONGEST:]
        raise TaskFailed(f"{whose(task)} failed: {said}", trace) from problem


def whose(task: Task) -> str:
    """Name a task, its version and its package."""
    return f"the task '{task.name}' version {task.version} of {package(task)}"
