"""Tells what happens in a run as JSON lines, for other programs and for `cellgauge status`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from cellgauge.disk import explained
from cellgauge.evaluate import Advanced, Finished, Progress, Scored
from cellgauge.specs import REUSABLE, Job, Run, Spec, State
from cellgauge.store import now_utc
from cellgauge.worker import Started


class Event(Spec):
    """One line of an events file."""

    time: str
    """UTC, ISO 8601."""
    event: Literal["run_started", "started", "progress", "finished", "scored", "run_ended"]
    run: str
    job: str | None = None
    model: str | None = None
    variant: str | None = None
    dataset: str | None = None
    """Of a job with several: those that it has, with commas."""
    task: str | None = None
    seed: int | None = None
    state: State | None = None
    reason: str = ""
    reused: bool | None = None
    seconds: float | None = None
    gpus: tuple[str, ...] = ()
    folder: str = ""
    """Where a job runs; its log and its output so far lie there."""
    done: int | None = None
    """Of a running job, as the model says; of a run, its jobs that have ended."""
    total: int | None = None
    ok: bool | None = None
    """At the end: every planned result is there."""


def record(progress: Iterable[Progress], run: Run, files: Sequence[Path]) -> Iterator[Progress]:
    """Pass on what happens, and write it down as it does."""
    with ExitStack() as stack:
        outs = []
        for path in files:
            with explained(path, "--events"):
                path.parent.mkdir(parents=True, exist_ok=True)
                outs.append((path, stack.enter_context(path.open("ab", buffering=0))))

        def write(event: Event) -> None:
            line = json.dumps(event.model_dump(mode="json", exclude_defaults=True)).encode() + b"\n"
            for path, out in outs:
                with explained(path, "--events"):
                    out.write(line)

        write(Event(time=now_utc(), event="run_started", run=run.id, total=len(run.plan.jobs)))
        done = good = 0
        try:
            for one in progress:
                done += isinstance(one, Finished)
                good += isinstance(one, Scored) and one.result.state in REUSABLE
                write(describe(one, run.id))
                yield one
        finally:
            whole = good == len(run.plan.scorings)
            end = Event(time=now_utc(), event="run_ended", run=run.id, done=done, total=len(run.plan.jobs), ok=whole)
            write(end)


def describe(one: Progress, run: str) -> Event:
    """Put one thing that happened into a line."""
    match one:
        case Started(job, folder, devices):
            return _of(job, "started", run).model_copy(update={"gpus": devices, "folder": str(folder.absolute())})
        case Advanced(job, said):
            return _of(job, "progress", run).model_copy(update={"done": said.done, "total": said.total})
        case Finished(record, reused):
            told = {"state": record.state, "reason": record.reason, "reused": reused}
            seconds = round(sum(record.seconds.values()), 3)
            return _of(record.job, "finished", run).model_copy(update={**told, "seconds": seconds})
        case Scored(result, reused):
            scoring = result.scoring
            return Event(
                time=now_utc(),
                event="scored",
                run=run,
                job=scoring.job,
                model=scoring.model,
                variant=scoring.variant,
                dataset=scoring.dataset,
                task=scoring.task,
                seed=scoring.seed,
                state=result.state,
                reason=result.reason,
                reused=reused,
                seconds=result.seconds,
            )


def _of(job: Job, event: Literal["started", "progress", "finished"], run: str) -> Event:
    return Event(
        time=now_utc(),
        event=event,
        run=run,
        job=job.id,
        model=job.model,
        variant=job.variant,
        dataset=",".join(one.name for one in job.datasets),
        seed=job.seed,
    )


def read(path: Path) -> list[Event]:
    """Read an events file; a line cut in half, since it is being written, is left out."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(Event.model_validate_json(line))
        except ValueError:
            continue
    return found
