"""Does a run from what was asked to the table: shared by `run` and `retry`."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.cli import setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.engines import Engine
    from cellgauge.evaluate import Progress
    from cellgauge.pipeline import Prepared, Reuse, Site
    from cellgauge.settings import Settings
    from cellgauge.specs import Asked, Plan, Run, State
    from cellgauge.store import Store


def perform(
    asked: "Asked", chosen: "Settings", *, run_id: str = "", events: Path | None = None, as_json: bool = False
) -> int:
    """Prepare, run, score and show; return the exit code: 0 if every planned result is there."""
    from cellgauge import pipeline, store
    from cellgauge import plan as planning
    from cellgauge.errors import CellgaugeError, Interrupted, StorageError, UsageError
    from cellgauge.report import document, table

    kept = store.Store(chosen.results)
    kept.prepare()
    engine = setup.engine(chosen)
    if run_id:  # detached: others may ask for it from now on
        kept.keep_run(_started(asked, chosen, run_id, engine.name, None))
    for left in (*kept.sweep(), *engine.sweep()):
        say(f"removed, left by a run that was killed: {left}")
    try:
        with setup.ensured(engine, chosen, asked.changes.pull) as image_of:
            prepared, site = setup.prepare(asked, chosen, image_of)
    except BaseException:
        if run_id and (begun := kept.run(run_id)):
            kept.keep_run(begun.model_copy(update={"ended": store.now_utc(), "outcome": "failed"}))
        raise
    if asked.only is not None and not {planning.place(job) for job in prepared.plan.jobs} & set(asked.only):
        raise UsageError("none of these jobs is in the plan any more", "Give the command of the run again.")
    reuse = pipeline.reusable(prepared.plan, kept)
    this = _started(asked, chosen, run_id or store.new_run_id(), engine.name, prepared.plan)
    kept.keep_run(this)
    failures: dict[str, tuple[State, str]] = {}
    try:
        _evaluate(this, prepared, reuse, site, engine, kept, chosen, events, failures)
    except CellgaugeError as problem:
        outcome: Any = "cancelled" if isinstance(problem, Interrupted) else "failed"
        with suppress(StorageError):  # the disk may be full, which is said below
            kept.keep_run(this.model_copy(update={"ended": store.now_utc(), "outcome": outcome, "failures": failures}))
        say(f"what there is: cellgauge show {this.id}")
        raise
    this = this.model_copy(update={"ended": store.now_utc(), "failures": failures})
    found = document.collect(this, kept)
    kept.keep_run(this.model_copy(update={"outcome": "complete" if found.complete else "incomplete"}))
    if as_json:
        show_json(found)
    else:
        out.print(table.render(found, prepared.tasks))
        out.print(f"results: {kept.root.absolute()}  (again: cellgauge show {this.id})", soft_wrap=True)
    return 0 if found.complete else 1


def _started(asked: "Asked", chosen: "Settings", run_id: str, engine: str, plan: "Plan | None") -> "Run":
    import cellgauge
    from cellgauge import owner, store
    from cellgauge.specs import Plan, Run

    places = {"catalog": chosen.catalog, "models_path": chosen.models_path}
    return Run(
        id=run_id,
        command=shlex.join(["cellgauge", *_words()]),
        started=store.now_utc(),
        engine=engine,
        owner=owner.me().token,
        asked=asked,
        places={name: [str(path.absolute()) for path in paths] for name, paths in places.items()},
        plan=plan or Plan(jobs=(), scorings=()),
        prepared=plan is not None,
        cellgauge=cellgauge.__version__,
    )


def _words() -> list[str]:
    """The command line as a person gave it."""
    words = sys.argv[1:]
    return words[: words.index("--run-id")] if "--run-id" in words else words


def _noted(happens: "Iterable[Progress]", failures: "dict[str, tuple[State, str]]") -> "Iterator[Progress]":
    """Note what fails in this run, since a good result of before may stay in the store."""
    from cellgauge.evaluate import Scored
    from cellgauge.store import REUSABLE

    for one in happens:
        if isinstance(one, Scored) and one.result.state not in REUSABLE:
            failures[one.result.scoring.id] = (one.result.state, one.result.reason)
        yield one


def _evaluate(
    this: "Run",
    prepared: "Prepared",
    reuse: "Reuse",
    site: "Site",
    engine: "Engine",
    kept: "Store",
    chosen: "Settings",
    events: Path | None,
    failures: "dict[str, tuple[State, str]]",
) -> None:
    from cellgauge import evaluate, executors
    from cellgauge.cli.live import follow
    from cellgauge.engines import Cancel
    from cellgauge.errors import EngineError
    from cellgauge.events import record
    from cellgauge.request import Terms
    from cellgauge.scorers import Scorers
    from cellgauge.worker import Kit

    asked = this.asked
    assert asked is not None  # noqa: S101 - set where `this` was made
    cancel = Cancel()
    gpus = len(site.lessor.devices) if site.lessor else 0
    kit = Kit(
        store=kept,
        engine=engine,
        engine_version=engine.check(),
        executor=executors.make(f"threads:{chosen.jobs + gpus}"),
        slots=chosen.jobs,
        scorers=Scorers(chosen.scorers),
        cache=chosen.cache,
        site=site,
        gpu_wait=chosen.gpu_wait,
        terms=Terms(
            cpus=max(1, executors.cpus() // chosen.jobs), changes=asked.changes, retries=asked.retries, run=this.id
        ),
        warm=asked.warm,
        refresh=asked.refresh,
        only=None if asked.only is None else frozenset(asked.only),
    )
    files = [kept.run_file(this.id, "events.jsonl"), *([events] if events else [])]
    done = frozenset() if asked.refresh else reuse.jobs
    try:
        # Closed, since otherwise what runs would go on where something breaks in between: a full disk, a lost terminal.
        with closing(evaluate.evaluate(prepared, reuse, kit, cancel)) as happening:
            progress = record(_noted(happening, failures), this, files)
            follow(progress, this, kept, cancel, chosen.jobs, {job.id for job in this.plan.jobs} - done)
    finally:
        try:
            engine.sweep()  # what could not be removed while the engine was away
        except EngineError as problem:
            say(f"something may be left over, since {problem.message}; see: cellgauge clean")
