"""Runs one job: writes its request, starts it through an engine, checks what came out. One `Job` → one `RunRecord`."""

import os
import platform
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from pydantic import ValidationError

import cellgauge
from cellgauge import outputs, store
from cellgauge.disk import copy, explained, link
from cellgauge.engines import Engine, Exit, Launch
from cellgauge.errors import ContractViolation, EngineError
from cellgauge.specs import ItemRecord, Job, Model, RunRecord, State, Verb
from cellgauge_model import contract
from cellgauge_model.contract import Item, RunRequest, RunResult

LOG_TAIL = 20
LOG_TAIL_BYTES = 64 << 10


@dataclass(frozen=True)
class Given:
    """One item of a request, and what the host knows of it."""

    item: Item
    files: Mapping[str, Path]
    """Path in the input folder → file on this machine."""
    cells: Sequence[str]
    """The ids of the view's cells."""
    genes: Sequence[str] = ()
    """The names of the view's genes; needed for `predict` alone."""


@dataclass(frozen=True)
class Limits:
    """What one job may use."""

    threads: int = 1
    time_limit: float | None = None
    """Seconds; None: what the manifest says."""


@dataclass
class _Clock:
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self.began = round(now - self.began, 4), now


def run(
    job: Job,
    model: Model,
    given: Sequence[Given],
    folder: Path,
    engine: Engine,
    limits: Limits,
    cancel: Event,
    fault: str = "",
) -> RunRecord:
    """Run a job in an empty folder. Whatever the model does, the answer is a record, not an exception.

    Parameters
    ----------
    fault
        Why it cannot even start, if that is known already.

    Raises
    ------
    StorageError
        If the folder cannot be written: then there is no place for a record either.
    """
    started, clock = store.now_utc(), _Clock()
    with explained(folder):
        launch = _prepare(job, model, given, folder, limits, sealed=engine.sandbox.get("inputs") == "read-only")
    clock.lap("prepare")
    exit = Exit(code=None, cancelled=cancel.is_set())
    try:
        if not cancel.is_set() and not fault:
            exit = engine.run(launch, cancel)
    except EngineError as problem:
        fault = problem.message
    clock.lap("run")
    with explained(folder):
        tail = log_tail(launch.log)
        items = tuple(_judge(one, launch, exit, fault, tail) for one in given)
        shutil.rmtree(launch.scratch, ignore_errors=True)
        if all(item.state == "ok" for item in items):
            for one in given:
                for name in one.files:
                    (launch.input / name).unlink()  # the view stays in the cache; a failed job keeps it, for replay
    clock.lap("check")
    worst = next((item for item in items if item.state != "ok"), items[0])
    return RunRecord(
        job=job,
        state=worst.state,
        reason=worst.reason,
        items=items,
        engine=engine.name,
        sandbox=engine.sandbox,
        exit_code=exit.code,
        log_tail=tail if worst.state != "ok" else (),
        started=started,
        seconds=clock.seconds,
        host=platform.node(),
        cellgauge=cellgauge.__version__,
    )


def _prepare(job: Job, model: Model, given: Sequence[Given], folder: Path, limits: Limits, *, sealed: bool) -> Launch:
    needs = model.spec.resources
    cells = max(len(one.cells) for one in given)
    launch = Launch(
        job=job.id,
        verb=job.verb,
        model=model.spec.name,
        image=job.image,
        command=model.spec.command,
        folder=model.folder,
        input=folder / "input",
        output=folder / "output",
        scratch=folder / "scratch",
        log=folder / "log.txt",
        cpus=limits.threads,
        memory_mb=needs.memory_mb + needs.memory_mb_per_10k_cells * cells // 10_000,
        shm_mb=needs.shm_mb,
        time_limit=limits.time_limit or needs.time_limit,
    )
    for path in (launch.input, launch.output, launch.scratch):
        path.mkdir()
    for one in given:
        for name, source in one.files.items():
            # Where the engine cannot keep a model from writing to its input, it gets a copy: views are shared.
            place = link if sealed else copy
            place(source, launch.input / name)
    request = RunRequest(
        contract=job.contract,
        job=job.id,
        verb=job.verb,
        variant=job.variant,
        items=[one.item for one in given],
        params=dict(job.params),
        seed=job.seed,
        threads=limits.threads,
        time_limit=launch.time_limit,
    )
    contract.write_atomically(launch.input / contract.REQUEST, contract.to_json(request))
    return launch


