"""Does what a plan says: starts models, scores their outputs, keeps each thing the moment it is finished."""

import functools
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from cellgauge import execute, gpus, outputs, schedule, score
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import DatasetError, EngineError
from cellgauge.execute import Terms, Work
from cellgauge.meter import Meter
from cellgauge.pantry import Pantry
from cellgauge.pipeline import Prepared, Reuse, Site
from cellgauge.schedule import Start
from cellgauge.scorers import Scorers
from cellgauge.specs import GpuUse, Job, RunRecord, Scoring, State, TaskResult
from cellgauge.store import Store

TICK = 1.0
"""Seconds between looks at what running models say of their progress."""


@dataclass(frozen=True)
class Started:
    """A job has begun."""

    job: Job
    folder: Path
    """Where it runs."""
    devices: tuple[str, ...] = ()


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
class Kit:
    """What a run is done with."""

    store: Store
    engine: Engine
    executor: Executor
    slots: int
    """Starts of models at once."""
    scorers: Scorers
    cache: Path
    site: Site
    engine_version: str = ""
    gpu_wait: float | None = None
    """Seconds that a job may wait for a GPU; None: as long as it takes."""
    terms: Terms = field(default_factory=Terms)
    warm: bool = False
    refresh: bool = False
    only: frozenset[str] | None = None
    """Jobs that may run; None: all that are not there."""

    @property
    def inventory(self) -> gpus.Inventory | None:
        return self.site.lessor.inventory if self.site.lessor else None


@dataclass(frozen=True)
class _Ended:
    start: Start
    records: Sequence[RunRecord]
    left: Sequence[Work]


@dataclass(frozen=True)
class _Scores:
    scorings: Sequence[Scoring]
    results: Sequence[TaskResult]
    reason: str


class _Spoilt(Exception):
    """Of one job of a start, what it needs cannot be made."""

    def __init__(self, job: Job, fault: EngineError) -> None:
        super().__init__(fault.message)
        self.job, self.fault = job, fault


_Event = Progress | _Ended | _Scores | BaseException


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


