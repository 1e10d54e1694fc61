"""Turns choices into a `Plan`. Pure: the plan is the dry run, the resume file and the test fixture."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cellgauge import shown as showing
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.shown import DatasetChoice as DatasetChoice
from cellgauge.shown import item as item
from cellgauge.shown import view as view
from cellgauge.shown import why_not as why_not
from cellgauge.specs import (
    Control,
    Job,
    JobDataset,
    ModelSpec,
    Plan,
    Relaxation,
    Rows,
    Scoring,
    Skip,
    Spec,
    Variant,
    Verb,
    View,
    identity,
)
from cellgauge_model.contract import CONTRACT_VERSION, Param
from cellgauge_tasks import Task

CHANCES = 3
"""How often chance is drawn."""


class ModelChoice(Spec):
    """A model variant that was asked for."""

    spec: ModelSpec
    variant: str
    params: dict[str, Param]
    changed: dict[str, Param] = {}
    """Those among `params` that were set for this run."""
    image: str
    """Digest of what would run."""
    weights: str = ""
    """Hash over its weights."""
    device: Literal["cpu", "gpu"] = "cpu"
    allow: tuple[Relaxation, ...] = ()


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
    datasets: Sequence[DatasetChoice],
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
    jobs: dict[str, Job] = {}
    scorings: list[Scoring] = []
    skips: list[Skip] = []
    for model in models:
        for dataset in datasets:
            unfit = {task.name: why_not(model.spec, dataset, task, model.device) for task in tasks}
            shared = _shared([task for task in tasks if not unfit[task.name]])
            shown = {asked: item(model.spec, dataset, asked[0], limit_cells, asked[1]) for asked in shared}
            for seed in seeds:
                skips += _skips(model, dataset, unfit, seed)
                for (verb, split), fitting in shared.items():
                    found = job(model, dataset, verb, shown[verb, split], seed)
                    jobs[found.id] = found
                    seen = model.spec.name in dataset.spec.seen_by or dataset.spec.name in model.spec.trained_on
                    scorings += [scoring(found, dataset, task, scored_with or {}, seen=seen) for task in fitting]
    return Plan(
        jobs=tuple(jobs.values()),
        scorings=tuple(scorings),
        skips=tuple(skips),
        controls=controls(jobs.values(), scorings, {one.name: one for one in tasks}, scored_with or {})
        if with_controls
        else (),
        models=tuple(dict.fromkeys(model.spec.name for model in models)),
        datasets=tuple(dataset.spec.name for dataset in datasets),
        tasks=tuple(task.name for task in tasks),
        baselines=tuple(dict.fromkeys(model.spec.name for model in models if model.spec.baseline)),
    )


def _shared(tasks: Iterable[Task]) -> dict[tuple[Verb, str | None], list[Task]]:
    """Put together the tasks that score the same output: what they ask of a model, and of which cells, is the same."""
    found: dict[tuple[Verb, str | None], list[Task]] = {}
    for task in tasks:
        found.setdefault((task.verb, task.split), []).append(task)
    return found


def _skips(model: ModelChoice, dataset: DatasetChoice, unfit: Mapping[str, str], seed: int) -> list[Skip]:
    fields = {"model": model.spec.name, "variant": model.variant, "dataset": dataset.spec.name, "seed": seed}
    return [Skip(task=name, reason=reason, **fields) for name, reason in unfit.items() if reason]


def job(model: ModelChoice, dataset: DatasetChoice, verb: Verb, shown: View | JobDataset, seed: int) -> Job:
    """Name a job by a hash over everything that could change its output.

    Parameters
    ----------
    shown
        What the model sees of the dataset, if that is all there is to say.
    """
    about = shown if isinstance(shown, JobDataset) else JobDataset(name=dataset.spec.name, view=shown)
    fields = {
        "model": model.spec.name,
        "model_version": model.spec.version,
        "variant": model.variant,
        "image": model.image,
        "verb": verb,
        "params": model.params,
        "seed": seed,
        "contract": CONTRACT_VERSION,
        "weights": model.weights,
        "device": model.device,
        "allow": list(model.allow),
    }
    asked = [about.level] if about.level else []  # only then, so that the ids of all other jobs stay what they were
    job_id = identity({**fields, "items": [[about.name, *(one.id for one in about.views), *asked]]})
    return Job(id=job_id, datasets=(about,), changed=model.changed, **fields)


def scoring(
    job: Job, choice: DatasetChoice, task: Task, scored_with: Mapping[str, str], *, seen: bool = False
) -> Scoring:
    """Name a scoring by a hash over everything that could change its numbers."""
    name = choice.spec.name
    shown = next(one.view for one in job.datasets if one.name == name)
    roles = showing.read(tuple(shown.obs), choice, task)
    fields = {"job": job.id, "task": task.name, "task_version": task.version, "roles": roles, "seed": job.seed}
    fields |= {"dataset": name, "scored_with": dict(scored_with)}
    return Scoring(
        id=identity(fields),
        model=job.model,
        variant=job.variant,
        seen=seen,
        limit_cells=shown.rows.limit if shown.rows else None,
        split=shown.rows.split if shown.rows else None,
        **fields,
    )


def controls(
    jobs: Iterable[Job], scorings: Iterable[Scoring], tasks: Mapping[str, Task], scored_with: Mapping[str, str]
) -> tuple[Control, ...]:
    """Lay out what shows the ends of each scale: of each dataset, task and seed the truth once, and chance three times.

    Their ids have nothing of a model in them, so they are shared by all that are scored on the same cells.
    """
    items = {(job.id, one.name): one for job in jobs for one in job.datasets}
    found: dict[str, Control] = {}
    for one in scorings:
        task, shown = tasks[one.task], items[one.job, one.dataset]
        for kind, drawn in itertools.product(task.controls, range(CHANCES)):
            if kind == "negative" or not drawn:
                made = _control(one, kind, one.seed + drawn, shown, scored_with)
                found[made.scoring.id] = made
    return tuple(found.values())


def _control(
    like: Scoring, kind: Literal["positive", "negative"], drawn: int, item: JobDataset, scored_with: Mapping[str, str]
) -> Control:
    """Score a control as a model's output is scored."""
    shown = item.view
    same: dict[str, Any] = like.model_dump(include={"dataset", "task", "task_version", "roles"})
    same |= {"seed": like.seed, "scored_with": dict(scored_with), "control": kind, "control_seed": drawn}
    cells = shown.rows.model_dump(mode="json") if shown.rows else None
    # Genes too are part of the truth of a prediction, and models may differ in how they are named.
    truth = {"truth": item.held_out.id} if item.held_out else {}
    id = identity({**same, "sha256": shown.sha256, "cells": cells, **truth})
    more: dict[str, Any] = {"limit_cells": like.limit_cells, "split": like.split}
    scoring = Scoring(id=id, job="", model=kind, variant="default", **same, **more)
    return Control(scoring=scoring, view=shown.model_copy(update={"obs": {}}), item=item if item.held_out else None)


