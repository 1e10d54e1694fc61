"""Shows a plan before it runs: what runs, what is reused, what is skipped and why."""

from collections.abc import Iterator, Set
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge.specs import Job, Plan, Skip, Spec


class PlannedJob(Spec):
    """A job, what would become of it, and the tasks that score it."""

    job: Job
    action: Literal["run", "reuse"]
    tasks: dict[str, Literal["score", "reuse"]]


class Outline(Spec):
    """A plan against what is already there."""

    schema_version: Literal[1] = 1
    planned: int
    """Results: model variant x dataset x task x seed."""
    jobs: tuple[PlannedJob, ...]
    skips: tuple[Skip, ...]


def make(plan: Plan, jobs: Set[str], scorings: Set[str]) -> Outline:
    """Compare a plan with the ids of the jobs and scorings that are there."""
    tasks: dict[str, dict[str, Literal["score", "reuse"]]] = {job.id: {} for job in plan.jobs}
    for scoring in plan.scorings:
        tasks[scoring.job][scoring.task] = "reuse" if scoring.id in scorings else "score"
    found = tuple(
        PlannedJob(job=job, action="reuse" if job.id in jobs else "run", tasks=tasks[job.id]) for job in plan.jobs
    )
    return Outline(planned=len(plan.scorings) + len(plan.skips), jobs=found, skips=plan.skips)


def render(outline: Outline) -> RenderableType:
    """Lay it out for a terminal."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for name in ("job", "model", "dataset", "seed", "action", "tasks"):
        table.add_column(name, overflow="fold")
    for one in outline.jobs:
        job = one.job
        model = job.model if job.variant == "default" else f"{job.model}:{job.variant}"
        unbuilt = " (image to be made)" if job.image.startswith("unbuilt:") else ""
        tasks = ", ".join(name if action == "score" else f"{name} (reuse)" for name, action in one.tasks.items())
        datasets = ", ".join(item.name for item in job.datasets)
        table.add_row(job.id[:8], model, datasets, str(job.seed), one.action + unbuilt, tasks)
    runs = sum(one.action == "run" for one in outline.jobs)
    total = f"{outline.planned} results planned; jobs to run: {runs}, reused: {len(outline.jobs) - runs}; "
    return Group(table, *_skips(outline), Text(f"{total}results skipped: {len(outline.skips)}", style="bold"))


def _skips(outline: Outline) -> Iterator[Text]:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for skip in outline.skips:
        reasons.setdefault((skip.model, skip.dataset, skip.reason), []).append(skip.task)
    for (model, dataset, reason), tasks in reasons.items():
        yield Text(f"skipped: {model} on {dataset} ({', '.join(dict.fromkeys(tasks))}): {reason}")