class _Loop:
    def __init__(self, prepared: Prepared, reuse: Reuse, kit: Kit, cancel: Cancel) -> None:
        self._prepared, self._kit, self._cancel = prepared, kit, cancel
        self._reuse = Reuse() if kit.refresh else reuse
        self._queue: SimpleQueue[_Event] = SimpleQueue()
        self._by_job: dict[str, list[Scoring]] = {job.id: [] for job in prepared.plan.jobs}
        for scoring in prepared.plan.scorings:
            self._by_job[scoring.job].append(scoring)
        waiting = [job for job in prepared.plan.jobs if self._has_to_run(job)]
        devices = {name: model.spec.resources.gpus for name, model in prepared.models.items()}
        devices |= dict.fromkeys(prepared.unavailable, 0)  # only to be recorded
        self._waiting = schedule.starts(waiting, devices, kit.store.history(), warm=kit.warm)
        self._running: list[Start] = []
        self._folders: dict[str, tuple[Job, Path]] = {}
        self._told: dict[str, outputs.Progress] = {}
        self._scoring = 0
        able = [job for start in self._waiting for job in start.jobs if job.model not in prepared.unavailable]
        self._pantry = Pantry(able, prepared.models, prepared.datasets, kit.engine, kit.store, kit.cache)

    def _has_to_run(self, job: Job) -> bool:
        return job.id not in self._reuse.jobs and (self._kit.only is None or job.id in self._kit.only)

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

    def _handle(self, event: Progress | _Ended | _Scores) -> Iterator[Progress]:
        if isinstance(event, _Ended):
            self._running.remove(event.start)
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
                for scoring in event.scorings:
                    yield Scored(self._unscored(scoring, event.reason), reused=False)
        else:
            if isinstance(event, Started):
                self._folders[event.job.id] = (event.job, event.folder)
            yield event

    def _start(self) -> None:
        if self._cancel.asked:
            self._waiting.clear()
        lessor = self._kit.site.lessor
        devices = 0 if lessor is None else self._kit.slots * 8 if lessor.share else len(lessor.devices)
        while start := schedule.pick(self._waiting, self._running, slots=self._kit.slots, devices=devices):
            self._waiting.remove(start)
            self._running.append(start)
            self._kit.executor.submit(self._work, start)

    def _advanced(self) -> Iterator[Advanced]:
        for job, folder in list(self._folders.values()):
            said = outputs.progress(folder / "output")
            if said is not None and said != self._told.get(job.id) and said.item in {one.name for one in job.datasets}:
                self._told[job.id] = said
                yield Advanced(job, said)

    # --- in a thread of the executor ------------------------------------------------------------------------------

    def _work(self, start: Start) -> None:
        try:
            self._queue.put(self._done(start))
        except BaseException as problem:
            self._queue.put(problem)

    def _done(self, start: Start) -> _Ended:
        kit, store = self._kit, self._kit.store
        with store.workspace(start.jobs[0].id) as folder:
            done, left, uses = self._executed(start, folder)
            told = {
                "gpus": uses,
                "packages": self._pantry.packages(start.jobs[0].image),
                "engine_version": kit.engine_version,
            }
            records = [store.keep(one.folder, one.record.model_copy(update=told), refresh=kit.refresh) for one in done]
        for record in records:
            if record.state == "ok":
                store.note(record)
        return _Ended(start, records, left)

    def _executed(
        self, start: Start, folder: Path
    ) -> tuple[list[execute.Done], list[execute.Work], tuple[GpuUse, ...]]:
        """Run the jobs of a start; a fault before that is a record too."""
        kit, model, first = self._kit, self._prepared.models[start.jobs[0].model], start.jobs[0]
        terms, work = kit.terms, [Work(job, ()) for job in start.jobs]
        run = functools.partial(execute.run, model=model, folder=folder, engine=kit.engine, cancel=self._cancel)
        try:
            if reason := self._prepared.unavailable.get(first.model):
                raise EngineError(reason, lasting=True, phase="prepare")
            work, weights = self._provisions(start)
            terms = replace(terms, weights=weights)
            with self._lease(start) as devices, Meter(devices, kit.inventory) as meter:
                terms = replace(terms, gpus=tuple(one.uuid for one in devices))
                for job in start.jobs:
                    self._queue.put(Started(job, folder, terms.gpus))
                done, left = run(work, terms=terms)
            return [_without_gpu(one, meter.lost) for one in done], left, meter.uses()
        except gpus.Stopped:
            return *run(work, terms=terms), ()
        except _Spoilt as problem:
            done, _ = run([Work(problem.job, ())], terms=replace(terms, fault=problem.fault))
            return done, [one for one in work if one.job != problem.job], ()
        except EngineError as problem:
            return *run(work, terms=replace(terms, fault=problem)), ()

    def _provisions(self, start: Start) -> tuple[list[Work], Path | None]:
        try:
            return [self._given(job) for job in start.jobs], self._pantry.weights(start.jobs[0])
        except DatasetError as problem:
            raise EngineError(problem.message, problem.hint, lasting=True, phase="prepare") from problem
        except CancelledError:
            return [Work(job, ()) for job in start.jobs], None  # the run is being stopped, and this will not start

    def _given(self, job: Job) -> Work:
        try:
            return Work(job, self._pantry.given(job))
        except DatasetError as problem:
            raise _Spoilt(job, EngineError(problem.message, lasting=True, phase="prepare")) from problem

    def _lease(self, start: Start) -> AbstractContextManager[tuple[gpus.Device, ...]]:
        lessor = self._kit.site.lessor
        if not start.gpus or lessor is None:
            return nullcontext(())
        needs = self._prepared.models[start.jobs[0].model].spec.resources
        return lessor.lease(
            needs.gpus,
            needs.gpu_memory_mb,
            lambda: self._cancel.asked,
            wait=self._kit.gpu_wait,
            busy=self._kit.engine.gpus_in_use,
        )

    # --- scoring ----------------------------------------------------------------------------------------------------

    def _score(self, record: RunRecord) -> Iterator[Scored]:
        """Yield the scores that are there, and have the others made."""
        todo: dict[str, list[Scoring]] = {}
        for scoring in self._by_job[record.job.id]:
            if scoring.id in self._reuse.scorings and (known := self._kit.store.result(scoring.id)):
                yield Scored(known, reused=True)
            elif any(item.name == scoring.dataset and item.state == "ok" for item in record.items):
                todo.setdefault(scoring.dataset, []).append(scoring)
            else:
                yield Scored(self._unscored(scoring, record.reason, record.state), reused=False)
        for dataset, scorings in todo.items():
            self._scoring += 1
            pairs = [(scoring, self._prepared.tasks[scoring.task]) for scoring in scorings]
            make = functools.partial(
                score.all_of, pairs, record, self._prepared.datasets[dataset], self._kit.store, self._kit.terms.run
            )
            self._kit.scorers.submit(make, functools.partial(self._scored, scorings))

    def _scored(self, scorings: Sequence[Scoring], results: Sequence[TaskResult] | None, reason: str) -> None:
        self._queue.put(_Scores(scorings, results or (), reason))

    def _unscored(self, scoring: Scoring, reason: str, state: State = "infrastructure") -> TaskResult:
        result = score.failed(scoring, state, reason).model_copy(update={"run": self._kit.terms.run})
        kept = self._kit.store.intact_result(scoring.id) if self._kit.refresh else None
        if kept is None or kept.state != "ok":  # as with records, a good one is never replaced by one that failed
            self._kit.store.keep_result(result)
        return result


def _without_gpu(done: execute.Done, lost: str) -> execute.Done:
    """Do not blame a model for the loss of its GPU."""
    if not lost or done.record.state in ("ok", "cancelled", "infrastructure"):
        return done
    changes = {"state": "infrastructure", "reason": f"the GPU was lost: {lost} ({done.record.reason})"}
    items = tuple(one if one.state == "ok" else one.model_copy(update=changes) for one in done.record.items)
    return replace(done, record=done.record.model_copy(update={**changes, "items": items}))
