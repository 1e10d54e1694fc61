"""Does a run from what was asked to the table: shared by `run` and `retry`."""

import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge.cli import setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.engines import Engine
    from cellgauge.pipeline import Prepared, Reuse, Site
    from cellgauge.settings import Settings
    from cellgauge.specs import Asked, Run
    from cellgauge.store import Store


def perform(
    asked: "Asked", chosen: "Settings", *, run_id: str = "", events: Path | None = None, as_json: bool = False
) -> int:
    """Prepare, run, score and show; return the exit code: 0 if every planned result is there."""
    from cellgauge import pipeline, store
    from cellgauge.errors import Interrupted
    from cellgauge.report import document, table

    kept = store.Store(chosen.results)
    kept.prepare()
    engine = setup.engine(chosen)
    for left in (*kept.sweep(), *engine.sweep()):
        say(f"removed, left by a run that was killed: {left}")
    with setup.ensured(engine, chosen, asked.changes.pull) as image_of:
        prepared, site = setup.prepare(asked, chosen, image_of)
    reuse = pipeline.reusable(prepared.plan, kept)
    this = _started(prepared, asked, chosen, run_id or store.new_run_id(), engine.name)
    kept.keep_run(this)
    try:
        _evaluate(this, prepared, reuse, site, engine, kept, chosen, events)
    except Interrupted:
        kept.keep_run(this.model_copy(update={"ended": store.now_utc(), "outcome": "cancelled"}))
        say(f"what there is: cellgauge show {this.id}")
        raise
    this = this.model_copy(update={"ended": store.now_utc()})
    outcome = document.collect(this, kept)
    kept.keep_run(this.model_copy(update={"outcome": "complete" if outcome.complete else "incomplete"}))
    if as_json:
        show_json(outcome)
    else:
        out.print(table.render(outcome, prepared.tasks))
        out.print(f"results: {kept.root.absolute()}  (again: cellgauge show {this.id})", soft_wrap=True)
    return 0 if outcome.complete else 1


def _started(prepared: "Prepared", asked: "Asked", chosen: "Settings", run_id: str, engine: str) -> "Run":
    import cellgauge
    from cellgauge import owner, store
    from cellgauge.specs import Run

    places = {"catalog": chosen.catalog, "models_path": chosen.models_path}
    return Run(
        id=run_id,
        command=shlex.join(["cellgauge", *_words()]),
        started=store.now_utc(),
        engine=engine,
        owner=owner.me().token,
        asked=asked,
        places={name: [str(path.absolute()) for path in paths] for name, paths in places.items()},
        plan=prepared.plan,
        cellgauge=cellgauge.__version__,
    )


def _words() -> list[str]:
    """The command line as a person gave it."""
    words = sys.argv[1:]
    return words[: words.index("--run-id")] if "--run-id" in words else words


def _evaluate(
    this: "Run",
    prepared: "Prepared",
    reuse: "Reuse",
    site: "Site",
    engine: "Engine",
    kept: "Store",
    chosen: "Settings",
    events: Path | None,
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
    kit = Kit(
        store=kept,
        engine=engine,
        engine_version=engine.check(),
        executor=executors.make(f"threads:{chosen.jobs}"),
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
            progress = record(happening, this, files)
            follow(progress, this, kept, cancel, chosen.jobs, {job.id for job in this.plan.jobs} - done)
    finally:
        try:
            engine.sweep()  # what could not be removed while the engine was away
        except EngineError as problem:
            say(f"something may be left over, since {problem.message}; see: cellgauge clean")
