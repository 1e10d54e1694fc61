"""Compares two models of a run, number by number, in pairs on the same resamples."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge import joint
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.report import label, pairs, standing
from cellgauge.specs import Job, Run, ScoreValue, Scoring, Spec, TaskResult
from cellgauge.store import Store
from cellgauge_tasks import Task

LONGEST = 16
"""Characters of a model's name above its numbers; where one is longer, both stand over the tables."""


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
        record = joint.record(scoring, store.intact)
        result = store.score_of(scoring, record) if record else None
        if result is not None and result.state == "ok":
            found[standing.ground(result.scoring)] = result
    return found


def _pairs(one: TaskResult, other: TaskResult, task: Task | None, store: Store, *, every: bool) -> Iterator[Pair]:
    """Pair the scores of two results: of each metric those that a table sets against each other, or every one."""
    facts = task.facts if task else ()
    if every or not task:
        numbers = range(len(one.scores)) if every else standing.numbers(task, one.scores)
        partners = {number: _partner(number, one.scores, other.scores, facts) for number in numbers}
    else:
        partners = {
            number: standing.headline(one.scores[number].metric, other.scores)
            for number in standing.numbers(task, one.scores)
        }
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
                params=standing.key(score, facts)[1],
                seed=scoring.seed,
                first=score.value,
                second=other.scores[partner].value,
                comparison=pairs.compare(mine[number], theirs[partner]),
            )


def _partner(
    number: int, ours: Sequence[ScoreValue], others: Sequence[ScoreValue], facts: Collection[str]
) -> int | None:
    """Find the same score of another result, by number.

    It has the same parameters, but for facts; or else the same of those that tell a metric's scores apart within either
    result: the resolution that was best, or what kind of prediction it is, may differ between the two.
    """
    score = ours[number]
    same = [place for place, one in enumerate(others) if standing.key(one, facts) == standing.key(score, facts)]
    if same:
        return same[0]
    apart = {name for scores in (ours, others) for name in _telling(scores, score.metric)} - set(facts)
    alike = [
        place
        for place, one in enumerate(others)
        if one.metric == score.metric and all(one.params.get(name) == score.params.get(name) for name in apart)
    ]
    return alike[0] if len(alike) == 1 else None


def _telling(scores: Sequence[ScoreValue], metric: str) -> Iterator[str]:
    """Name the parameters that tell the scores of a metric apart."""
    params = [one.params for one in scores if one.metric == metric]
    for name in {name for one in params for name in one}:
        if len({repr(one.get(name)) for one in params}) > 1:
            yield name


def render(found: Versus, tasks: Mapping[str, Task]) -> RenderableType:
    """Lay it out for a terminal: a table a dataset."""
    names = (found.first, found.second)
    parts: list[RenderableType] = []
    if max(map(len, names)) > LONGEST:
        parts.append(Text(f"first: {found.first}\nsecond: {found.second}"))
        names = ("first", "second")
    seeds = len({one.seed for one in found.pairs}) > 1
    for dataset in dict.fromkeys(one.dataset for one in found.pairs):
        table = Table(title=Text(dataset, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, header_style="bold")
        table.add_column("")
        for column in (*names, "difference"):
            table.add_column(Text(column), justify="right", no_wrap=True)
        table.add_column("")
        for one in (one for one in found.pairs if one.dataset == dataset):
            name = Text(_name(one, tasks)).append(f" (seed {one.seed})" if seeds else "", style="dim")
            table.add_row(name, f"{one.first:.3f}", f"{one.second:.3f}", *_apart(one.comparison, names))
        parts.append(table)
    told = "difference: positive where the first is better; in 95 % of resamples it lies in the brackets"
    return Group(*parts, Text(told, style="dim"))


def _name(one: Pair, tasks: Mapping[str, Task]) -> str:
    task = one.task.replace("_", " ")
    headline = tasks[one.task].headline if one.task in tasks else {}
    if one.metric in headline:
        return f"{task}: {headline[one.metric]}"
    return f"{task}: {one.metric}" + (f" ({one.params})" if one.params else "")


def _apart(apart: pairs.Comparison | None, names: tuple[str, str]) -> tuple[str, Text]:
    if apart is None:
        return "–", Text("not comparable in pairs", style="dim")
    shown = f"{apart.difference:+.3f}\u00a0[{apart.low:+.3f},\u00a0{apart.high:+.3f}]"
    if not apart.distinguishable:
        return shown, Text("not to be told apart", style="dim")
    return shown, Text(f"{names[0] if apart.difference > 0 else names[1]} is better", style="bold")
