"""Finds the tasks: being a module of this package, or an entry point of another, is being registered."""

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points

import cellgauge_tasks
from cellgauge_tasks._base import Task

ENTRY_POINTS = "cellgauge.tasks"


def find() -> dict[str, Task]:
    """Collect every `TASK`, by name.

    Raises
    ------
    ValueError
        If two tasks have one name, or another package's is not to be had: it names the package.
    """
    modules = [
        m.name for m in pkgutil.iter_modules(cellgauge_tasks.__path__) if not m.ispkg and not m.name.startswith("_")
    ]
    tasks = [importlib.import_module(f"cellgauge_tasks.{name}").TASK for name in modules]
    found: dict[str, Task] = {task.name: task for task in tasks}
    if len(found) < len(tasks):
        raise ValueError("two tasks of cellgauge itself have one name")
    # Sorted, and each once: a package may be found in two places of the path.
    for entry in sorted({(one.name, one.value): one for one in entry_points(group=ENTRY_POINTS)}.values()):
        task = _loaded(entry)
        if task.name in found:
            raise ValueError(f"two tasks are named '{task.name}'; one of them is of {_whose(entry)}")
        found[task.name] = task
    return found


def _loaded(entry: EntryPoint) -> Task:
    """Import what an entry point names: the code of others, in which anything may go wrong."""
    try:
        task = entry.load()
    except Exception as problem:
        raise ValueError(f"the task of {_whose(entry)} cannot be imported: {problem!r}") from problem
    if not isinstance(task, Task):
        raise ValueError(f"the task of {_whose(entry)} is a {type(task).__name__}, no cellgauge_tasks.Task")
    return task


def _whose(entry: EntryPoint) -> str:
    return f"{entry.dist.name if entry.dist else 'some package'} ({entry.name} = {entry.value})"
