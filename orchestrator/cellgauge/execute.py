"""Starts a model once for one or several jobs: writes its request, runs it, checks what came out of each job."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

import cellgauge
from cellgauge import disk, outputs, predictions, provenance, request, store
from cellgauge.disk import explained
from cellgauge.engines import Cancel, Engine, Exit, Launch
from cellgauge.errors import ContractViolation, EngineError, Phase
from cellgauge.machine import describe
from cellgauge.outcome import ended, log_tail
from cellgauge.request import Given, Terms, Work
from cellgauge.specs import REUSABLE, Attempt, ItemRecord, Job, Model, RunRecord, State, Verb
from cellgauge_model.contract import RunResult

LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""
FEW = 0.8
"""A share of genes below which the reader of a score is told."""
THERE = "/{job}"
"""Stands for the job's folder, which has another name while the job runs."""


@dataclass(frozen=True)
class Done:
    """A job that has ended, and the folder that holds all of it."""

    record: RunRecord
    folder: Path


@dataclass
class _Clock:
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self.began = round(now - self.began, 4), now

    def skip(self) -> None:
        self.began = time.perf_counter()


@dataclass(frozen=True)
class _End:
    """How the last attempt ended."""

    exit: Exit
    fault: EngineError | None
    started: str = ""
    seconds: float = 0.0
    """Of this attempt alone, its start with it."""
    attempts: tuple[Attempt, ...] = ()
    """Those before it."""


def run(
    work: Sequence[Work], model: Model, folder: Path, engine: Engine, terms: Terms, cancel: Cancel
) -> tuple[list[Done], list[Work]]:
    """Start a model in an empty folder. Whatever it does, the answer is a record a job, not an exception.

    Returns
    -------
    The jobs that have ended; and those that were never reached, since the model broke down at one before them. They
    have to be started again.

    Raises
    ------
    StorageError
        If the folder cannot be written: then there is no place for a record either.
    """
    started, clock = store.now_utc(), _Clock()
    with explained(folder):
        launch = request.prepare(work, model, folder, terms, engine)
    clock.lap("prepare")
    end = _Attempts(launch, engine, terms, cancel).until_the_end()
    clock.skip()  # attempts that failed, and the pauses after them
    clock.seconds["start"] = round(end.exit.start_seconds, 4)
    clock.seconds["run"] = round(end.seconds - end.exit.start_seconds, 4)
    left = _unreached(work, launch, end)
    done = []
    with explained(folder):
        tail = log_tail(launch.log)
        for one in (one for one in work if one not in left):
            items = tuple(_judge(given, launch, end, tail) for given in one.given) or _never(one.job, launch, end)
            clock.lap("check")
            record = _record(one.job, items, launch, end, engine, tail)
            record = record.model_copy(update={"started": started, "seconds": dict(clock.seconds)})
            if len(work) > 1:
                together = tuple(other.job.id for other in work)
                record = record.model_copy(update={"together": together})
            done.append(Done(record, request.own_folder(one, launch, folder) if len(work) > 1 else folder))
        disk.remove(launch.scratch)
        for finished, one in ((finished, one) for finished in done for one in work if one.job == finished.record.job):
            _tidy(finished, one)
    return done, left


@dataclass
class _Attempts:
    """Tries a start; and again, after a pause, where the fault was neither the model's nor a lasting one."""

    launch: Launch
    engine: Engine
    terms: Terms
    cancel: Cancel
    failed: list[Attempt] = field(default_factory=list)

    def until_the_end(self) -> _End:
        if self.terms.fault:
            return _End(Exit(code=None), self.terms.fault)
        found: _End = Retrying(
            retry=retry_if_result(lambda end: bool(end.fault and not end.fault.lasting and not self.cancel.asked)),
            stop=stop_after_attempt(1 + self.terms.retries),
            wait=wait_random_exponential(multiplier=self.terms.pause, max=LONGEST_PAUSE),
            sleep=self.cancel.sleep,
            before_sleep=lambda state: self._clear(state.outcome.result()),  # type: ignore[union-attr]
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )(self._once)
        if found.fault and self.cancel.asked and not found.fault.lasting:
            found = replace(found, exit=Exit(code=None, cancelled=True), fault=None)
        return replace(found, attempts=tuple(self.failed))

    def _once(self) -> _End:
        started, began = store.now_utc(), time.perf_counter()
        try:
            exit, fault = self._run(), None
        except EngineError as problem:
            exit, fault = Exit(code=None), problem
        return _End(exit, fault, started=started, seconds=time.perf_counter() - began)

    def _run(self) -> Exit:
        return Exit(code=None, cancelled=True) if self.cancel.asked else self.engine.run(self.launch, self.cancel)

    def _clear(self, end: _End) -> None:
        """Note what failed, keep its log, and make room for the next attempt."""
        assert end.fault is not None  # noqa: S101 - else it would not be tried again
        log = f"attempts/{self.launch.run or 'run'}-{len(self.failed) + 1}.txt"
        kept = self.launch.log.parent / log
        with explained(kept):
            if self.launch.log.exists():
                kept.parent.mkdir(exist_ok=True)
                self.launch.log.rename(kept)
            for path in (self.launch.output, self.launch.scratch):
                disk.remove(path)
                path.mkdir()
        attempt = Attempt(
            run=self.terms.run,
            state="infrastructure",
            phase=end.fault.phase or "start",
            reason=end.fault.message,
            started=end.started,
            seconds={"run": round(end.seconds, 4)},
            log=log if kept.exists() else "",
        )
        self.failed.append(attempt)


