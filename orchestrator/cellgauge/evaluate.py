"""Does what a plan says: starts models, scores their outputs, keeps each thing the moment it is finished."""

import functools
import itertools
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from cellgauge import joint, outputs, plan, schedule, score
from cellgauge.engines import Cancel
from cellgauge.pantry import Pantry
from cellgauge.pipeline import Prepared, Reuse
from cellgauge.schedule import Start
from cellgauge.specs import REUSABLE, Job, Plan, RunRecord, Scoring, State, TaskResult
from cellgauge.worker import Ended, Kit, Queued, Started, Worker

TICK = 1.0
"""Seconds between looks at what running models say of their progress."""


@dataclass(frozen=True)
class Advanced:
    """A running job says how far it is."""

    job: Job
    progress: outputs.Progress


@dataclass(frozen=True)
class Finished:
    """A job has ended, or a finished one is used again."""

    record: RunRecord
    reused: bool


@dataclass(frozen=True)
class Scored:
    """A place in the table is filled, or a result that was there is used again."""

    result: TaskResult
    reused: bool


Progress = Started | Advanced | Finished | Scored


@dataclass(frozen=True)
class _Scores:
    scorings: Sequence[Scoring]
    results: Sequence[TaskResult]
    reason: str


_Event = Progress | Queued | Ended | _Scores | BaseException


def evaluate(prepared: Prepared, reuse: Reuse, kit: Kit, cancel: Cancel) -> Generator[Progress, None, None]:
    """Do what the plan says, keep each thing as it is finished, and yield it.

    A job that fails is a record; the others go on. After `cancel` is asked, what runs is stopped and what has not
    begun does not; closing the generator does the same.

    Raises
    ------
    StorageError
        If results can no longer be kept; what is finished stays.
    """
    loop = _Loop(prepared, reuse, kit, cancel)
    try:
        yield from loop.reused()
        yield from loop.run()
    except BaseException:
        if not cancel.asked:  # a second time would mean to kill
            cancel.ask()
        raise
    finally:
        loop.close()


def spared(chosen: Plan, reuse: Reuse, kit: Kit) -> Reuse:
    """Of what is in the store, tell what is used again: nothing with `--refresh`, nor in a retry what that failed at.

    There the good one of before is in the store still, and is not what was asked for.
    """
    if kit.refresh:
        return Reuse()
    named = [job.id for job in chosen.jobs if kit.only is not None and plan.place(job) in kit.only]
    records = {job: kit.store.intact(job) for job in named if job in reuse.jobs}
    again = {job for job, record in records.items() if record and _failed_since(record)}
    ours = {scoring.id for scoring in chosen.scorings if again.intersection(scoring.jobs)}
    return Reuse(reuse.jobs - again, reuse.scorings - ours)


def _failed_since(record: RunRecord) -> bool:
    """Tell whether the last try at a job failed, though there is a good one of before."""
    return any(one.started > record.started and one.state not in REUSABLE for one in record.attempts[-1:])


