"""`cellgauge logs`: what a detached run says, and what a model says, while it runs or after."""

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options

if TYPE_CHECKING:
    from cellgauge.store import Store

PACE = 0.3
"""Seconds between two looks at a log that grows."""


def logs(
    name: Annotated[
        str, typer.Argument(help="A run's id or a job's, or its first characters; `latest` run.")
    ] = "latest",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    results: options.Results = None,
) -> None:
    """Print the log of a detached run, or of a model while it runs or after."""
    from cellgauge import settings
    from cellgauge.store import Store
    from cellgauge.words import lines

    look, goes_on = _log(name, Store(settings.read(results=results).results))
    for text in tail(look, goes_on if follow else lambda: False):
        sys.stdout.write(lines(text))
        sys.stdout.flush()


def tail(look: Callable[[], Path], goes_on: Callable[[], bool]) -> Iterator[str]:
    """Read a file as it grows, also after it was renamed, and from its beginning where another took its place.

    Parameters
    ----------
    look
        Tells where it lies now.
    goes_on
        Tells whether more may come.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a letter may come in two pieces
    file, position = 0, 0
    while True:
        more = goes_on()  # asked before reading, so that nothing said at the end is missed
        content = b""
        with suppress(FileNotFoundError), look().open("rb") as log:  # nothing was said yet, or it moves just now
            now = os.fstat(log.fileno())
            if file == 0 or (more and now.st_ino != file) or (now.st_ino == file and now.st_size < position):
                file, position = now.st_ino, 0
            if now.st_ino == file:  # else an earlier log, which was kept: this one has gone to the attempts
                log.seek(position)
                content = log.read()
                position += len(content)
        yield decoder.decode(content, final=not more)
        if not more:
            return
        time.sleep(PACE)


def _log(name: str, store: "Store") -> tuple[Callable[[], Path], Callable[[], bool]]:
    """Find a run's log or a job's: how to look where it lies now, and whether it goes on."""
    from cellgauge import named
    from cellgauge.errors import UsageError
    from cellgauge.report import progress

    run = named.run_id(name, store)
    if run is not None:
        path = store.run_file(run, "log")
        if not path.exists():
            reason = f"run {run} was not detached: its words went to the terminal"
            raise UsageError(reason, f"Name one of its jobs; see: cellgauge status {run}")
        return (lambda: path), (lambda: progress.alive(named.run(run, store)))
    running = progress.running(store)
    job = named.job_id(name, store, running)
    if job is None:
        raise named.nothing("run or job", name, store)
    found = _JobLog(job, store)
    return found.path, found.goes_on


class _JobLog:
    """Where a job's log lies: where it runs, which may be another job's folder, or where it is kept."""

    def __init__(self, job: str, store: "Store") -> None:
        self._job, self._store = job, store
        self._path = self._found()

    def _found(self) -> Path:
        from cellgauge.report import progress

        folder = progress.running(self._store).get(self._job)
        kept = self._store.job_folder(self._job) / "log.txt"
        return folder / "log.txt" if folder else self._store.job_logs(self._job).get(self._job, kept)

    def path(self) -> Path:
        if not self._path.parent.exists():  # it has moved
            self._path = self._found()
        return self._path

    def goes_on(self) -> bool:
        from cellgauge.owner import Owner

        folder = self.path().parent
        whose = Owner.parse(folder.name.partition("~")[2].rpartition("~")[0])
        return folder.exists() and whose is not None and whose.alive()
