"""Does one start of a model, in a thread of the executor: waits for what it needs, runs it, keeps what came out."""

import functools
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cellgauge import execute, gpus
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import DatasetError, EngineError, StorageError
from cellgauge.meter import Meter
from cellgauge.pantry import Pantry
from cellgauge.pipeline import Prepared, Site
from cellgauge.request import Terms, Work
from cellgauge.schedule import Start
from cellgauge.scorers import Scorers
from cellgauge.specs import GpuUse, Job, Model, RunRecord
from cellgauge.store import Store

PACE = 0.2


@dataclass(frozen=True)
class Started:
    """A job has begun."""

    job: Job
    folder: Path
    """Where it runs."""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Queued:
    """A start waits for GPUs that somebody else has, or it waits no longer."""

    start: Start
    waits: bool


@dataclass(frozen=True)
class Kit:
    """What a run is done with."""

    store: Store
    engine: Engine
    executor: Executor
    slots: int
    """Starts of models at once."""
    scorers: Scorers
    cache: Cache
    site: Site
    engine_version: str = ""
    gpu_wait: float | None = None
    """Seconds that a job may wait for a GPU; None: as long as it takes."""
    terms: Terms = field(default_factory=Terms)
    warm: bool = False
    refresh: bool = False
    only: frozenset[str] | None = None
    """Jobs that may run, as `plan.place` names them; None: all that are not there."""

    @property
    def inventory(self) -> gpus.Inventory | None:
        return self.site.lessor.inventory if self.site.lessor else None


@dataclass(frozen=True)
class Ended:
    """A start has ended, and its records are kept."""

    start: Start
    records: Sequence[RunRecord]
    left: Sequence[Work]


class _Spoilt(Exception):
    """Of one job of a start, what it needs cannot be made."""

    def __init__(self, job: Job, fault: EngineError) -> None:
        super().__init__(fault.message)
        self.job, self.fault = job, fault


@dataclass(frozen=True)
class Worker:
    """What every start of a run is done with."""

    prepared: Prepared
    kit: Kit
    pantry: Pantry
    cancel: Cancel
    say: Callable[[Started | Queued], None]
    seats: threading.BoundedSemaphore
    """As many as models may run at once."""

    def do(self, start: Start) -> Ended:
        kit, store = self.kit, self.kit.store
        with store.workspace(start.jobs[0].id) as folder:
            try:
                done, left, uses = self._executed(start, folder)
            except StorageError:
                raise
            except Exception as problem:  # a bug of ours, or of an engine, at one job is no reason to stop the others
                done, left, uses = self._broken(start, folder, problem)
            told = {
                "gpus": uses,
                "packages": self.pantry.packages(start.jobs[0].image),
                "engine_version": kit.engine_version,
            }
            fresh = kit.refresh or kit.only is not None  # whoever asks again for a job does not want the one of before
            records = [store.keep(one.folder, one.record.model_copy(update=told), refresh=fresh) for one in done]
        for record in records:
            if record.state == "ok":
                store.note(record)
        return Ended(start, records, left)

    def _broken(
        self, start: Start, folder: Path, problem: Exception
    ) -> tuple[list[execute.Done], list[Work], tuple[GpuUse, ...]]:
        lines = traceback.format_exception(problem)
        fault = EngineError(f"internal error: {type(problem).__name__}: {problem}", lasting=True, phase="run")
        again = folder / "again"
        again.mkdir()
        (again / "log.txt").write_text("".join(lines))
        terms = replace(self.kit.terms, fault=fault)
        work = [Work(job, ()) for job in start.jobs]
        model = self.prepared.models[start.jobs[0].model]
        return *execute.run(work, model, again, self.kit.engine, terms, self.cancel), ()

    def _executed(self, start: Start, folder: Path) -> tuple[list[execute.Done], list[Work], tuple[GpuUse, ...]]:
        """Run the jobs of a start; a fault before that is a record too."""
        kit, name = self.kit, start.jobs[0].model
        model, work = self.prepared.models[name], [Work(job, ()) for job in start.jobs]
        terms = replace(kit.terms, program=self.prepared.programs.get(name), fault=self.prepared.unavailable.get(name))
        run = functools.partial(execute.run, model=model, folder=folder, engine=kit.engine, cancel=self.cancel)
        if terms.fault:
            return *run(work, terms=terms), ()
        try:
            work, weights = self._provisions(start)
            terms = replace(terms, weights=weights)
            with self._leased(model, start) as devices, self._seat(), Meter(devices, kit.inventory) as meter:
                terms = replace(terms, gpus=tuple(one.uuid for one in devices))
                for job in start.jobs:
                    self.say(Started(job, folder, terms.gpus))
                done, left = run(work, terms=terms)
            return [_without_gpu(one, meter.lost) for one in done], left, meter.uses()
        except gpus.Stopped:
            return *run(work, terms=terms), ()
        except _Spoilt as problem:
            done, _ = run([Work(problem.job, ())], terms=replace(terms, fault=problem.fault))
            return done, [one for one in work if one.job != problem.job], ()
        except EngineError as problem:
            return *run(work, terms=replace(terms, fault=problem)), ()

    @contextmanager
    def _leased(self, model: Model, start: Start) -> Iterator[tuple[gpus.Device, ...]]:
        """Hold the devices of a start; tell where it has to wait for them, which may take hours."""
        kit, waits = self.kit, False

        def queued() -> None:
            nonlocal waits
            waits = True
            self.say(Queued(start, waits=True))

        with kit.site.lease(model, kit.engine, self.cancel, kit.gpu_wait, queued) as devices:
            if waits:
                self.say(Queued(start, waits=False))
            yield devices

    @contextmanager
    def _seat(self) -> Iterator[None]:
        """Wait until one more model may run, which those who had to wait for a GPU find out only now."""
        while not self.seats.acquire(timeout=PACE):
            if self.cancel.asked:
                raise gpus.Stopped
        try:
            yield
        finally:
            self.seats.release()

    def _provisions(self, start: Start) -> tuple[list[Work], Path | None]:
        try:
            return [self._given(job) for job in start.jobs], self.pantry.weights(start.jobs[0])
        except DatasetError as problem:
            raise EngineError(problem.message, problem.hint, lasting=True, phase="prepare") from problem
        except CancelledError:
            return [Work(job, ()) for job in start.jobs], None  # the run is being stopped, and this will not start

    def _given(self, job: Job) -> Work:
        try:
            return Work(job, self.pantry.given(job))
        except DatasetError as problem:
            raise _Spoilt(job, EngineError(problem.message, lasting=True, phase="prepare")) from problem


def _without_gpu(done: execute.Done, lost: str) -> execute.Done:
    """Do not blame a model for the loss of its GPU."""
    if not lost or done.record.state in ("ok", "cancelled", "infrastructure"):
        return done
    changes = {"state": "infrastructure", "reason": f"the GPU was lost: {lost} ({done.record.reason})"}
    items = tuple(one if one.state == "ok" else one.model_copy(update=changes) for one in done.record.items)
    return replace(done, record=done.record.model_copy(update={**changes, "items": items}))