class _Loop:
    def __init__(self, prepared: Prepared, reuse: Reuse, kit: Kit, cancel: Cancel) -> None:
        self._prepared, self._kit, self._cancel = prepared, kit, cancel
        self._reuse = spared(prepared.plan, reuse, kit)
        self._queue: SimpleQueue[_Event] = SimpleQueue()
        self._by_job: dict[str, list[Scoring]] = {job.id: [] for job in prepared.plan.jobs}
        for scoring in prepared.plan.scorings:
            for job in scoring.jobs:
                self._by_job[job].append(scoring)
        self._records: dict[str, RunRecord] = {}
        asked = {job.id for job in prepared.plan.jobs if kit.only is None or plan.place(job) in kit.only}
        # Of a group the other members' jobs, too, if they never ran: where its model was mended, none of them has.
        several = (scoring.jobs for scoring in prepared.plan.scorings if asked.intersection(scoring.jobs))
        others = {*itertools.chain.from_iterable(several)} - asked
        self._asked = asked | {job for job in others if kit.store.intact(job) is None}
        waiting = [job for job in prepared.plan.jobs if self._has_to_run(job)]
        devices = {name: model.spec.resources.gpus for name, model in prepared.models.items()}
        devices |= dict.fromkeys(prepared.unavailable, 0)  # only to be recorded
        self._left_out = {*self._by_job} - {job.id for job in waiting} - self._reuse.jobs
        self._waiting = schedule.starts(waiting, devices, kit.store.history(), warm=kit.warm)
        self._running: list[Start] = []
        self._queued: set[str] = set()
        self._folders: dict[str, tuple[Job, Path]] = {}
        self._told: dict[str, outputs.Progress] = {}
        self._scoring = 0
        able = [job for start in self._waiting for job in start.jobs if job.model not in prepared.unavailable]
        self._pantry = Pantry(
            able, prepared.models, prepared.datasets, kit.engine, kit.store, kit.cache, cancel, prepared.unusable
        )
        seats = threading.BoundedSemaphore(kit.slots)
        self._worker = Worker(prepared, kit, self._pantry, cancel, self._queue.put, seats)

    def _has_to_run(self, job: Job) -> bool:
        return job.id not in self._reuse.jobs and job.id in self._asked

    def close(self) -> None:
        self._pantry.close()
        self._kit.executor.shutdown(wait=True, cancel_futures=True)
        self._kit.scorers.close(at_once=self._cancel.asked)  # a forest of 100,000 cells takes minutes

    def reused(self) -> Iterator[Progress]:
        """Yield what is there already, and have scored what of it is not."""
        self._start()
        for job in self._prepared.plan.jobs:
            if job.id in self._reuse.jobs and (record := self._kit.store.record(job.id)):
                yield Finished(record, reused=True)
                yield from self._score(record)

    def run(self) -> Iterator[Progress]:
        while True:
            self._start()
            self._kit.cache.linger()
            if not self._running and (not self._scoring or self._cancel.asked):
                return
            try:
                event = self._queue.get(timeout=TICK)
            except Empty:
                yield from self._advanced()
                continue
            if isinstance(event, BaseException):
                raise event
            yield from self._handle(event)

    def _handle(self, event: Progress | Queued | Ended | _Scores) -> Iterator[Progress]:
        if isinstance(event, Ended):
            self._running.remove(event.start)
            self._queued.discard(event.start.jobs[0].id)
            if event.left:
                jobs = tuple(one.job for one in event.left)
                self._waiting.insert(0, replace(event.start, jobs=jobs))
            self._start()  # before anything else: the slot is empty
            for record in event.records:
                self._folders.pop(record.job.id, None)
                yield Finished(record, reused=False)
                yield from self._score(record)
        elif isinstance(event, _Scores):
            self._scoring -= 1
            yield from (Scored(result, reused=False) for result in event.results)
            if event.reason and not self._cancel.asked:
                yield from self._rescued(event)
        elif isinstance(event, Queued):
            first = event.start.jobs[0].id
            (self._queued.add if event.waits else self._queued.discard)(first)
        else:
            if isinstance(event, Started):
                self._folders[event.job.id] = (event.job, event.folder)
            yield event

    def _start(self) -> None:
        if self._cancel.asked:
            self._waiting.clear()
        slots = self._kit.slots + len(self._queued)  # somebody else may hold their GPUs for hours: they fill no slot
        while start := schedule.pick(self._waiting, self._running, slots=slots, devices=self._devices()):
            self._waiting.remove(start)
            self._running.append(start)
            self._kit.executor.submit(self._work, start)

    def _devices(self) -> int:
        """Count devices as `schedule.pick` does; shared ones for as many starts as run on them already, and once more.

        How many fit is told by their memory. But no more may wait than there are devices: each holds a thread.
        """
        lessor = self._kit.site.lessor
        if lessor is None:
            return 0
        begun = [start.gpus for start in self._running if start.jobs[0].id in self._folders]
        return len(lessor.devices) + (sum(begun) if lessor.share else 0)

    def _advanced(self) -> Iterator[Advanced]:
        for job, folder in list(self._folders.values()):
            said = outputs.progress(folder / "output")
            if said is not None and said != self._told.get(job.id) and said.item in {one.name for one in job.datasets}:
                self._told[job.id] = said
                yield Advanced(job, said)

    def _work(self, start: Start) -> None:
        try:
            self._queue.put(self._worker.do(start))
        except BaseException as problem:
            self._queue.put(problem)

    # --- scoring ----------------------------------------------------------------------------------------------------

    def _score(self, record: RunRecord) -> Iterator[Scored]:
        """Yield the scores that are there, and have the others made; those of a group when all its members are done."""
        todo: dict[str, list[Scoring]] = {}
        self._records[record.job.id] = record
        for scoring in self._by_job[record.job.id]:
            found = joint.record(scoring, self._record)
            if found is None:
                continue  # another member's job will come here too
            if scoring.id in self._reuse.scorings and (known := self._kit.store.result(scoring.id)):
                yield Scored(known, reused=True)
            elif not any(item.name == scoring.dataset and item.state == "ok" for item in found.items):
                yield Scored(self._unscored(scoring, found.reason, found.state), reused=False)
            elif problem := self._unusable(scoring):
                yield Scored(self._unscored(scoring, problem), reused=False)
            else:
                todo.setdefault(scoring.dataset, []).append(scoring)
        for scorings in todo.values():
            self._submit(scorings)

    def _record(self, job: str) -> RunRecord | None:
        """Give a job's record of this run, or of one before if this one leaves the job out."""
        return self._records.get(job) or (self._kit.store.intact(job) if job in self._left_out else None)

    def _unusable(self, scoring: Scoring) -> str:
        """Say why what a scoring is told of the cells cannot be had, or nothing."""
        unusable = self._prepared.unusable
        if not scoring.parts:
            return unusable[scoring.dataset].message if scoring.dataset in unusable else ""
        spoilt = [one.dataset for one in scoring.parts if one.dataset in unusable]
        return f"member {spoilt[0]}: {unusable[spoilt[0]].message}" if spoilt else ""

    def _submit(self, scorings: Sequence[Scoring]) -> None:
        """Have an output scored by tasks: in one place, since they share what they ask of it."""
        self._scoring += 1
        pairs = [(scoring, score.sent(self._prepared.tasks[scoring.task])) for scoring in scorings]
        store, run, datasets = self._kit.store, self._kit.terms.run, self._prepared.datasets
        first, cache = scorings[0], self._kit.cache
        if first.parts:
            records = [record for part in first.parts if (record := self._record(part.job))]
            several = [datasets[part.dataset] for part in first.parts]
            make = functools.partial(score.all_of_group, pairs, records, several, store, run)
        else:
            caches = (cache.root, *cache.shared)
            record, dataset = self._records[first.job], datasets[first.dataset]
            make = functools.partial(score.all_of, pairs, record, dataset, store, run, caches)

        def then(results: Sequence[TaskResult] | None, reason: str) -> None:
            self._queue.put(_Scores(scorings, results or (), reason))

        self._kit.scorers.submit(make, then)

    def _rescued(self, event: _Scores) -> Iterator[Scored]:
        """Of tasks that went down together: take what was kept before that, and try the others one at a time."""
        for scoring in event.scorings:
            kept, record = self._kit.store.intact_result(scoring.id), joint.record(scoring, self._record)
            good = kept and kept.run == self._kit.terms.run
            if kept and good and record and kept.output == record.output_of(scoring.dataset):
                yield Scored(kept, reused=False)
            elif len(event.scorings) > 1:
                self._submit([scoring])
            else:
                yield Scored(self._unscored(scoring, event.reason), reused=False)

    def _unscored(self, scoring: Scoring, reason: str, state: State = "infrastructure") -> TaskResult:
        missing = score.Scored(score.failed(scoring, state, reason))
        return score.keep(missing, self._kit.store, run=self._kit.terms.run)
