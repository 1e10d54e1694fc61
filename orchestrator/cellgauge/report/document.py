"""Collects a run's results from the store into one JSON-ready document: every planned one, whatever became of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cellgauge import joint
from cellgauge import plan as planning
from cellgauge.report import progress, standing
from cellgauge.report.standing import Flag, Standing
from cellgauge.specs import ELSEWHERE, Job, Run, RunRecord, ScoreValue, Scoring, Spec, State, TaskResult
from cellgauge.store import Store
from cellgauge_model.contract import Param
from cellgauge_tasks import Task


class Number(ScoreValue):
    """One number, and how it stands."""

    scaled: float | None = None
    """Where 0 is chance and 1 the truth; with `--controls` alone."""
    standing: Standing = ""
    """Among the numbers of its column: `level` cannot be told from the best in pairs on the same resamples; `unknown`
    cannot be compared in pairs at all; an empty one is clearly worse, alone, with a caveat, or not shown in tables."""
    flags: tuple[Flag, ...] = ()
    """What is to be known before it is believed."""


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
    elsewhere: bool = False
    """True of an embedding that was made outside: nothing is known of how."""
    genes_known: float | None = None
    """Share of the dataset's genes that the model was given under a name that it knows."""
    repeated: float | None = None
    """Share of the output's rows that are the same as an earlier one, though their cells are not."""
    flags: tuple[Flag, ...] = ()
    """Of the output as a whole."""
    scores: tuple[Number, ...] = ()


class ControlEntry(Spec):
    """What the truth itself, or chance, scores."""

    control: Literal["positive", "negative"]
    dataset: str
    task: str
    seed: int
    state: State | Literal["pending"]
    reason: str = ""
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
    controls: tuple[ControlEntry, ...] = ()
    """With `--controls`."""


def collect(run: Run, store: Store, tasks: Mapping[str, Task] | None = None) -> Document:
    """Look up every result of a run's plan, in the order that was asked for.

    Parameters
    ----------
    tasks
        By name: these say which numbers a table shows, and what they are compared with.
    """
    plan = run.plan
    jobs = {job.id: job for job in plan.jobs}
    entries = [Entry(state="not_applicable", **skip.model_dump()) for skip in plan.skips]
    found: list[tuple[Entry, TaskResult | None]] = []
    missing = _missing(run)
    records = {job: store.intact(job) for job in jobs}
    for scoring in plan.scorings:
        record = joint.record(scoring, records.get)
        result, instead = _found(scoring, record, store), missing[scoring.job]
        if _failed_again(scoring, result, run):
            result, instead = None, run.failures[scoring.id]
        elif result is None and store.intact_result(scoring.id):
            instead = ("cancelled", "its job was computed again since, and this was not scored again")
        notes = run.notes.get(scoring.job, ())
        entry = _entry(scoring, jobs[scoring.job], record, result, *instead, notes=notes)
        found.append((entry, result))
    controls = [(one.scoring, store.intact_result(one.scoring.id)) for one in plan.controls]
    believed = [result for scoring, result in controls if result and not _failed_again(scoring, result, run)]
    entries += _judged(found, believed, store, tasks or {})
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
        controls=tuple(_control(scoring, result, run) for scoring, result in controls),
    )


def _failed_again(scoring: Scoring, result: TaskResult | None, run: Run) -> bool:
    """Tell whether this run failed where what is kept is older: ids begin with the time."""
    return scoring.id in run.failures and not (result and result.run > run.id)


def _control(scoring: Scoring, result: TaskResult | None, run: Run) -> ControlEntry:
    state, reason = (result.state, result.reason) if result else ("pending", "it was not scored")
    if _failed_again(scoring, result, run):
        result, (state, reason) = None, run.failures[scoring.id]
    return ControlEntry(
        control=scoring.control or "negative",
        dataset=scoring.dataset,
        task=scoring.task,
        seed=scoring.seed,
        state=state,
        reason=reason,
        scores=result.scores if result else (),
    )


def _judged(
    found: Sequence[tuple[Entry, TaskResult | None]],
    controls: Sequence[TaskResult],
    store: Store,
    tasks: Mapping[str, Task],
) -> list[Entry]:
    """Say of every number how it stands among those of the same cells, task and seed."""
    groups: dict[str, dict[int, TaskResult]] = {}
    for place, (_, result) in enumerate(found):
        if result and result.state == "ok":
            groups.setdefault(standing.ground(result.scoring), {})[place] = result
    ours: dict[str, list[TaskResult]] = {}
    for control in controls:
        ours.setdefault(standing.ground(control.scoring), []).append(control)
    entries = [entry for entry, _ in found]
    columns = Counter(_column(entries[next(iter(known))]) for known in groups.values())
    for ground, known in groups.items():
        first = entries[next(iter(known))]
        rows = [_row(entries[place], result) for place, result in known.items()]
        stands = standing.stand(rows, tasks.get(first.task), store, beside=columns[_column(first)] > 1)
        ends = standing.bounds(ours.get(ground, ()), tasks.get(first.task))
        for place, judged in zip(known, stands, strict=True):
            numbers = tuple(
                _number(one, ends(one), *judged.get(number, ("", ()))) for number, one in enumerate(known[place].scores)
            )
            entries[place] = entries[place].model_copy(update={"scores": numbers})
    return entries


def _row(entry: Entry, result: TaskResult) -> standing.Row:
    """Say what of a result is compared; what was made elsewhere is no baseline, whatever it is called."""
    plain = entry.variant == "default" and not entry.changed and not entry.elsewhere
    return standing.Row(entry.model, plain, result)


def _column(entry: Entry) -> tuple[str, str, int]:
    """Say where a table shows it, though what stands there may be of other cells."""
    return entry.dataset, entry.task, entry.seed


def _number(one: ScoreValue, ends: standing.Bounds | None, stands: Standing, flags: tuple[Flag, ...]) -> Number:
    outside = ends.flag(one) if ends else None
    return Number(
        **dict(one),
        scaled=ends.scaled(one.value) if ends else None,
        standing=stands,
        flags=(*flags, *([outside] if outside else [])),
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


def _entry(
    scoring: Scoring,
    job: Job,
    record: RunRecord | None,
    result: TaskResult | None,
    state: Any,
    reason: str,
    *,
    notes: Sequence[str] = (),
) -> Entry:
    known = standing.genes_known(record, scoring.dataset)
    repeated = result.repeated if result else None
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
        warnings=(*notes, *(result.warnings if result else ())),
        elsewhere=job.image.startswith(ELSEWHERE),
        genes_known=known,
        repeated=repeated,
        flags=standing.flags(known, repeated, result.warnings) if result and result.scores else (),
    )
