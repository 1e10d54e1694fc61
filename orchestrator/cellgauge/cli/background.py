"""`cellgauge run --detach`, `status` and `cancel`: runs that go on without a terminal."""

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options
from cellgauge.cli.output import err, out, say, show_json
from cellgauge.words import lines

if TYPE_CHECKING:
    from cellgauge.settings import Settings
    from cellgauge.store import Store

PATIENCE = 15.0
"""Seconds to wait for a detached run to find its first mistakes; it goes on after that too."""


def start(chosen: "Settings", *, as_json: bool) -> int:
    """Start the command that is running now once more, without a terminal; return once it has laid out its plan."""
    from cellgauge import store

    kept = store.Store(chosen.results)
    kept.prepare()
    run_id = store.new_run_id()
    log = kept.run_file(run_id, "log")
    words = [word for word in sys.argv[1:] if word not in ("--detach", "--json")]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cellgauge", *words, "--run-id", run_id],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_ignore_hangup,
        )
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None and not _prepared(kept, run_id):
        time.sleep(0.1)
    if process.poll() not in (None, 0) and not _prepared(kept, run_id):
        err.print(lines(log.read_text(errors="replace")), markup=False, soft_wrap=True, end="")
        for path in (log, kept.run_file(run_id, "json")):
            path.unlink(missing_ok=True)
        return int(process.poll() or 1)
    if not _prepared(kept, run_id):
        say("it still gets its images and datasets")
    process.returncode = 0  # it is nobody's child from here on
    if as_json:
        show_json({"run": run_id, "log": str(log.absolute()), "pid": process.pid})
    else:
        out.print(f"run {run_id} goes on in the background", soft_wrap=True)
        out.print(f"  cellgauge status {run_id}\n  cellgauge logs -f {run_id}\n  cellgauge cancel {run_id}")
    return 0


def _prepared(store: "Store", run_id: str) -> bool:
    run = store.run(run_id)
    return run is not None and run.prepared


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with it ignored


def status(
    run: Annotated[str, typer.Argument(help="A run's id, or its first characters; every recent one by default.")] = "",
    results: options.Results = None,
    as_json: options.Json = False,
) -> None:
    """Show what runs do: how much is done, what runs now, and how far it is."""
    from cellgauge import named, settings
    from cellgauge.errors import StorageError
    from cellgauge.report import progress
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    if not run:
        found = []
        for id in store.run_ids()[-progress.RECENT :]:
            try:
                found += [progress.look(one, store)] if (one := store.run(id)) else []
            except StorageError as problem:  # one damaged file must not hide the others
                say(problem.message)
        show_json([one.model_dump(mode="json") for one in found]) if as_json else out.print(progress.table(found))
        return
    told = progress.look(named.run(run, store), store)
    if as_json:
        show_json(told)
    else:
        out.print(progress.detail(told))


def cancel(
    run: Annotated[str, typer.Argument(help="A run's id, or its first characters; `latest` by default.")] = "latest",
    results: options.Results = None,
) -> None:
    """Stop a run as Ctrl-C does; what had finished is kept."""
    from cellgauge import named, owner, settings
    from cellgauge.errors import UsageError
    from cellgauge.report import progress
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    found = named.run(run, store)
    if not progress.alive(found):
        raise UsageError(f"run {found.id} does not run", f"See: cellgauge show {found.id}")
    whose, here = owner.Owner.parse(found.owner), owner.me()
    if whose is None or (whose.machine, whose.namespace) != (here.machine, here.namespace):
        raise UsageError(f"run {found.id} runs on another machine", "Give this command there.")
    try:
        os.kill(whose.pid, signal.SIGTERM)  # SIGINT is ignored by what a script has put into the background
    except PermissionError as problem:
        raise UsageError(f"run {found.id} is another user's", "Ask them to stop it.") from problem
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and progress.alive(found):
        time.sleep(0.2)
    if progress.alive(found):
        say(f"run {found.id} is still stopping; the same command again kills at once what it runs")
        raise typer.Exit(1)
    out.print(f"run {found.id} is stopped; what there is: cellgauge show {found.id}", soft_wrap=True)