def _unreached(work: Sequence[Work], launch: Launch, end: _End) -> list[Work]:
    """Find the jobs of which the model has said nothing, but for the one that it broke down at."""
    if len(work) == 1 or end.fault or end.exit.cancelled or end.exit.code == 0:
        return []
    silent = [one for one in work if not any(outputs.told(launch.output, given.item.name) for given in one.given)]
    at = outputs.progress(launch.output)
    broke = [one for one in silent if at and any(given.item.name == at.item for given in one.given)] or silent
    return [one for one in silent if one is not broke[0]]


def _judge(one: Given, launch: Launch, end: _End, tail: Sequence[str]) -> ItemRecord:
    """Decide one item's state: its own result counts, where there is a good one; otherwise how the process ended."""
    name = one.item.name
    try:
        result = outputs.result(launch.output, name)
        if result is not None and result.status == "ok":
            return _accept(one, launch.output, launch.verb, result)
    except ContractViolation as problem:
        return ItemRecord(name=name, state="contract_violation", reason=problem.message)
    except MemoryError:
        return ItemRecord(name=name, state="contract_violation", reason="the output is too large to be read here")
    except (OSError, ValidationError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem.errors()[0]["msg"]
        return ItemRecord(name=name, state="contract_violation", reason=f"the output cannot be read: {reason}")
    fault = end.fault.message if end.fault else ""
    state, reason = ended(end.exit, result, fault, launch.limits, tail)
    return ItemRecord(name=name, state=state, reason=reason, **_told(result))


def _never(job: Job, launch: Launch, end: _End) -> tuple[ItemRecord, ...]:
    """Say of a job that had nothing to start with how it ended."""
    state, reason = ended(end.exit, None, end.fault.message if end.fault else "", launch.limits)
    return tuple(ItemRecord(name=one.name, state=state, reason=reason) for one in job.datasets)


def _accept(one: Given, output: Path, verb: Verb, result: RunResult) -> ItemRecord:
    name = one.item.name
    if verb == "embed":
        shape = outputs.embedding(output, name, one.cells).shape
    else:
        shape = predictions.check(output, one.item, one.genes, one.level)
    digest = outputs.digest(output, name, verb)  # our own: what the model says of itself is not evidence
    found = ItemRecord(name=name, state="ok", shape=shape, sha256=digest, genes=one.coverage, **_told(result))
    if one.coverage and one.coverage.share < FEW:
        few = f"only {one.coverage.kept:,} of {one.coverage.given:,} genes have an id that the model takes"
        return found.model_copy(update={"warnings": (few, *found.warnings)})
    return found


def _told(result: RunResult | None) -> dict[str, object]:
    if result is None:
        return {}
    return {
        "gene_coverage": result.gene_coverage,
        "timings": result.timings,
        "cpu_seconds": result.cpu_seconds,
        "peaks": result.peaks,
        "peak_memory": result.peak_memory,
        "versions": result.versions,
        "warnings": tuple(result.warnings),
    }


def _record(
    job: Job, items: tuple[ItemRecord, ...], launch: Launch, end: _End, engine: Engine, tail: tuple[str, ...]
) -> RunRecord:
    worst = next((item for item in items if item.state != "ok"), items[0])
    return RunRecord(
        job=job,
        state=worst.state,
        reason=worst.reason,
        phase=_phase(worst.state, end.fault),
        items=items,
        run=launch.run,
        attempts=end.attempts,
        engine=engine.name,
        sandbox=engine.sandbox(launch),
        exit_code=end.exit.code,
        log_tail=tail if worst.state != "ok" else (),
        started="",
        seconds={},
        limits=launch.limits,
        used=end.exit.used,
        replay=_replay(engine, launch),
        host=platform.node(),
        machine=describe(),
        cellgauge=cellgauge.__version__,
        code=provenance.code(),
    )


def _phase(state: State, fault: EngineError | None) -> Phase | None:
    """Name what was being done when it went wrong; None where nothing did."""
    if state in REUSABLE:
        return None
    if state == "contract_violation":
        return "check"
    return (fault.phase or "start") if fault else "run"


def _replay(engine: Engine, launch: Launch) -> tuple[str, ...]:
    here = Path(THERE)
    paths = {"input": here / "input", "output": here / "output", "scratch": here / "scratch", "log": here / "log.txt"}
    return tuple(word.replace(THERE, THERE[1:]) for word in engine.replay(launch.model_copy(update=paths)))


def _tidy(done: Done, one: Work) -> None:
    """Remove what the cache holds anyway; a failed job keeps its input, so that it can be replayed."""
    if done.record.state == "ok":
        for name in (name for given in one.given for name in given.files):
            (done.folder / "input" / name).unlink(missing_ok=True)
