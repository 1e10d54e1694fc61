"""Turns choices into a `Plan`. Pure: the plan is the dry run, the resume file and the test fixture."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from cellgauge import groups
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.groups import GroupChoice as GroupChoice
from cellgauge.ids import ModelChoice as ModelChoice
from cellgauge.ids import fields_of as fields_of
from cellgauge.ids import job as job
from cellgauge.ids import place as place
from cellgauge.ids import scoring as scoring
from cellgauge.ids import scoring_fields as scoring_fields
from cellgauge.shown import DatasetChoice as DatasetChoice
from cellgauge.shown import item as item
from cellgauge.shown import view as view
from cellgauge.shown import why_not as why_not
from cellgauge.specs import (
    Control,
    DatasetSpec,
    Job,
    JobDataset,
    ModelSpec,
    Plan,
    Scoring,
    Skip,
    Variant,
    Verb,
    View,
    identity,
)
from cellgauge_model.contract import Param
from cellgauge_tasks import Task

CHANCES = 3
"""How often chance is drawn."""


def params_for(model: ModelSpec, variant: str, overrides: Mapping[str, Param]) -> dict[str, Param]:
    """Fill in a variant's parameters: defaults, then the variant's own, then overrides.

    Raises
    ------
    UnknownNameError
        If the model has no such variant or parameter.
    UsageError
        If a value is not allowed.
    """
    variants = {"default": Variant(), **model.variants}
    if variant not in variants:
        raise UnknownNameError(f"variant of {model.name}", variant, variants)
    for name, value in overrides.items():
        if name not in model.params:
            raise UnknownNameError(f"parameter of {model.name}", name, model.params)
        if reason := model.params[name].refuses(value):
            raise UsageError(f"{model.name}.{name}: {reason}", model.params[name].description)
    defaults = {name: param.default for name, param in model.params.items()}
    return {**defaults, **variants[variant].params, **overrides}


def make(
    models: Sequence[ModelChoice],
    datasets: Sequence[DatasetChoice | GroupChoice],
    tasks: Iterable[Task],
    seeds: Sequence[int],
    scored_with: Mapping[str, str] | None = None,
    limit_cells: int | None = None,
    *,
    with_controls: bool = False,
) -> Plan:
    """Lay out every job and scoring, and say of what does not apply why not.

    Parameters
    ----------
    scored_with
        Versions of the libraries that score: another version is another scoring.
    limit_cells
        Take at most so many cells of each dataset.
    with_controls
        True: what shows the ends of each scale is scored, too.
    """
    tasks = list(tasks)
    laid = [
        _laid_out(model, dataset, tasks, seeds, scored_with or {}, limit_cells)
        for model in models
        for dataset in datasets
    ]
    jobs = {job.id: job for one in laid for job in one.jobs}
    scorings = [scoring for one in laid for scoring in one.scorings]
    return Plan(
        jobs=tuple(jobs.values()),
        scorings=tuple(scorings),
        skips=tuple(skip for one in laid for skip in one.skips),
        controls=controls(jobs.values(), scorings, {one.name: one for one in tasks}, scored_with or {})
        if with_controls
        else (),
        models=tuple(dict.fromkeys(model.spec.name for model in models)),
        datasets=tuple(dataset.spec.name for dataset in datasets),
        tasks=tuple(task.name for task in tasks),
        baselines=tuple(dict.fromkeys(model.spec.name for model in models if model.spec.baseline)),
    )


class _Laid(NamedTuple):
    """What is done with one model variant on one dataset, or group of them."""

    jobs: list[Job]
    scorings: list[Scoring]
    skips: list[Skip]


def _laid_out(
    model: ModelChoice,
    dataset: DatasetChoice | GroupChoice,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    scored_with: Mapping[str, str],
    limit_cells: int | None,
) -> _Laid:
    unfit = {task.name: groups.reason(model.spec, dataset, task, model.device) for task in tasks}
    if not isinstance(dataset, GroupChoice) or not groups.own_space(model.spec):
        return _of_one(model, dataset, tasks, unfit, seeds, scored_with, limit_cells)
    fitting = [task for task in tasks if not unfit[task.name]]
    laid = _Laid([], [], _skips(model, dataset, unfit, seeds))
    seen = any(_seen(model.spec, one) for one in dataset.spec.datasets)
    for seed in seeds if fitting else ():
        # The very jobs that they are where a member is asked for alone, so that nothing is computed twice.
        items = [(one, item(model.spec, one, "embed", limit_cells)) for one in dataset.members]
        several = [job(model, one, "embed", shown, seed) for one, shown in items]
        laid.jobs.extend(several)
        name, members = dataset.spec.name, dataset.members
        for task in fitting:
            laid.scorings.append(groups.scoring(name, members, several, task, scored_with, seen=seen))
    return laid


def _of_one(
    model: ModelChoice,
    dataset: DatasetChoice | GroupChoice,
    tasks: Sequence[Task],
    unfit: Mapping[str, str],
    seeds: Sequence[int],
    scored_with: Mapping[str, str],
    limit_cells: int | None,
) -> _Laid:
    """Lay out what is shown to a model in one file."""
    laid = _Laid([], [], _skips(model, dataset, unfit, seeds))
    one = dataset.stacked if isinstance(dataset, GroupChoice) else dataset
    if one is None:
        return laid
    parts = dataset.spec.datasets if isinstance(dataset, GroupChoice) else (dataset.spec,)
    seen = any(_seen(model.spec, part) for part in parts)
    shared = _shared(model.spec, (task for task in tasks if not unfit[task.name]))
    shown = {asked: item(model.spec, one, asked.verb, limit_cells, asked.split, asked.masked) for asked in shared}
    for seed, (asked, fitting) in itertools.product(seeds, shared.items()):
        found = job(model, one, asked.verb, shown[asked], seed)
        laid.jobs.append(found)
        laid.scorings.extend(scoring(found, one, task, scored_with, seen=seen) for task in fitting)
    return laid


def _seen(model: ModelSpec, dataset: DatasetSpec) -> bool:
    """Tell whether a model was trained on a dataset, as its manifest or the catalogue says."""
    return model.name in dataset.seen_by or dataset.name in model.trained_on


class _Asked(NamedTuple):
    """What tasks ask of a model, and of which cells."""

    verb: Verb
    split: str | None
    masked: str
    """The rule by which genes are masked in what it is shown, if it looks at such cells."""


def _shared(model: ModelSpec, tasks: Iterable[Task]) -> dict[_Asked, list[Task]]:
    """Put together the tasks that score the same output: what they ask of a model, and of which cells, is the same."""
    found: dict[_Asked, list[Task]] = {}
    for task in tasks:
        masked = task.masked if model.verbs[task.verb].masked_genes else ""
        found.setdefault(_Asked(task.verb, task.split, masked), []).append(task)
    return found


def _skips(
    model: ModelChoice, dataset: DatasetChoice | GroupChoice, unfit: Mapping[str, str], seeds: Sequence[int]
) -> list[Skip]:
    fields = {"model": model.spec.name, "variant": model.variant, "dataset": dataset.spec.name}
    reasons = {name: reason for name, reason in unfit.items() if reason}
    return [Skip(task=name, reason=reason, seed=seed, **fields) for seed in seeds for name, reason in reasons.items()]


def controls(
    jobs: Iterable[Job], scorings: Iterable[Scoring], tasks: Mapping[str, Task], scored_with: Mapping[str, str]
) -> tuple[Control, ...]:
    """Lay out what shows the ends of each scale: of each dataset, task and seed the truth once, and chance three times.

    Their ids have nothing of a model in them, so they are shared by all that are scored on the same cells.
    """
    items = {(job.id, one.name): one for job in jobs for one in job.datasets}
    found: dict[str, Control] = {}
    for one in scorings:
        parts = [(part.job, part.dataset) for part in one.parts] or [(one.job, one.dataset)]
        task, shown = tasks[one.task], [items[part] for part in parts]
        for kind, drawn in itertools.product(task.controls, range(CHANCES)):
            if kind == "negative" or not drawn:
                made = _control(one, kind, one.seed + drawn, shown, scored_with)
                found.setdefault(made.scoring.id, made)
    return tuple(found.values())


def _control(
    like: Scoring,
    kind: Literal["positive", "negative"],
    drawn: int,
    items: Sequence[JobDataset],
    scored_with: Mapping[str, str],
) -> Control:
    """Score a control as a model's output is scored."""
    item = items[0]
    same: dict[str, Any] = like.model_dump(include={"dataset", "task", "task_version", "roles"})
    same |= {"seed": like.seed, "scored_with": dict(scored_with), "control": kind, "control_seed": drawn}
    # Genes too are part of the truth of a prediction, and models may differ in how they are named.
    truth = {"truth": item.held_out.id} if item.held_out else {}
    if item.level == "means":  # then the controls are means, too
        truth["level"] = item.level
    id = identity({**same, **_cells(like, items), **truth})
    more: dict[str, Any] = {"limit_cells": like.limit_cells, "split": like.split, "parts": like.parts}
    scoring = Scoring(id=id, job="", model=kind, variant="default", **same, **more)
    views = [one.view.model_copy(update={"obs": {}}) for one in items]
    return Control(scoring=scoring, view=views[0], others=tuple(views[1:]), item=item if item.held_out else None)


def _cells(like: Scoring, items: Sequence[JobDataset]) -> dict[str, Any]:
    """Say which cells, and of a group what is told of them: the same for members shown one by one or together."""
    stack = items[0].stack
    if len(items) == 1 and not stack:
        return _some(items[0].view)
    views = [one.view for one in stack.members] if stack else [one.view for one in items]
    several = [part.roles for part in like.parts] or [one.obs for one in views]
    told = [
        {**_some(view), "organism": view.organism, "roles": {role: roles[role] for role in like.roles if role in roles}}
        for view, roles in zip(views, several, strict=True)
    ]
    return {"members": told}


def _some(view: View) -> dict[str, Any]:
    return {"sha256": view.sha256, "cells": view.rows.model_dump(mode="json") if view.rows else None}
