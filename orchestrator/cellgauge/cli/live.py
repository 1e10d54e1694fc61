"""Follows a run on stderr: a line a job with its state and time; on a terminal, also what is running now."""

import signal
import time
from collections.abc import Iterator

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from cellgauge.cli.output import err
from cellgauge.errors import Interrupted
from cellgauge.pipeline import Finished, Progress, Scored, Started
from cellgauge.report.table import printable
from cellgauge.specs import Job, Run, RunRecord
from cellgauge.store import Store


def follow(events: Iterator[Progress], run: Run, store: Store) -> None:
    """Show every event until there are no more.

    Raises
    ------
    Interrupted
        After Ctrl-C, when everything that ran is stopped.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as Ctrl-C: what runs is stopped, what is done is kept
    try:
        _follow(events, run, store)
    except KeyboardInterrupt as problem:
        hint = "What had finished is kept; the same command goes on from there."
        raise Interrupted("stopped on request", hint) from problem


def _follow(events: Iterator[Progress], run: Run, store: Store) -> None:
    running: dict[str, tuple[Job, float]] = {}
    done = scored = 0

    def now() -> Group:
        lines = [Text(f"  {label(job)}: running, {time.monotonic() - since:.0f} s") for job, since in running.values()]
        total = f"{done} of {len(run.plan.jobs)} jobs done, {scored} of {len(run.plan.scorings)} results"
        return Group(*lines, Text(total, style="dim"))

    with Live(get_renderable=now, console=err, refresh_per_second=4, transient=True, auto_refresh=err.is_terminal):
        for event in events:
            match event:
                case Started(job):
                    running[job.id] = (job, time.monotonic())
                    if not err.is_terminal:
                        err.print(f"{label(job)}: running", soft_wrap=True)
                case Finished(record, reused):
                    running.pop(record.job.id, None)
                    done += 1
                    _finished(record, reused, store)
                case Scored(result, reused):
                    scored += 1
                    if not reused and not err.is_terminal and result.state == "ok":
                        err.print(f"  {result.scoring.task}: scored, {result.seconds:.1f} s", soft_wrap=True)
                    if (
                        not reused
                        and result.state not in ("ok", "not_applicable")
                        and result.reason.startswith("the task")
                    ):
                        err.print(
                            f"  [red]{result.scoring.task}: {escape(printable(result.reason))}[/red]", soft_wrap=True
                        )


def _finished(record: RunRecord, reused: bool, store: Store) -> None:
    if reused:
        err.print(escape(f"{label(record.job)}: {record.state}, from the cache  [{record.job.id[:8]}]"), soft_wrap=True)
        return
    line = f"{label(record.job)}: {record.state.replace('_', ' ')}, {sum(record.seconds.values()):.1f} s"
    line += f"  [{record.job.id[:8]}]"
    if record.state in ("ok", "not_applicable"):
        err.print(escape(line), soft_wrap=True)
        return
    err.print(f"[red]{escape(line)}: {escape(printable(record.reason))}[/red]", soft_wrap=True)
    for text in record.log_tail[-5:]:
        err.print(f"    {escape(text)}", style="dim", soft_wrap=True)
    err.print(f"    log: {store.job_folder(record.job.id) / 'log.txt'}", soft_wrap=True)


def label(job: Job) -> str:
    """Name a job as a person would."""
    variant = "" if job.variant == "default" else f":{job.variant}"
    settings = "".join(f" {name}={value}" for name, value in job.changed.items())
    return f"{job.model}{variant}{settings} on {', '.join(one.name for one in job.datasets)} (seed {job.seed})"
