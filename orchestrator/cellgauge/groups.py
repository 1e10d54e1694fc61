"""Decides how several datasets are compared as one: in the model's own space, or shown together over orthologs.

A model whose manifest says that it has one space for all organisms is shown each member by itself, in its own genes.
All others, and above all those that fit themselves to what they see, are shown the members together: two fits have no
space in common, and a number across them would say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cellgauge import shown
from cellgauge.data import genes, stack
from cellgauge.ids import limit
from cellgauge.shown import DatasetChoice
from cellgauge.specs import GroupSpec, Job, JobDataset, Member, ModelSpec, Part, Scoring, Spec, Stack, View, identity
from cellgauge_tasks import Task


class GroupChoice(Spec):
    """A group that was asked for."""

    spec: GroupSpec
    members: tuple[DatasetChoice, ...]
    stacked: DatasetChoice | None = None
    """The members made one."""
    unstacked: str = ""
    """Why they cannot be."""


def choose(spec: GroupSpec, members: Mapping[str, DatasetChoice], limit_cells: int | None = None) -> GroupChoice:
    """Choose a group by what is known of its members.

    Parameters
    ----------
    members
        By name, all of them and perhaps more.
    limit_cells
        At most so many cells of each member.
    """
    several = tuple(members[name] for name in spec.members)
    if unstacked := _lacking(several) or hopeless(several):
        return GroupChoice(spec=spec, members=several, unstacked=unstacked)
    made = _stack(several, limit_cells)
    entry = stack.spec(spec.name, made, spec.datasets, "its members")
    return GroupChoice(spec=spec, members=several, stacked=DatasetChoice(spec=entry, sha256=made.sha256, stack=made))


def hopeless(members: Sequence[DatasetChoice]) -> str:
    """Say why some datasets cannot be compared in any way, or nothing."""
    organisms = {one.spec.organism for one in members}
    if len(organisms) < 2:
        return f"its members are all of {', '.join(organisms)}, and the task compares organisms"
    files: dict[str, str] = {}
    for one in members:
        if one.sha256 in files:
            return f"its members {files[one.sha256]} and {one.spec.name} are the same file"
        files[one.sha256] = one.spec.name
    return ""


def _lacking(members: Sequence[DatasetChoice]) -> str:
    """Say why datasets cannot be shown together, or nothing."""
    for one in members:
        if not genes.known(one.spec.organism):
            unknown = f"member {one.spec.name}: there is no table of one-to-one orthologs for {one.spec.organism}"
            own = "only a model with one space for all organisms can be compared (its manifest says `shared_space`)"
            return f"{unknown}, so {own}"
    return ""


def _stack(members: Sequence[DatasetChoice], limit_cells: int | None) -> Stack:
    first, *others = (one.spec for one in members)
    roles = [role for role in first.obs if all(role in one.obs for one in others)]
    several = tuple(Member(name=one.spec.name, view=_view(one, roles, limit_cells)) for one in members)
    return Stack(organism=first.organism, orthologs=genes.orthologs_digest(), members=several)


def _view(choice: DatasetChoice, roles: Sequence[str], limit_cells: int | None) -> View:
    spec = choice.spec
    return View(
        sha256=choice.sha256,
        matrix=spec.matrix,
        organism=spec.organism,
        gene_index=spec.gene_ids,
        gene_columns=spec.gene_columns,
        gene_ids="ensembl",
        gene_table="" if spec.gene_ids == "ensembl" else genes.table_digest(spec.organism),
        obs={role: spec.obs[role] for role in roles},
        rows=shown.limited(choice, limit_cells),
    )


def own_space(model: ModelSpec) -> bool:
    """Tell whether a model has one space for all organisms."""
    return "embed" in model.verbs and model.verbs["embed"].shared_space


def why_not(model: ModelSpec, group: GroupChoice, task: Task, device: str = "cpu") -> str:
    """Say why a task does not apply to a model on a group, or nothing."""
    if "organism" not in task.roles:
        return f"the task compares no organisms, so ask for the members of the group: {_named(group.members)}"
    if task.verb != "embed" or task.split is not None:
        return "the task needs a split, and a group has none"
    if task.verb not in model.verbs:
        return f"the task scores '{task.verb}', the model can only {' and '.join(model.verbs)}"
    if reason := hopeless(group.members):
        return reason
    for one in group.members:
        if missing := [role for role in task.roles if role not in (*one.spec.obs, stack.ORGANISM)]:
            has = ", ".join(one.spec.obs) or "none"
            return f"member {one.spec.name}: the task needs {', '.join(missing)}, which it lacks (it has: {has})"
    if not own_space(model):
        return shown.why_not(model, group.stacked, task, device) if group.stacked else group.unstacked
    told = ((one.spec.name, shown.why_not(model, one, _of_one(task), device)) for one in group.members)
    return next((f"member {name}: {reason}" for name, reason in told if reason), "")


def reason(model: ModelSpec, choice: DatasetChoice | GroupChoice, task: Task, device: str = "cpu") -> str:
    """Say why a task does not apply to a model on a dataset or a group, or nothing."""
    if isinstance(choice, GroupChoice):
        return why_not(model, choice, task, device)
    return shown.why_not(model, choice, task, device)


def unfit(jobs: Sequence[Job], members: Sequence[DatasetChoice], task: Task) -> str:
    """Say why a task cannot score what jobs have given for the members of a group, or nothing."""
    if "organism" not in task.roles:
        return f"the task compares no organisms, so ask for the members of the group: {_named(members)}"
    if task.split is not None:
        return "the task needs a split, and a group has none"
    told = ((one.spec.name, shown.unfit(job, one, _of_one(task))) for one, job in zip(members, jobs, strict=True))
    return next((f"member {name}: {reason}" for name, reason in told if reason), "")


def _named(members: Sequence[DatasetChoice]) -> str:
    return ", ".join(one.spec.name for one in members)


def _item(job: Job, member: DatasetChoice) -> JobDataset:
    return next(item for item in job.datasets if item.name == member.spec.name)


def _of_one(task: Task) -> Task:
    """Give the task as it is of one member: that it is of one organism is said by its entry."""
    return replace(task, roles=tuple(role for role in task.roles if role != stack.ORGANISM))


def scoring(
    name: str,
    members: Sequence[DatasetChoice],
    jobs: Sequence[Job],
    task: Task,
    scored_with: Mapping[str, str],
    *,
    seen: bool = False,
) -> Scoring:
    """Name the scoring of a group by a hash over everything that could change its numbers.

    Parameters
    ----------
    jobs
        Of each member, in the members' order.
    """
    items = [_item(job, one) for one, job in zip(members, jobs, strict=True)]
    several = list(zip(members, jobs, items, strict=True))
    read = [shown.read(tuple(item.view.obs), one, _of_one(task)) for one, _, item in several]
    common = [role for role in read[0] if all(role in one for one in read)]
    parts = tuple(
        Part(job=job.id, dataset=item.name, organism=one.spec.organism, roles={role: roles[role] for role in common})
        for (one, job, item), roles in zip(several, read, strict=True)
    )
    fields = {
        "dataset": name,
        "task": task.name,
        "task_version": task.version,
        "roles": stack.columns(common),
        "seed": jobs[0].seed,
        "scored_with": dict(scored_with),
    }
    return Scoring(
        id=identity({**fields, "parts": [one.model_dump(mode="json") for one in parts]}),
        job=jobs[0].id,
        model=jobs[0].model,
        variant=jobs[0].variant,
        parts=parts,
        seen=seen,
        limit_cells=next(filter(None, map(limit, items)), None),
        **fields,
    )
