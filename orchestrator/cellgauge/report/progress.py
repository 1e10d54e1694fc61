"""Tells how far runs are, from what they wrote down: also those of another process."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge import events
from cellgauge.errors import StorageError
from cellgauge.owner import Owner
from cellgauge.report import label
from cellgauge.specs import REUSABLE, Run, Spec
from cellgauge.store import Store
from cellgauge.words import printable

RECENT = 20
"""Runs that are looked at where none is named."""


class Running(Spec):
    """A job that runs now."""

    job: str
    what: str
    seconds: float
    """Since it began."""
    done: int | None = None
    total: int | None = None
    """How far the model says it is."""
    gpus: tuple[str, ...] = ()


class Status(Spec):
    """A run, and how far it is."""

    run: str
    command: str
    started: str
    state: Literal["preparing", "running", "complete", "incomplete", "cancelled", "failed", "died"]
    """`died`: it was killed; the same command goes on from there."""
    reason: str = ""
    """Why it failed."""
    jobs: int
    done: int
    failed: int
    results: int
    """All that were planned."""
    scored: int
    """Those among them that are `ok` or do not apply."""
    running: tuple[Running, ...] = ()
    failures: tuple[str, ...] = ()
    """Which jobs failed, and how."""


def alive(run: Run) -> bool:
    """Tell whether a run goes on."""
    owner = Owner.parse(run.owner)
    return not run.ended and owner is not None and owner.alive()


def look(run: Run, store: Store) -> Status:
    """Find out how far a run is."""
    now = time.time()
    running: dict[str, Running] = {}
    finished: dict[str, events.Event] = {}
    scored = set()
    names = {job.id: label.job(job) for job in run.plan.jobs}
    for one in events.read(store.run_file(run.id, "events.jsonl")):
        if one.event == "started" and one.job:
            since = now - datetime.fromisoformat(one.time).replace(tzinfo=UTC).timestamp()
            running[one.job] = Running(job=one.job, what=names.get(one.job, ""), seconds=round(since, 1), gpus=one.gpus)
        elif one.event == "progress" and one.job in running:
            running[one.job] = running[one.job].model_copy(update={"done": one.done, "total": one.total})
        elif one.event == "finished" and one.job:
            running.pop(one.job, None)
            finished[one.job] = one
        elif one.event == "scored" and one.state in REUSABLE:
            scored.add((one.job, one.dataset, one.task))
    bad = [one for one in finished.values() if one.state not in REUSABLE]
    return Status(
        run=run.id,
        command=run.command,
        started=run.started,
        state=("running" if run.prepared else "preparing") if alive(run) else run.outcome or "died",
        reason=run.reason,
        jobs=len(run.plan.jobs),
        done=len(finished),
        failed=len(bad),
        results=len(run.plan.scorings) + len(run.plan.skips),
        scored=len(scored) + len(run.plan.skips),
        running=tuple(running.values()) if alive(run) else (),
        failures=tuple(f"{names.get(one.job or '', '')}: {one.state}: {one.reason}" for one in bad),
    )


def running(store: Store) -> dict[str, Path]:
    """Find the folders that jobs run in now: several of one start share one."""
    found: dict[str, Path] = {}
    for id in store.run_ids()[-RECENT:]:
        with suppress(StorageError):  # one damaged file must not hide the others
            run = store.run(id)
            for one in events.read(store.run_file(id, "events.jsonl")) if run and alive(run) else ():
                if one.event == "started" and one.job:
                    found[one.job] = Path(one.folder)
                elif one.event == "finished" and one.job:
                    found.pop(one.job, None)
    return {job: folder for job, folder in found.items() if folder.exists()}


def table(found: list[Status]) -> RenderableType:
    """List runs, the latest last."""
    rows = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("run", "state", "jobs", "failed", "results"):
        rows.add_column(name, no_wrap=True)
    for one in found:
        counts = (f"{one.done} of {one.jobs}", str(one.failed), f"{one.scored} of {one.results}")
        rows.add_row(one.run, one.state, *counts)
    return rows


def detail(one: Status) -> RenderableType:
    """Show one run in full."""
    lines = [
        Text(f"run {one.run}: {one.state}", style="bold"),
        Text(f"  {printable(one.command)}", style="dim"),
        Text(f"  {one.done} of {one.jobs} jobs done, {one.failed} failed; {one.scored} of {one.results} results"),
    ]
    for job in one.running:
        far = f", {job.done} of {job.total}" if job.done is not None else ""
        on = f" on {', '.join(job.gpus)}" if job.gpus else ""
        lines.append(Text(f"  running: {job.what}, {job.seconds:.0f} s{far}{on}  [{job.job[:8]}]"))
    if one.reason:
        lines.append(Text(f"  {printable(one.reason)}", style="red"))
    if one.state == "died":
        lines.append(Text("  it was killed; the same command, or `cellgauge retry`, goes on from there"))
    lines += [Text(f"  failed: {printable(text)}", style="red") for text in one.failures]
    return Group(*lines)
