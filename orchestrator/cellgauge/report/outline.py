"""Shows a plan before it runs: what runs, what is reused, what is skipped and why."""

from collections.abc import Iterator, Mapping
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cellgauge.images import UNBUILT
from cellgauge.pipeline import Reuse
from cellgauge.report import label, reasons
from cellgauge.specs import Job, Plan, Skip, Spec
from cellgauge.words import printable


class PlannedJob(Spec):
    """A job, what would become of it, and the tasks that score it."""

    job: Job
    action: Literal["run", "reuse"]
    problem: str = ""
    """Why it cannot run here: `run` would record that, and go on."""
    to_pull: dict[str, int | None] = {}
    """Its datasets that are not here yet → bytes, null where the catalogue does not say; `run` pulls them first."""
    tasks: dict[str, Literal["score", "reuse"]]


class Outline(Spec):
    """A plan against what is already there."""

    schema_version: Literal[1] = 1
    planned: int
    """Results: model variant x dataset x task x seed."""
    jobs: tuple[PlannedJob, ...]
    skips: tuple[Skip, ...]


def make(
    plan: Plan, reuse: Reuse, lacking: Mapping[str, str], unpulled: Mapping[str, int | None] | None = None
) -> Outline:
    """Compare a plan with what is there.

    Parameters
    ----------
    lacking
        Job → why it cannot run here.
    unpulled
        Dataset that is not here yet → its size in bytes, where that is known.
    """
    tasks: dict[str, dict[str, Literal["score", "reuse"]]] = {job.id: {} for job in plan.jobs}
    for scoring in plan.scorings:
        for job in scoring.jobs:
            tasks[job][scoring.task] = "reuse" if scoring.id in reuse.scorings else "score"
    found = tuple(
        PlannedJob(
            job=job,
            action="reuse" if job.id in reuse.jobs else "run",
            problem="" if job.id in reuse.jobs else lacking.get(job.id, ""),
            to_pull={one.name: unpulled[one.name] for one in job.datasets if unpulled and one.name in unpulled},
            tasks=tasks[job.id],
        )
        for job in plan.jobs
    )
    return Outline(planned=len(plan.scorings) + len(plan.skips), jobs=found, skips=plan.skips)


def render(outline: Outline) -> RenderableType:
    """Lay it out for a terminal."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for name in ("job", "model", "dataset", "seed", "action", "tasks"):
        table.add_column(name, overflow="fold")
    for one in outline.jobs:
        job = one.job
        model = label.model(job.model, job.variant, job.changed)
        state = "cannot run" if one.problem else one.action
        unbuilt = " (image to be made)" if job.image.startswith(UNBUILT) and not one.problem else ""
        tasks = ", ".join(name if action == "score" else f"{name} (reuse)" for name, action in one.tasks.items())
        datasets = ", ".join(f"{item.name}{_to_pull(one, item.name)}" for item in job.datasets)
        table.add_row(job.id[:8], Text(model), datasets, str(job.seed), state + unbuilt, tasks)
    reused, stuck = (sum(one.action == "reuse" for one in outline.jobs), sum(bool(one.problem) for one in outline.jobs))
    total = f"{outline.planned} results planned; jobs to run: {len(outline.jobs) - reused - stuck}, reused: {reused}"
    total += f", that cannot run: {stuck}" if stuck else ""
    problems = dict.fromkeys((one.job.model, one.problem) for one in outline.jobs if one.problem)
    told = [Text(f"{model} cannot run: {printable(problem)}", style="red") for model, problem in problems]
    return Group(table, *told, *_skips(outline), Text(f"{total}; results skipped: {len(outline.skips)}", style="bold"))


def _to_pull(one: PlannedJob, dataset: str) -> str:
    if dataset not in one.to_pull:
        return ""
    size = one.to_pull[dataset]
    return f" (to be pulled, {decimal(size) if size else 'size unknown'})"


def _skips(outline: Outline) -> Iterator[Text]:
    said = (
        reasons.Said(label.model(one.model, one.variant, {}), one.dataset, one.task, "skipped", one.reason)
        for one in outline.skips
    )
    for where, kind, reason in reasons.grouped(said):
        yield Text(f"{kind}: {where}: {reason}")
