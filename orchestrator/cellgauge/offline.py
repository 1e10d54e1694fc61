"""Scores what is there already, and starts no model: kept outputs once more, and the controls of a run."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from cellgauge import groups, plan, score
from cellgauge.engines import Cancel
from cellgauge.pipeline import Reuse
from cellgauge.plan import DatasetChoice
from cellgauge.scorers import Scorers
from cellgauge.shown import unfit
from cellgauge.specs import ELSEWHERE, REUSABLE, Control, Dataset, Job, Part, Plan, RunRecord, Scoring, Skip, TaskResult
from cellgauge.store import Store
from cellgauge_tasks import Task

TICK = 0.5
GONE = "there is no output of it that is whole: run it again"


Work = Callable[[], Sequence[TaskResult]]


@dataclass(frozen=True)
class Todo:
    """Scorings that are done together."""

    scorings: tuple[Scoring, ...]
    make: Callable[[Sequence[Scoring]], Work]
    """Gives what does some of them; it may be sent to another process."""


def again(
    jobs: Sequence[Job],
    before: Sequence[Scoring],
    data: Mapping[str, DatasetChoice],
    tasks: Mapping[str, Task],
    scored_with: Mapping[str, str],
    *,
    controls: bool = False,
    asked: Collection[str] = (),
) -> Plan:
    """Lay out how the outputs of jobs are scored, as they are now, with tasks, as they are now.

    Parameters
    ----------
    before
        How they were scored before: these know which models were trained on a dataset.
    data
        Their datasets.
    asked
        Datasets that were asked for by their own names, and not only as members of a group.
    """
    scorings: list[Scoring] = []
    skips: list[Skip] = []
    seen = {(one.model, one.dataset) for one in before if one.seen}
    grouped = _groups(before)
    members = {(part.job, part.dataset) for parts in grouped.values() for part in parts if part.dataset not in asked}
    outputs = [(job, one.name) for job in jobs for one in job.datasets if (job.id, one.name) not in members]
    for job, name in outputs:
        for task in tasks.values():
            if reason := unfit(job, data[name], task):
                fields = {"model": job.model, "variant": job.variant, "dataset": name, "seed": job.seed}
                skips.append(Skip(task=task.name, reason=reason, **fields))
            else:
                known = (job.model, name) in seen and not job.image.startswith(ELSEWHERE)
                scorings.append(plan.scoring(job, data[name], task, scored_with, seen=known))
    for (name, _), parts in grouped.items():
        several = [next(job for job in jobs if job.id == part.job) for part in parts]
        choices = [data[part.dataset] for part in parts]
        for task in tasks.values():
            first = several[0]
            if reason := groups.unfit(several, choices, task):
                fields = {"model": first.model, "variant": first.variant, "dataset": name, "seed": first.seed}
                skips.append(Skip(task=task.name, reason=reason, **fields))
            else:
                known = (first.model, name) in seen
                scorings.append(groups.scoring(name, choices, several, task, scored_with, seen=known))
    return Plan(
        jobs=tuple(jobs),
        scorings=tuple(scorings),
        skips=tuple(skips),
        controls=plan.controls(jobs, scorings, tasks, scored_with) if controls else (),
        models=tuple(dict.fromkeys(job.model for job in jobs)),
        datasets=tuple(dict.fromkeys([*(name for _, name in outputs), *(name for name, _ in grouped)])),
        tasks=tuple(tasks),
    )


def _groups(before: Sequence[Scoring]) -> dict[tuple[str, tuple[str, ...]], tuple[Part, ...]]:
    """Find the groups that were scored, each of a model variant and seed once, by name and jobs."""
    return {(one.dataset, one.jobs): one.parts for one in before if one.parts}


@dataclass(frozen=True)
class Bench:
    """What is scored with."""

    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]
    store: Store
    run: str
    """The run that scores."""
    caches: tuple[Path, ...] = ()
    """Folders of views: the first takes in those that are made."""


def of_jobs(chosen: Plan, reuse: Reuse, bench: Bench) -> list[Todo]:
    """List what is to be scored of a plan, and has not been: an output at a time."""
    records = {job.id: bench.store.intact(job.id) for job in chosen.jobs}
    several: dict[tuple[tuple[str, ...], str], list[Scoring]] = {}
    for one in chosen.scorings:
        if one.id not in reuse.scorings:
            several.setdefault((one.jobs, one.dataset), []).append(one)
    found = []
    for (ids, dataset), scorings in several.items():
        there = [record for job in ids if (record := records[job])]
        if len(there) < len(ids) or any(one.state in REUSABLE and one.job.id not in reuse.jobs for one in there):
            make = functools.partial(_gone, bench=bench)
        elif scorings[0].parts:
            make = functools.partial(_scored_as_one, records=there, bench=bench)
        else:
            make = functools.partial(_scored, record=there[0], dataset=bench.datasets[dataset], bench=bench)
        found.append(Todo(tuple(scorings), make))
    return found


def _scored(scorings: Sequence[Scoring], record: RunRecord, dataset: Dataset, bench: Bench) -> Work:
    pairs = [(one, score.sent(bench.tasks[one.task])) for one in scorings]
    return functools.partial(score.all_of, pairs, record, dataset, bench.store, bench.run, bench.caches)


def _scored_as_one(scorings: Sequence[Scoring], records: Sequence[RunRecord], bench: Bench) -> Work:
    pairs = [(one, score.sent(bench.tasks[one.task])) for one in scorings]
    datasets = [bench.datasets[part.dataset] for part in scorings[0].parts]
    return functools.partial(score.all_of_group, pairs, records, datasets, bench.store, bench.run)


def _gone(scorings: Sequence[Scoring], bench: Bench) -> Work:
    results = [score.Scored(score.failed(one, "cancelled", GONE)) for one in scorings]
    return functools.partial(_kept, results, bench.store, bench.run)


def _kept(results: Sequence[score.Scored], store: Store, run: str) -> Sequence[TaskResult]:
    return [score.keep(one, store, run=run) for one in results]


def of_controls(controls: Collection[Control], bench: Bench, *, refresh: bool = False) -> list[Todo]:
    """List the controls that have not been scored."""
    found = []
    for one in controls:
        kept = bench.store.intact_result(one.scoring.id)
        names = [part.dataset for part in one.scoring.parts] or [one.scoring.dataset]
        if (refresh or kept is None or kept.state not in REUSABLE) and all(name in bench.datasets for name in names):
            task = score.sent(bench.tasks[one.scoring.task])
            first, *others = (bench.datasets[name] for name in names)
            work = functools.partial(score.control, one, task, first, bench.store, bench.run, bench.caches, others)
            found.append(Todo((one.scoring,), functools.partial(_same, work)))
    return found


def _same(work: Work, scorings: Sequence[Scoring]) -> Work:
    return work


def fill(todo: Sequence[Todo], scorers: Scorers, store: Store, run: str, cancel: Cancel) -> Iterator[TaskResult]:
    """Do it, and yield each result; what takes others down with it is done alone.

    After `cancel` is asked nothing more is yielded, and what runs is ended.
    """
    queue: SimpleQueue[tuple[Todo, Sequence[TaskResult] | None, str]] = SimpleQueue()

    def submit(one: Todo) -> None:
        scorers.submit(one.make(one.scorings), lambda results, reason: queue.put((one, results, reason)))

    try:
        waiting = 0
        for one in todo:
            if cancel.asked:
                break
            submit(one)
            waiting += 1
        while waiting and not cancel.asked:
            try:
                one, results, reason = queue.get(timeout=TICK)
            except Empty:
                continue
            waiting -= 1
            if results is not None:
                yield from results
            elif len(one.scorings) > 1:
                for scoring in one.scorings:
                    submit(Todo((scoring,), one.make))
                    waiting += 1
            else:
                yield score.keep(score.Scored(score.failed(one.scorings[0], "infrastructure", reason)), store, run=run)
    finally:
        scorers.close(at_once=cancel.asked)
