"""Turns choices into a `Plan`. Pure: the plan is the dry run, the resume file and the test fixture."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cellgauge.data import genes
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs import (
    Dataset,
    DatasetSpec,
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

STRATIFIED = ("cell_type", "perturbation", "time", "batch")
"""Roles whose values keep their shares where only some of the cells are taken: the first that a dataset has."""


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


class DatasetChoice(Spec):
    """A dataset that was asked for."""

    spec: DatasetSpec
    sha256: str
    n_cells: int = 0
    tells: dict[str, tuple[str, ...]] = {}
    """Role → other roles that can be told from it."""

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetChoice":
        """Take what the plan needs of a checked dataset."""
        return cls(spec=dataset.spec, sha256=dataset.sha256, n_cells=dataset.n_cells, tells=dataset.tells)


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
) -> Plan:
    """Lay out every job and scoring, and say of what does not apply why not.

    Parameters
    ----------
    scored_with
        Versions of the libraries that score: another version is another scoring.
    limit_cells
        Take at most so many cells of each dataset.
    """
    tasks = list(tasks)
    jobs: dict[str, Job] = {}
    scorings: list[Scoring] = []
    skips: list[Skip] = []
    for model in models:
        for dataset in datasets:
            unfit = {task.name: why_not(model.spec, dataset, task, model.device) for task in tasks}
            fitting = [task for task in tasks if not unfit[task.name]]
            shown = view(model.spec, dataset, limit_cells) if fitting else None
            for seed in seeds:
                skips += [
                    Skip(
                        model=model.spec.name,
                        variant=model.variant,
                        dataset=dataset.spec.name,
                        task=name,
                        seed=seed,
                        reason=reason,
                    )
                    for name, reason in unfit.items()
                    if reason
                ]
                if shown is None:
                    continue
                found = job(model, dataset, fitting[0].verb, shown, seed)
                jobs[found.id] = found
                scorings += [_scoring(found, model.spec, dataset.spec, task, scored_with or {}) for task in fitting]
    return Plan(
        jobs=tuple(jobs.values()),
        scorings=tuple(scorings),
        skips=tuple(skips),
        models=tuple(dict.fromkeys(model.spec.name for model in models)),
        datasets=tuple(dataset.spec.name for dataset in datasets),
        tasks=tuple(task.name for task in tasks),
        baselines=tuple(dict.fromkeys(model.spec.name for model in models if model.spec.baseline)),
    )


def why_not(model: ModelSpec, choice: DatasetChoice, task: Task, device: str = "cpu") -> str:
    """Say why a task does not apply to a model on a dataset, or nothing."""
    dataset = choice.spec
    if model.resources.gpu == "required" and device == "cpu":
        return "the model needs a GPU, and it was asked to run without one"
    if task.verb not in model.verbs:
        return f"the task scores '{task.verb}', the model can only {' and '.join(model.verbs)}"
    if "any" not in model.organisms and dataset.organism not in model.organisms:
        return f"the model knows {', '.join(model.organisms)}, the dataset is of {dataset.organism}"
    if _converted(model, dataset) and not genes.known(dataset.organism):
        lacks = f"the dataset has {dataset.gene_ids} ids, and there is no table for {dataset.organism}"
        return f"the model needs {model.gene_ids} gene ids, {lacks}"
    has = ", ".join(dataset.obs) or "none"
    if missing := [role for role in task.roles if role not in dataset.obs]:
        return f"the task needs {', '.join(missing)}, which the dataset lacks (it has: {has})"
    if missing := [role for role in model.obs_roles if role not in dataset.obs]:
        return f"the model needs {', '.join(missing)}, which the dataset lacks (it has: {has})"
    scored = {dataset.obs[role] for role in task.roles}
    if leaked := [role for role in model.obs_roles if dataset.obs[role] in scored]:
        return f"the model sees {', '.join(leaked)}, which the task scores"
    for role in model.obs_roles:
        for told in task.roles:
            if told in choice.tells.get(role, ()):
                return f"the model sees {role}, from which {told} can be told, which the task scores"
            if role in choice.tells.get(told, ()):  # a coarser label is most of a label
                return f"the model sees {role}, which follows from {told}, which the task scores"
    return ""


def _converted(model: ModelSpec, dataset: DatasetSpec) -> bool:
    """Tell whether a model needs gene ids that the dataset has not."""
    return model.gene_ids not in ("any", dataset.gene_ids, *dataset.gene_columns)


def view(model: ModelSpec, dataset: DatasetChoice, limit_cells: int | None = None) -> View:
    """Decide what a model sees of a dataset."""
    spec = dataset.spec
    rows = None
    if limit_cells is not None and limit_cells < dataset.n_cells:
        stratify = next((role for role in STRATIFIED if role in spec.obs), None)
        rows = Rows(limit=limit_cells, stratify=stratify, columns={stratify: spec.obs[stratify]} if stratify else {})
    return View(
        sha256=dataset.sha256,
        matrix=spec.matrix,
        organism=spec.organism,
        gene_index=spec.gene_ids,
        gene_columns=spec.gene_columns,
        gene_ids=spec.gene_ids if model.gene_ids == "any" else model.gene_ids,
        gene_table=genes.table_digest(spec.organism) if _converted(model, spec) else "",
        obs={role: spec.obs[role] for role in model.obs_roles},
        rows=rows,
    )


def job(model: ModelChoice, dataset: DatasetChoice, verb: Verb, shown: View, seed: int) -> Job:
    """Name a job by a hash over everything that could change its output."""
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
    job_id = identity({**fields, "items": [[dataset.spec.name, shown.id]]})
    shown_as = JobDataset(name=dataset.spec.name, view=shown)
    return Job(id=job_id, datasets=(shown_as,), changed=model.changed, **fields)


def _scoring(job: Job, model: ModelSpec, dataset: DatasetSpec, task: Task, scored_with: Mapping[str, str]) -> Scoring:
    roles = {role: dataset.obs[role] for role in task.roles}
    fields = {"job": job.id, "task": task.name, "task_version": task.version, "roles": roles, "seed": job.seed}
    fields |= {"dataset": dataset.name, "scored_with": dict(scored_with)}
    rows = next(one.view.rows for one in job.datasets if one.name == dataset.name)
    return Scoring(
        id=identity(fields),
        model=job.model,
        variant=job.variant,
        seen=model.name in dataset.seen_by or dataset.name in model.trained_on,
        limit_cells=rows.limit if rows else None,
        **fields,
    )


def place(job: Job) -> str:
    """Name a job by what was asked for, whatever it is computed from: the same after its model was mended."""
    datasets = [[one.name, one.view.rows.limit if one.view.rows else None] for one in job.datasets]
    return identity([job.model, job.variant, job.params, job.seed, datasets])


def fields_of(job: Job) -> dict[str, str]:
    """Spell out what a job's id is made of, one line a field: two jobs with one id agree in all of them."""
    raw: dict[str, Any] = job.model_dump(mode="json", exclude={"id", "changed", "datasets"})
    raw["params"] = dict(raw["params"])
    for one in job.datasets:
        raw[f"dataset {one.name}"] = one.view.model_dump(mode="json")
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