def _judge(one: Given, launch: Launch, exit: Exit, fault: str, tail: Sequence[str]) -> ItemRecord:
    """Decide one item's state: its own result counts, where there is a good one; otherwise how the process ended."""
    name = one.item.name
    try:
        result = outputs.result(launch.output, name)
        if result is not None and result.status == "ok":
            return _accept(one, launch.output, launch.verb, result)
    except ContractViolation as problem:
        return ItemRecord(name=name, state="contract_violation", reason=problem.message)
    except (OSError, ValidationError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem.errors()[0]["msg"]
        return ItemRecord(name=name, state="contract_violation", reason=f"the output cannot be read: {reason}")
    state, reason = ended(exit, result, fault, launch.time_limit)
    if result is None and state == "model_error" and tail:
        reason += f": {_cause(tail)[:500]}"
    return ItemRecord(name=name, state=state, reason=reason, **_told(result))


def _accept(one: Given, output: Path, verb: Verb, result: RunResult) -> ItemRecord:
    name = one.item.name
    if verb == "embed":
        shape = outputs.embedding(output, name, one.cells).shape
    else:
        shape = outputs.prediction(output, one.item, one.genes)
    digest = outputs.digest(output, name, verb)  # our own: what the model says of itself is not evidence
    return ItemRecord(name=name, state="ok", shape=shape, sha256=digest, **_told(result))


def _told(result: RunResult | None) -> dict[str, object]:
    if result is None:
        return {}
    return {
        "gene_coverage": result.gene_coverage,
        "timings": result.timings,
        "peak_memory": result.peak_memory,
        "versions": result.versions,
        "warnings": tuple(result.warnings),
    }


def ended(exit: Exit, result: RunResult | None, fault: str, time_limit: float) -> tuple[State, str]:
    """Name what happened to an item without a good result. Pure; the engine's word counts before the model's.

    Parameters
    ----------
    result
        What the model itself says, if it said anything.
    fault
        What went wrong in the engine, if anything did.
    """
    if fault:
        return "infrastructure", fault
    if exit.cancelled:
        return "cancelled", "stopped on request"
    if exit.timed_out:
        return "timeout", f"stopped after its limit of {time_limit:g} s"
    if exit.oom_killed:
        return "out_of_memory", "killed by the kernel: it used more memory than its limit"
    if result is not None and result.error is not None:
        return _said(result.error)
    if exit.code in _CODES:
        return _CODES[exit.code]
    if exit.code == 0:
        return "contract_violation", "exited with 0 and wrote no result.json (does the program call `serve`?)"
    if number := _signal_number(exit.code):
        return "model_error", f"killed by {number}"
    return "model_error", f"exited with {exit.code}"


def _cause(tail: Sequence[str]) -> str:
    """Pick the line that says most: an exception's, or the last. stdout and stderr may be mixed up."""
    return next((line for line in reversed(tail) if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)), tail[-1])


_CODES: dict[int | None, tuple[State, str]] = {
    contract.EXIT_BAD_REQUEST: ("contract_violation", "refused the request (exit code 2)"),
    contract.EXIT_INVALID_INPUT: ("model_error", "says that its input is invalid (exit code 3)"),
    contract.EXIT_WEIGHTS: ("model_error", "says that weights are missing or damaged (exit code 4)"),
    contract.EXIT_RESOURCES: ("out_of_memory", "says that it ran out of resources (exit code 5)"),
    **dict.fromkeys(contract.EXIT_CANCELLED, ("cancelled", "was told to stop from outside (SIGINT or SIGTERM)")),
    contract.EXIT_NOT_APPLICABLE: ("not_applicable", "says that it is not meant for this input (exit code 99)"),
}


def _said(error: contract.Problem) -> tuple[State, str]:
    states: dict[str, State] = {
        "not_applicable": "not_applicable",
        "out_of_memory": "out_of_memory",
        "gpu_out_of_memory": "gpu_out_of_memory",
    }
    return states.get(error.type, "model_error"), error.message[:2000]


def _signal_number(code: int | None) -> str:
    """Name the signal behind an exit code: 128 + n from a container, -n from a process."""
    number = -code if code is not None and code < 0 else code - 128 if code is not None and code > 128 else 0
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def log_tail(path: Path) -> tuple[str, ...]:
    """Read a log's last lines, without what would move a terminal's cursor."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    lines = ["".join(c for c in line if c.isprintable() or c == "\t") for line in text.splitlines()]
    return tuple(line for line in lines if line.strip())[-LOG_TAIL:]