def place(job: Job) -> str:
    """Name a job by what was asked for, whatever it is computed from: the same after its model was mended."""
    asked: list[Any] = [job.model, job.variant, job.params, job.seed]
    rows = {one.name: one.view.rows or Rows() for one in job.datasets}
    asked.append([[name, one.limit] for name, one in rows.items()])
    if splits := {name: one.split.model_dump(mode="json") for name, one in rows.items() if one.split}:
        asked.append(splits)  # only then, so that the places of all other jobs stay what they were
    return identity(asked)


def fields_of(job: Job) -> dict[str, str]:
    """Spell out what a job's id is made of, one line a field: two jobs with one id agree in all of them."""
    raw: dict[str, Any] = job.model_dump(mode="json", exclude={"id", "changed", "datasets"})
    raw["params"] = dict(raw["params"])
    for one in job.datasets:
        raw[f"dataset {one.name}"] = one.view.model_dump(mode="json")
        for name, more in (("training", one.training), ("held_out", one.held_out)):
            if more:  # the rest is as in the view
                raw[f"{name} of {one.name}"] = more.model_dump(mode="json", include={"obs", "rows"})
        if one.level:
            raw[f"level of {one.name}"] = one.level
    return dict(_flat("", raw))


def scoring_fields(scoring: Scoring) -> dict[str, str]:
    """Spell out what a scoring's id is made of, beside the job's id and the versions of the libraries that score."""
    raw = scoring.model_dump(mode="json", include={"task", "task_version", "roles", "seed", "scored_with"})
    return dict(_flat("", raw))


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, below)
    elif value not in ({}, [], "", None):
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
