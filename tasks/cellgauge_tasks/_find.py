"""Finds the tasks: being a module of this package, or an entry point of another, is being registered."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from typing import Any

import cellgauge_tasks
from cellgauge_tasks._base import Task

ENTRY_POINTS = "cellgauge.tasks"
OURS = "cellgauge"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True)
class Broken:
    """A task of another package that cannot be had; all others can."""

    name: str
    """As people would ask for it: its own name, or that of its entry point where nobody knows its own."""
    package: str
    """Whose it is, and its version."""
    reason: str


@dataclass(frozen=True)
class Found:
    """Every task, by name, and those that cannot be had."""

    tasks: Mapping[str, Task]
    broken: tuple[Broken, ...] = ()


def find() -> dict[str, Task]:
    """Collect every task that can be had, by name; see `look` for the others."""
    return dict(look().tasks)


def look() -> Found:
    """Look at every task: those of cellgauge itself, and those of other packages, in which anything may go wrong.

    A name of cellgauge's own stays with its task. Of two other packages that give one name neither is taken: which of
    the two somebody's numbers are of must not depend on an order.

    Raises
    ------
    ValueError
        If two tasks of cellgauge itself have one name.
    """
    tasks = _shipped()
    theirs: dict[str, list[tuple[Task, EntryPoint]]] = {}
    broken = []
    # Sorted, and each once: a package may be found in two places of the path.
    for entry in sorted({(one.name, one.value): one for one in entry_points(group=ENTRY_POINTS)}.values()):
        task = _loaded(entry)
        if isinstance(task, str):
            broken.append(Broken(entry.name, _package(entry), f"{task} ({entry.name} = {entry.value})"))
        elif task.name in tasks:
            # Under the entry point's name, since the other is that of a good one.
            broken.append(Broken(entry.name, _package(entry), f"its name '{task.name}' is that of a task of {OURS}"))
        else:
            theirs.setdefault(task.name, []).append((task, entry))
    for name, several in theirs.items():
        if len(several) == 1:
            tasks[name] = several[0][0]
            continue
        whose = [_package(entry) for _, entry in several]
        broken += [Broken(name, one, f"several packages give a task of this name: {', '.join(whose)}") for one in whose]
    return Found(tasks, tuple(broken))


def _shipped() -> dict[str, Task]:
    modules = [
        m.name for m in pkgutil.iter_modules(cellgauge_tasks.__path__) if not m.ispkg and not m.name.startswith("_")
    ]
    tasks = [importlib.import_module(f"cellgauge_tasks.{name}").TASK for name in modules]
    found: dict[str, Task] = {task.name: task for task in tasks}
    if len(found) < len(tasks):
        raise ValueError("two tasks of cellgauge itself have one name")
    return found


@functools.cache  # what cannot be imported would be tried again for each score, and say again what it prints
def _loaded(entry: EntryPoint) -> Task | str:
    """Import what an entry point names: the code of others; or say why it cannot be had."""
    try:
        task = entry.load()
    except (Exception, SystemExit) as problem:  # a module may also call sys.exit as it is imported
        return f"it cannot be imported: {problem!r}"
    if not isinstance(task, Task):
        return f"it is a {type(task).__name__}, no cellgauge_tasks.Task"
    return _odd(task) or task


def _odd(task: Any) -> str:
    """Say what is wrong with a task that would stop what has to do with others; a dataclass takes anything."""
    if not isinstance(task.name, str) or not re.fullmatch(NAME, task.name):
        return f"its name is {task.name!r}: letters, digits, `.`, `_` and `-`, at most 64"
    several = {"roles": task.roles, "optional": task.optional, "shown": task.shown}
    if wrong := [name for name, one in several.items() if not isinstance(one, tuple)]:
        return f"its {wrong[0]} are {several[wrong[0]]!r}, no tuple: ('cell_type',)"
    if not isinstance(task.version, str) or not callable(task.score) or not isinstance(task.headline, Mapping):
        return "its version is no text, its score no function, or its headline no dict"
    return ""


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "some package"


def package(task: Task) -> str:
    """Say whose a task is: the package that its function comes with, and its version."""
    for entry in entry_points(group=ENTRY_POINTS):
        if _loaded(entry) is task:
            return _package(entry)
    top = (getattr(task.score, "__module__", "") or "").partition(".")[0]
    known = [OURS] if top == cellgauge_tasks.__name__ else packages_distributions().get(top, [])
    try:
        return f"{known[0]} {version(known[0])}" if known else f"module {top or 'unknown'}"
    except PackageNotFoundError:
        return known[0]
