"""Collects a run's results from the store into one JSON-ready document: every planned one, whatever became of it."""

from collections import Counter
from typing import Any, Literal

from cellgauge import plan as planning
from cellgauge.report import progress
from cellgauge.specs import Job, Run, RunRecord, ScoreValue, Scoring, Spec, State, TaskResult
from cellgauge.store import Store
from cellgauge_model.contract import Param


class Entry(Spec):
    """One planned result: a place in the table."""

    model: str
    variant: str
    params: dict[str, Param] = {}
    """All parameters of the model."""
    changed: dict[str, Param] = {}
    """Those that were set for this run."""
    dataset: str
    task: str
    seed: int
    state: State | Literal["pending"]
    """`pending`: the run goes on, and has not done this yet."""
    reason: str = ""
    job: str | None = None
    seen: bool = False
    """True if the model was trained on this dataset."""
    limit_cells: int | None = None
    """Of so many cells, drawn from the dataset: not comparable with scores of all."""
    warnings: tuple[str, ...] = ()
    """What the model or the task wants its reader to know."""
    scores: tuple[ScoreValue, ...] = ()


class Document(Spec):
    """A run and all its results."""

    schema_version: Literal[1] = 1
    run: str
    command: str
    started: str
    engine: str
    cellgauge: str
    folder: str
    """Where everything is kept."""
    planned: int
    """The denominator: every result that was asked for."""
    states: dict[str, int]
    """How many results are in each state; they add up to `planned`."""
    baselines: tuple[str, ...]
    """Models among them that are plain baselines."""
    complete: bool
    """True if there are scores, and every result is `ok` or does not apply."""
    results: tuple[Entry, ...]


def collect(run: Run, store: Store) -> Document:
    """Look up every result of a run's plan, in the order that was asked for."""
    plan = run.plan
    jobs = {job.id: job for job in plan.jobs}
    entries = [Entry(state="not_applicable", **skip.model_dump()) for skip in plan.skips]
    missing = _missing(run)
    records = {job: store.intact(job) for job in jobs}
    for scoring in plan.scorings:
        result, instead = _found(scoring, records[scoring.job], store), missing[scoring.job]
        if scoring.id in run.failures and not (result and result.run > run.id):  # ids begin with the time
            result, instead = None, run.failures[scoring.id]
        elif result is None and store.intact_result(scoring.id):
            instead = ("cancelled", "its job was computed again since, and this was not scored again")
        entries.append(_entry(scoring, jobs[scoring.job], result, *instead))
    dataset, model, task = (
        {name: place for place, name in enumerate(names)} for names in (plan.datasets, plan.models, plan.tasks)
    )
    entries.sort(key=lambda one: (dataset[one.dataset], model[one.model], one.variant, one.seed, task[one.task]))
    states = Counter(entry.state for entry in entries)
    return Document(
        run=run.id,
        command=run.command,
        started=run.started,
        engine=run.engine,
        cellgauge=run.cellgauge,
        folder=str(store.root.absolute()),
        planned=len(entries),
        states=dict(sorted(states.items())),
        baselines=plan.baselines,
        complete=states["ok"] > 0 and states["ok"] + states["not_applicable"] == len(entries),
        results=tuple(entries),
    )


def _missing(run: Run) -> dict[str, tuple[Any, str]]:
    """Say of each job why a result of it may not be there."""
    instead = ("pending", "the run goes on") if progress.alive(run) else ("cancelled", "the run ended before this")
    only = run.asked.only if run.asked else None
    left_out = ("cancelled", "it was not to be tried again, and there is no result of it as it is made now")
    return {job.id: instead if only is None or planning.place(job) in only else left_out for job in run.plan.jobs}


def _found(scoring: Scoring, record: RunRecord | None, store: Store) -> TaskResult | None:
    """Find a result; before version 2 none said which output it is of, nor was a job computed twice."""
    if record is None or record.schema_version == 1:
        return store.intact_result(scoring.id)
    return store.score_of(scoring, record)


def _entry(scoring: Scoring, job: Job, result: TaskResult | None, state: Any, reason: str) -> Entry:
    return Entry(
        model=scoring.model,
        variant=scoring.variant,
        params=job.params,
        changed=job.changed,
        dataset=scoring.dataset,
        task=scoring.task,
        seed=scoring.seed,
        state=result.state if result else state,
        reason=result.reason if result else reason,
        job=scoring.job,
        seen=scoring.seen,
        limit_cells=scoring.limit_cells,
        warnings=result.warnings if result else (),
        scores=result.scores if result else (),
    )
