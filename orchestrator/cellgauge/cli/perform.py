"""Does a run from what was asked to the table: shared by `run` and `retry`."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge.cli import setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.engines import Engine
    from cellgauge.evaluate import Progress
    from cellgauge.offline import Todo
    from cellgauge.pipeline import Prepared, Reuse, Site
    from cellgauge.settings import Settings
    from cellgauge.specs import Asked, Run, State, TaskResult
    from cellgauge.store import Store
    from cellgauge.worker import Kit


@dataclass(frozen=True)
class Prospect:
    """What a run is about to do, and with what."""

    run: "Run"
    asked: "Asked"
    prepared: "Prepared"
    reuse: "Reuse"
    site: "Site"
    engine: "Engine"
    store: "Store"


def perform(
    asked: "Asked", chosen: "Settings", *, run_id: str = "", events: Path | None = None, as_json: bool = False
) -> int:
    """Prepare, run, score and show; return the exit code: 0 if every planned result is there."""
    from cellgauge import accelerator, store
    from cellgauge.cli.live import interruptible
    from cellgauge.report import document, table

    interruptible()
    accelerator.check(chosen.score_device)
    kept = store.Store(chosen.results)
    kept.prepare()
    engine = setup.engine(chosen)
    begun = _begun(asked, chosen, run_id or store.new_run_id(), engine.name)
    if run_id:  # detached: others may ask for it from now on
        kept.keep_run(begun)
    failures: dict[str, tuple[State, str]] = {}
    with written_down(begun, kept, failures):
        prospect = _look_ahead(begun, asked, chosen, engine, kept)
    with written_down(prospect.run, kept, failures):
        _evaluate(prospect, _kit(prospect, chosen), events, failures)
        for control in fill(_controls(prospect, chosen), chosen, kept, prospect.run.id):
            note(control, kept, failures)
        ended = prospect.run.model_copy(update={"ended": store.now_utc(), "failures": failures})
        found = document.collect(ended, kept, prospect.prepared.tasks)
        kept.keep_run(ended.model_copy(update={"outcome": "complete" if found.complete else "incomplete"}))
    if as_json:
        show_json(found)
    else:
        out.print(table.render(found, prospect.prepared.tasks))
        out.print(f"results: {kept.root.absolute()}  (again: cellgauge show {begun.id})", soft_wrap=True)
    return 0 if found.complete else 1


def _begun(asked: "Asked", chosen: "Settings", run_id: str, engine: str) -> "Run":
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
        plan=Plan(jobs=(), scorings=()),
        prepared=False,
        cellgauge=cellgauge.__version__,
    )


def _words() -> list[str]:
    """The command line as a person gave it."""
    words = sys.argv[1:]
    return words[: words.index("--run-id")] if "--run-id" in words else words


@contextmanager
def written_down(run: "Run", kept: "Store", failures: "dict[str, tuple[State, str]]") -> Iterator[None]:
    """Write down of a run that others know of how it ended, where it does not come to its end."""
    from cellgauge import store
    from cellgauge.errors import Interrupted, StorageError

    try:
        yield
    except BaseException as problem:
        stopped = isinstance(problem, KeyboardInterrupt | Interrupted)
        end = {"outcome": "cancelled", "reason": ""} if stopped else {"outcome": "failed", "reason": _reason(problem)}
        if kept.run_file(run.id, "json").exists():
            with suppress(StorageError):  # the disk may be full, which is said below
                kept.keep_run(run.model_copy(update={**end, "ended": store.now_utc(), "failures": failures}))
        if run.prepared:
            with suppress(OSError, SystemExit):  # the terminal may be gone
                say(f"what there is: cellgauge show {run.id}")
        if isinstance(problem, KeyboardInterrupt):
            raise Interrupted("stopped on request", "The same command begins again.") from None
        raise


def _reason(problem: BaseException) -> str:
    from cellgauge.errors import CellgaugeError

    if isinstance(problem, CellgaugeError):
        return problem.message
    if isinstance(problem, OSError | SystemExit):  # rich exits where nobody reads on
        return "nobody read on what it had to say: the terminal or the program behind it was gone"
    return f"{type(problem).__name__}: {problem}"


def _look_ahead(begun: "Run", asked: "Asked", chosen: "Settings", engine: "Engine", kept: "Store") -> Prospect:
    """Get everything ready, lay out the plan and keep it, so that others may see it."""
    from cellgauge import pipeline
    from cellgauge import plan as planning
    from cellgauge.errors import UsageError

    for left in (*kept.sweep(), *engine.sweep()):
        say(f"removed, left by a run that was killed: {left}")
    with setup.ensured(engine, chosen, asked.changes.pull) as image_of:
        prepared, site = setup.prepare(asked, chosen, image_of)
    if asked.only is not None and not {planning.place(job) for job in prepared.plan.jobs} & set(asked.only):
        raise UsageError("none of these jobs is in the plan any more", "Give the command of the run again.")
    run = begun.model_copy(update={"plan": prepared.plan, "prepared": True})
    kept.keep_run(run)
    return Prospect(run, asked, prepared, pipeline.reusable(prepared.plan, kept), site, engine, kept)


def _kit(prospect: Prospect, chosen: "Settings") -> "Kit":
    from cellgauge import executors, machine
    from cellgauge.request import Terms
    from cellgauge.scorers import Scorers
    from cellgauge.worker import Kit

    asked, site = prospect.asked, prospect.site
    gpus = len(site.lessor.devices) if site.lessor else 0
    terms = Terms(
        cpus=max(1, machine.cpus() // asked.jobs), changes=asked.changes, retries=asked.retries, run=prospect.run.id
    )
    return Kit(
        store=prospect.store,
        engine=prospect.engine,
        engine_version=prospect.engine.check(),
        executor=executors.threads(asked.jobs + gpus),
        slots=asked.jobs,
        scorers=Scorers(chosen.scorers, chosen.score_device),
        cache=setup.cache(chosen),
        site=site,
        gpu_wait=chosen.gpu_wait,
        terms=terms,
        warm=asked.warm,
        refresh=asked.refresh,
        only=None if asked.only is None else frozenset(asked.only),
    )


def _controls(prospect: Prospect, chosen: "Settings") -> "list[Todo]":
    from cellgauge import offline

    prepared, cache = prospect.prepared, setup.cache(chosen)
    caches = (cache.root, *cache.shared)
    bench = offline.Bench(prepared.datasets, prepared.tasks, prospect.store, prospect.run.id, caches)
    return offline.of_controls(prepared.plan.controls, bench, refresh=prospect.asked.refresh)


def fill(
    todo: "Sequence[Todo]", chosen: "Settings", store: "Store", run: str, *, small: bool = False
) -> "Iterator[TaskResult]":
    """Score what starts no model, say of each what became of it, and yield it.

    Parameters
    ----------
    small
        True: it is done right here, since to start a process takes longer than to score a thousand cells.

    Raises
    ------
    Interrupted
        After Ctrl-C, when everything that ran is stopped.
    """
    from cellgauge import offline
    from cellgauge.cli.live import catch
    from cellgauge.engines import Cancel
    from cellgauge.errors import Interrupted
    from cellgauge.scorers import Here, Scorers

    if not todo:
        return
    cancel = Cancel()
    catch(cancel)
    device = chosen.score_device
    scorers = Here(device) if small else Scorers(min(len(todo), chosen.scorers), device)
    for one in offline.fill(todo, scorers, store, run, cancel):
        what = f"{one.scoring.control or one.scoring.model} on {one.scoring.dataset}: {one.scoring.task}"
        say(f"{what}: {one.state.replace('_', ' ')}{': ' + one.reason if one.reason else f', {one.seconds:.1f} s'}")
        yield one
    if cancel.asked:
        raise Interrupted("stopped on request", "What was scored is kept; the same command goes on from there.")


def _evaluate(prospect: Prospect, kit: "Kit", events: Path | None, failures: "dict[str, tuple[State, str]]") -> None:
    """Do what the plan says, and show and write down what happens."""
    from cellgauge import evaluate
    from cellgauge.cli.live import follow
    from cellgauge.engines import Cancel
    from cellgauge.errors import EngineError
    from cellgauge.events import record

    run, kept, cancel = prospect.run, prospect.store, Cancel()
    files = [kept.run_file(run.id, "events.jsonl"), *([events] if events else [])]
    done = evaluate.spared(run.plan, prospect.reuse, kit).jobs
    try:
        # Closed, since otherwise what runs would go on where something breaks in between: a full disk, a lost terminal.
        with closing(evaluate.evaluate(prospect.prepared, prospect.reuse, kit, cancel)) as happening:
            progress = record(noted(happening, kept, failures), run, files)
            follow(progress, run, kept, cancel, kit.slots, {job.id for job in run.plan.jobs} - done)
    finally:
        try:
            prospect.engine.sweep()  # what could not be removed while the engine was away
        except EngineError as problem:
            say(f"something may be left over, since {problem.message}; see: cellgauge clean")


def noted(
    happens: "Iterable[Progress]", kept: "Store", failures: "dict[str, tuple[State, str]]"
) -> "Iterator[Progress]":
    """Pass on what happens, and note what fails where a good result of before stays in the store."""
    from cellgauge.evaluate import Scored

    for one in happens:
        if isinstance(one, Scored):
            note(one.result, kept, failures)
        yield one


def note(result: "TaskResult", kept: "Store", failures: "dict[str, tuple[State, str]]") -> None:
    """Note of a result that it failed where a good one of before stays in the store: it is not to be shown as new."""
    from cellgauge.specs import REUSABLE

    if result.state not in REUSABLE:
        before = kept.intact_result(result.scoring.id)
        if before and before.state in REUSABLE:
            failures[result.scoring.id] = (result.state, result.reason)
