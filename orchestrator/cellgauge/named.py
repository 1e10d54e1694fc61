"""Finds a run or a job by the beginning of its id, as people type it."""

from collections.abc import Iterable, Sequence

from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs import Run
from cellgauge.store import Store

LATEST = "latest"


def run_id(name: str, store: Store) -> str | None:
    """The id of the run that a name stands for; None if there is none.

    Raises
    ------
    UsageError
        If it stands for several.
    """
    runs = store.run_ids()
    return (runs[-1] if runs else None) if name == LATEST else _only("runs", name, runs)


def job_id(name: str, store: Store, running: Iterable[str] = ()) -> str | None:
    """The id of the job that a name stands for, running or ended; None if there is none.

    Parameters
    ----------
    running
        Ids of jobs that run: of several in one start, only one has a folder that bears its name.

    Raises
    ------
    UsageError
        If it stands for several.
    """
    return _only("jobs", name, sorted({*store.job_logs(name), *running}))


def run(name: str, store: Store) -> Run:
    """Find a run.

    Raises
    ------
    UsageError
        If there is none of that name, or several.
    """
    found = run_id(name, store)
    kept = store.run(found) if found else None
    if kept is None:
        raise nothing("run", name, store)
    return kept


def nothing(kind: str, name: str, store: Store) -> UsageError:
    """Say that there is nothing of a name, and what there is instead."""
    runs = store.run_ids()
    if not runs:
        hint = "Run `cellgauge run` first, or name a folder with --results."
        return UsageError(f"there are no results in {store.root.absolute()}", hint)
    more = f"They lie in {store.root.absolute()}; a job's id stands at the end of its line in a run, and in `--json`."
    return UnknownNameError(kind, name, runs[-5:], more)


def _only(kind: str, name: str, ids: Sequence[str]) -> str | None:
    found = [name] if name in ids else [one for one in ids if one.startswith(name)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} {kind} begin with '{name}'", f"Give more characters: {', '.join(found[:5])}.")
    return found[0] if found else None
