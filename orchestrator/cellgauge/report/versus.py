"""Compares two models of a run, number by number, in pairs on the same resamples."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.report import label, pairs, standing
from cellgauge.specs import Job, Run, ScoreValue, Scoring, Spec, TaskResult
from cellgauge.store import Store
from cellgauge_tasks import Task


class Pair(Spec):
    """One number of both models."""

    dataset: str
    task: str
    metric: str
    params: str = ""
    seed: int
    first: float
    second: float
    comparison: pairs.Comparison | None = None
    """Positive where the first is better; absent: they share no resamples."""


class Versus(Spec):
    """Two models, compared."""

    schema_version: int = 1
    run: str
    first: str
    second: str
    pairs: tuple[Pair, ...]


def make(run: Run, first: str, second: str, store: Store, tasks: Mapping[str, Task], *, every: bool = False) -> Versus:
    """Compare two models of a run.

    Parameters
    ----------
    first, second
        As the table names them: a model, `model:variant`, and what was set for the run.
    every
        True: every score; otherwise those that a table shows.

    Raises
    ------
    UsageError
        If one is not in the run, or they have nothing in common.
    """
    jobs = {job.id: job for job in run.plan.jobs}
    names = {job.id: label.model(job.model, job.variant, job.changed) for job in jobs.values()}
    for name in (first, second):
        if name not in names.values():
            raise UnknownNameError(f"model in run {run.id}", name, set(names.values()))
    both = {name: _results(run, {id: jobs[id] for id in names if names[id] == name}, store) for name in (first, second)}
    found = [
        pair
        for at, one in both[first].items()
        if (other := both[second].get(at))
        for pair in _pairs(one, other, tasks.get(one.scoring.task), store, every=every)
    ]
    if not found:
        hint = "Only scores of the same cells and columns are compared: see --limit-cells, the split and the roles."
        raise UsageError(f"{first} and {second} have no score in common in run {run.id}", hint)
    return Versus(run=run.id, first=first, second=second, pairs=tuple(found))


def _results(run: Run, jobs: Mapping[str, Job], store: Store) -> dict[str, TaskResult]:
    """Find what was scored, by what it is of: the same dataset may have been limited for one of two models."""
    found = {}
    for scoring in (one for one in run.plan.scorings if one.job in jobs):
        record = store.intact(scoring.job)
        result = store.score_of(scoring, record) if record else None
        if result is not None and result.state == "ok":
            found[standing.ground(result.scoring)] = result
    return found


def _pairs(one: TaskResult, other: TaskResult, task: Task | None, store: Store, *, every: bool) -> Iterator[Pair]:
    """Pair the scores of two results: those with the same parameters, or the only ones of a metric."""
    numbers = range(len(one.scores)) if every else standing.numbers(task, one.scores)
    partners = {number: _partner(one.scores[number], other.scores) for number in numbers}
    mine = pairs.drawn(one, list(partners), store)
    theirs = pairs.drawn(other, [number for number in partners.values() if number is not None], store)
    scoring: Scoring = one.scoring
    for number, partner in partners.items():
        if partner is not None:
            score = one.scores[number]
            yield Pair(
                dataset=scoring.dataset,
                task=scoring.task,
                metric=score.metric,
                params=standing.key(score)[1],
                seed=scoring.seed,
                first=score.value,
                second=other.scores[partner].value,
                comparison=pairs.compare(mine[number], theirs[partner]),
            )


def _partner(score: ScoreValue, others: tuple[ScoreValue, ...]) -> int | None:
    same = [number for number, one in enumerate(others) if standing.key(one) == standing.key(score)]
    alone = [number for number, one in enumerate(others) if one.metric == score.metric]
    return same[0] if same else alone[0] if len(alone) == 1 else None


def render(found: Versus, tasks: Mapping[str, Task]) -> RenderableType:
    """Lay it out for a terminal: a table a dataset."""
    parts: list[RenderableType] = []
    seeds = len({one.seed for one in found.pairs}) > 1
    for dataset in dict.fromkeys(one.dataset for one in found.pairs):
        table = Table(title=Text(dataset, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, header_style="bold")
        table.add_column("")
        for column in (found.first, found.second, "difference", ""):
            table.add_column(Text(column), justify="right" if column else "left", no_wrap=bool(column))
        for one in (one for one in found.pairs if one.dataset == dataset):
            name = Text(_name(one, tasks)).append(f" (seed {one.seed})" if seeds else "", style="dim")
            table.add_row(name, f"{one.first:.3f}", f"{one.second:.3f}", *_apart(one.comparison, found))
        parts.append(table)
    told = "difference: positive where the first is better; in 95 % of resamples it lies in the brackets"
    return Group(*parts, Text(told, style="dim"))


def _name(one: Pair, tasks: Mapping[str, Task]) -> str:
    task = one.task.replace("_", " ")
    headline = tasks[one.task].headline if one.task in tasks else {}
    if one.metric in headline:
        return f"{task}: {headline[one.metric]}"
    return f"{task}: {one.metric}" + (f" ({one.params})" if one.params else "")


def _apart(apart: pairs.Comparison | None, found: Versus) -> tuple[str, Text]:
    if apart is None:
        return "–", Text("not comparable in pairs", style="dim")
    shown = f"{apart.difference:+.3f}\u00a0[{apart.low:+.3f},\u00a0{apart.high:+.3f}]"
    if not apart.distinguishable:
        return shown, Text("not to be told apart", style="dim")
    return shown, Text(f"{found.first if apart.difference > 0 else found.second} is better", style="bold")
