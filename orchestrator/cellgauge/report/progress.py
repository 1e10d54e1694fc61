"""Tells how far runs are, from what they wrote down: also those of another process."""

import time
from datetime import UTC, datetime
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge import events
from cellgauge.owner import Owner
from cellgauge.report.words import printable
from cellgauge.specs import Run, Spec
from cellgauge.store import Store


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
    jobs: int
    done: int
    failed: int
    results: int
    scored: int
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
    for one in events.read(store.run_file(run.id, "events.jsonl")):
        what = f"{one.model}:{one.variant} on {one.dataset} (seed {one.seed})"
        if one.event == "started" and one.job:
            since = now - datetime.fromisoformat(one.time).replace(tzinfo=UTC).timestamp()
            running[one.job] = Running(job=one.job, what=what, seconds=round(since, 1), gpus=one.gpus)
        elif one.event == "progress" and one.job in running:
            running[one.job] = running[one.job].model_copy(update={"done": one.done, "total": one.total})
        elif one.event == "finished" and one.job:
            running.pop(one.job, None)
            finished[one.job] = one
        elif one.event == "scored" and one.state == "ok":
            scored.add((one.job, one.dataset, one.task))
    bad = [one for one in finished.values() if one.state not in ("ok", "not_applicable")]
    return Status(
        run=run.id,
        command=run.command,
        started=run.started,
        state=("running" if run.prepared else "preparing") if alive(run) else run.outcome or "died",
        jobs=len(run.plan.jobs),
        done=len(finished),
        failed=len(bad),
        results=len(run.plan.scorings),
        scored=len(scored),
        running=tuple(running.values()) if alive(run) else (),
        failures=tuple(f"{one.model}:{one.variant} on {one.dataset}: {one.state}: {one.reason}" for one in bad),
    )


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
    if one.state == "died":
        lines.append(Text("  it was killed; the same command, or `cellgauge retry`, goes on from there"))
    lines += [Text(f"  failed: {printable(text)}", style="red") for text in one.failures]
    return Group(*lines)
