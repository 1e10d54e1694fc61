"""Follows a run on stderr: a line a job with its state and time; on a terminal, also what is running now."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from cellgauge import attempts
from cellgauge.cli.output import err
from cellgauge.engines import Cancel
from cellgauge.errors import Interrupted
from cellgauge.evaluate import Advanced, Finished, Progress, Scored
from cellgauge.history import UNKNOWN
from cellgauge.report import label
from cellgauge.specs import REUSABLE, Job, Run, RunRecord
from cellgauge.store import Store
from cellgauge.words import printable
from cellgauge.worker import Started

KEPT = "What had finished is kept; the same command goes on from there."


def follow(events: Iterable[Progress], run: Run, store: Store, cancel: Cancel, slots: int, jobs: set[str]) -> None:
    """Show every event until there are no more.

    Parameters
    ----------
    jobs
        Ids of those that have to run.

    Raises
    ------
    Interrupted
        After Ctrl-C, when everything that ran is stopped.
    """
    catch(cancel)
    screen = _Screen(run, store, slots, jobs)
    with Live(
        get_renderable=screen.render, console=err, refresh_per_second=4, transient=True, auto_refresh=err.is_terminal
    ):
        for event in events:
            screen.show(event)
    if cancel.asked:
        raise Interrupted("stopped on request", KEPT)


def catch(cancel: Cancel) -> None:
    """Have Ctrl-C, and a polite kill, stop what runs; the second time at once; the third time let go of everything."""
    asked = 0

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        cancel.ask()
        if asked == 1:
            os.write(sys.stderr.fileno(), b"\nstopping what runs; once more kills it at once\n")
        if asked > 2:
            os.write(sys.stderr.fileno(), b"\nleft as it is; see: cellgauge clean\n")
            os._exit(130)

    _listen(heard, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruptible() -> None:
    """Have a polite kill, and the loss of the terminal, end what is being prepared as Ctrl-C does."""

    def heard(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _listen(heard, signal.SIGTERM, signal.SIGHUP)


def _listen(heard: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> None:
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, heard)


class _Screen:
    def __init__(self, run: Run, store: Store, slots: int, jobs: set[str]) -> None:
        self._run, self._store, self._slots = run, store, slots
        self._running: dict[str, tuple[Job, float, tuple[str, ...]]] = {}
        self._said: dict[str, str] = {}
        history = store.history()
        self._waiting = {job.id: history.expected(job) for job in run.plan.jobs if job.id in jobs}
        self._expected = dict(self._waiting)
        self._done = self._failed = self._scored = 0

    def show(self, event: Progress) -> None:
        match event:
            case Started(job, _, devices):
                self._running[job.id] = (job, time.monotonic(), devices)
                self._waiting.pop(job.id, None)
                if not err.is_terminal:
                    err.print(escape(f"{label.job(job)}: running{_on(devices)}"), soft_wrap=True)
            case Advanced(job, said):
                self._said[job.id] = f", {said.done} of {said.total}" if said.done is not None else ""
            case Finished(record, reused):
                self._running.pop(record.job.id, None)
                self._waiting.pop(record.job.id, None)
                self._done += 1
                self._failed += record.state not in REUSABLE
                finished(record, reused, self._store)
            case Scored(result, reused):
                self._scored += result.state in REUSABLE
                if reused:
                    return
                if result.state == "ok" and not err.is_terminal:
                    err.print(f"  {result.scoring.task}: scored, {result.seconds:.1f} s", soft_wrap=True)
                elif result.reason.startswith(("the task", "the scoring")):
                    line = f"  {result.scoring.task}: {printable(result.reason)}"
                    err.print(f"[red]{escape(line)}[/red]", soft_wrap=True)

    def render(self) -> Group:
        """What runs, how long and how far; what waits; what is done; and how long it may take."""
        now = time.monotonic()
        lines = []
        for job, since, devices in self._running.values():
            lines.append(
                Text(f"  {label.job(job)}: running, {now - since:.0f} s{self._said.get(job.id, '')}{_on(devices)}")
            )
        total = f"{self._done} of {len(self._run.plan.jobs)} jobs done"
        total += f", {self._failed} failed" if self._failed else ""
        plan = self._run.plan
        skipped = len(plan.skips)  # they were planned, and are decided
        results = f"{self._scored + skipped} of {len(plan.scorings) + skipped} results"
        total += f", {len(self._waiting)} waiting, {results}"
        return Group(*lines, Text(total + self._estimate(now), style="dim"))

    def _estimate(self, now: float) -> str:
        left = list(self._waiting.values())
        left += [max(0.0, self._expected.get(id, 0) - (now - since)) for id, (_, since, _) in self._running.items()]
        known = [seconds for seconds in left if seconds != UNKNOWN]
        if not left or not sum(known):
            return ""
        return f", {'at least ' if len(known) < len(left) else 'about '}{duration(sum(known) / self._slots)} left"


def _on(devices: tuple[str, ...]) -> str:
    return f" on {', '.join(devices)}" if devices else ""


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    minutes = round(seconds) // 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def finished(record: RunRecord, reused: bool, store: Store) -> None:
    """Say what became of a job; of one that failed also why, the end of its log, and how to see more."""
    name, id = label.job(record.job), record.job.id[:8]
    if reused:
        err.print(escape(f"{name}: {record.state}, from the cache  [{id}]"), soft_wrap=True)
        return
    where = f" in phase '{record.phase}'" if record.phase else ""
    line = f"{name}: {record.state.replace('_', ' ')}{where}, {sum(record.seconds.values()):.1f} s  [{id}]"
    if record.state in REUSABLE:
        err.print(escape(line), soft_wrap=True)
        return
    err.print(f"[red]{escape(line)}: {escape(printable(record.reason))}[/red]", soft_wrap=True)
    if len(record.attempts):
        err.print(f"    attempt {len(record.attempts) + 1}; the others: cellgauge show {id}")
    for text in record.log_tail[-5:]:
        err.print(f"    {escape(text)}", style="dim", soft_wrap=True)
    if record.state != "cancelled":
        place = store.job_folder(record.job.id)
        beside = place / attempts.log(record.run)  # of a refresh: the folder is that of the good one, which stays
        log = beside if beside.exists() else place / "log.txt"
        if log.exists():  # else nothing was started
            err.print(escape(f"    log: {log}"), soft_wrap=True)
            err.print(escape(f"    the command that repeats it: cellgauge show {id}"), soft_wrap=True)
