"""Finds the tasks: being a module of this package, or an entry point of another, is being registered."""

import importlib
import pkgutil
from importlib.metadata import entry_points

import cellgauge_tasks
from cellgauge_tasks._base import Task

ENTRY_POINTS = "cellgauge.tasks"


def find() -> dict[str, Task]:
    """Collect every `TASK`, by name.

    Raises
    ------
    ValueError
        If two tasks have one name.
    """
    modules = [
        m.name for m in pkgutil.iter_modules(cellgauge_tasks.__path__) if not m.ispkg and not m.name.startswith("_")
    ]
    tasks = [importlib.import_module(f"cellgauge_tasks.{name}").TASK for name in modules]
    tasks += [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    found: dict[str, Task] = {}
    for task in tasks:
        if task.name in found:
            raise ValueError(f"two tasks are named '{task.name}'")
        found[task.name] = task
    return found
