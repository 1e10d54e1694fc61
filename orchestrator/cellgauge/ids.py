"""Names jobs and scorings by a hash over everything that could change what comes of them, and spells it out."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from cellgauge import shown as showing
from cellgauge.shown import DatasetChoice
from cellgauge.specs import Job, JobDataset, ModelSpec, Relaxation, Rows, Scoring, Spec, Verb, View, identity
from cellgauge_model.contract import CONTRACT_VERSION, Param
from cellgauge_tasks import Task


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
    # Only where there is any, so that the ids of all other jobs stay what they were.
    asked = [one for one in (about.level, about.masked) if one]
    job_id = identity({**fields, "items": [[about.name, *(one.id for one in about.views), *asked]]})
    return Job(id=job_id, datasets=(about,), changed=model.changed, **fields)


def scoring(
    job: Job, choice: DatasetChoice, task: Task, scored_with: Mapping[str, str], *, seen: bool = False
) -> Scoring:
    """Name a scoring by a hash over everything that could change its numbers."""
    name = choice.spec.name
    about = next(one for one in job.datasets if one.name == name)
    shown = about.view
    roles = showing.read(tuple(shown.obs), choice, task)
    fields = {"job": job.id, "task": task.name, "task_version": task.version, "roles": roles, "seed": job.seed}
    fields |= {"dataset": name, "scored_with": dict(scored_with)}
    return Scoring(
        id=identity(fields),
        model=job.model,
        variant=job.variant,
        seen=seen,
        limit_cells=limit(about),
        split=shown.rows.split if shown.rows else None,
        **fields,
    )


def limit(one: JobDataset) -> int | None:
    """Say how many cells of a dataset, or of each that it is made of, were to be taken at most."""
    if one.stack:
        return one.stack.limit
    return one.view.rows.limit if one.view.rows else None


def place(job: Job) -> str:
    """Name a job by what was asked for, whatever it is computed from: the same after its model was mended."""
    asked: list[Any] = [job.model, job.variant, job.params, job.seed]
    rows = {one.name: one.view.rows or Rows() for one in job.datasets}
    asked.append([[one.name, limit(one)] for one in job.datasets])
    if splits := {name: one.split.model_dump(mode="json") for name, one in rows.items() if one.split}:
        asked.append(splits)  # only then, so that the places of all other jobs stay what they were
    if masked := {one.name: one.masked for one in job.datasets if one.masked}:
        asked.append(masked)
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
        for member in one.stack.members if one.stack else ():
            raw[f"member {member.name}"] = member.view.model_dump(mode="json")
        if one.level:
            raw[f"level of {one.name}"] = one.level
        if one.masked:
            raw[f"masked genes of {one.name}"] = one.masked
    return dict(_flat("", raw))


def scoring_fields(scoring: Scoring) -> dict[str, str]:
    """Spell out what a scoring's id is made of, beside the job's id and the versions of the libraries that score."""
    raw = scoring.model_dump(mode="json", include={"task", "task_version", "roles", "seed", "scored_with"})
    for part in scoring.parts:
        raw[f"member {part.dataset}"] = part.model_dump(mode="json", exclude={"dataset"})
    return dict(_flat("", raw))


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, below)
    elif value not in ({}, [], "", None):
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
