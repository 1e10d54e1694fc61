"""Decides what a model is shown of a dataset, or why nothing: genes, cells, and what would give an answer away."""

import itertools
from collections.abc import Iterable

from cellgauge.data import conditions, genes, joined
from cellgauge.data.check.labels import pair
from cellgauge.specs import (
    Columns,
    Dataset,
    DatasetSpec,
    HeldOut,
    Job,
    JobDataset,
    ModelSpec,
    Rows,
    Spec,
    Split,
    Stack,
    Verb,
    View,
)
from cellgauge_tasks import Task

STRATIFIED = ("cell_type", "perturbation", "time", "batch")
"""Roles whose values keep their shares where only some of the cells are taken: the first that a dataset has."""
UNITS = ("donor",)
"""Roles that, read where a dataset has them, only say which cells were drawn together."""
HELD_OUT = 0.2
"""Share that is held out where a task asks for a split that the catalogue lacks: of the cells, or the conditions."""


class DatasetChoice(Spec):
    """A dataset that was asked for."""

    spec: DatasetSpec
    sha256: str
    n_cells: int | None = None
    """None: not known, since the dataset is not here."""
    tells: dict[str, tuple[str, ...]] = {}
    """Role, or two of them together → other roles that can be told from it."""
    ids: tuple[str, ...] = ()
    """Roles that name cells rather than groups of them."""
    held_out: dict[str, HeldOut] = {}
    """Split → which conditions it holds out; of those that were looked at."""
    stack: Stack | None = None
    """What it is made of, if it is several made one."""

    @classmethod
    def of(cls, dataset: Dataset, tasks: Iterable[Task] = ()) -> "DatasetChoice":
        """Take what the plan needs of a checked dataset, for some tasks."""
        known = {"n_cells": dataset.n_cells, "tells": dataset.tells, "ids": dataset.ids, "stack": dataset.stack}
        held = {
            task.split or "": conditions.held_out(dataset, _split(dataset.spec, task.split or "", task.verb))
            for task in tasks
            if task.verb == "predict" and not _undefined(dataset.spec, task)
        }
        return cls(spec=dataset.spec, sha256=dataset.sha256, held_out=held, **known)


def why_not(model: ModelSpec, choice: DatasetChoice, task: Task, device: str = "cpu") -> str:
    """Say why a task does not apply to a model on a dataset, or nothing."""
    dataset = choice.spec
    if model.resources.gpu == "required" and device == "cpu":
        return "the model needs a GPU, and it was asked to run without one"
    if task.verb not in model.verbs:
        return f"the task scores '{task.verb}', the model can only {' and '.join(model.verbs)}"
    if reason := _foreign(model, choice) or uncompared(choice.stack, task):
        return reason
    if model.gene_ids not in ("any", dataset.gene_ids, *dataset.gene_columns) and not genes.known(dataset.organism):
        lacks = f"the dataset has {dataset.gene_ids} ids, and there is no table for {dataset.organism}"
        return f"the model needs {model.gene_ids} gene ids, {lacks}"
    has = ", ".join(dataset.obs) or "none"
    if missing := [role for role in task.roles if role not in dataset.obs]:
        return f"the task needs {', '.join(missing)}, which the dataset lacks (it has: {has})"
    if missing := [role for role in model.obs_roles if role not in dataset.obs]:
        return f"the model needs {', '.join(missing)}, which the dataset lacks (it has: {has})"
    if named := [role for role in model.obs_roles if role in choice.ids]:
        return f"the model sees {', '.join(named)}, which no model may, since nearly every cell has a value of its own"
    if task.verb == "predict" and (reason := _undefined(dataset, task) or _beyond(model, choice, task)):
        return reason
    return leak(model.obs_roles, choice, hidden(task))


def _foreign(model: ModelSpec, choice: DatasetChoice) -> str:
    """Say which organism a model does not know, or nothing."""
    if "any" in model.organisms:
        return ""
    known, stack = ", ".join(model.organisms), choice.stack
    for one in stack.members if stack else ():
        if one.view.organism not in model.organisms:
            return f"member {one.name}: the model knows {known}, the dataset is of {one.view.organism}"
    if choice.spec.organism not in model.organisms:
        return f"the model knows {known}, the dataset is of {choice.spec.organism}"
    return ""


def uncompared(stack: Stack | None, task: Task) -> str:
    """Say why a task does not apply to several datasets as one, or nothing."""
    if stack and "organism" not in task.roles:
        members = ", ".join(one.name for one in stack.members)
        return f"the task compares no organisms, so ask for the members of the group: {members}"
    return ""


def _undefined(dataset: DatasetSpec, task: Task) -> str:
    """Say why, by its entry alone, no condition of a dataset can be predicted, or nothing."""
    if "perturbation" not in dataset.obs:
        return "the task needs perturbation, which the dataset lacks"
    if dataset.control is None:
        return "the entry does not say which value of perturbation means: not perturbed (control)"
    split = _split(dataset, task.split or "", task.verb)
    if split.by is None:
        return f"its split '{task.split}' draws cells, and whole conditions have to be held out"
    if split.by == "perturbation" and dataset.control in split.test:
        return f"its split '{task.split}' holds out the control, which models are given"
    return ""


def _beyond(model: ModelSpec, choice: DatasetChoice, task: Task) -> str:
    """Say why a model cannot predict what is held out, or nothing, also where it is not known what that is."""
    held, can = choice.held_out.get(task.split or "", HeldOut()), model.verbs["predict"]
    if held.reason:
        return held.reason
    for able, lacking, what in (
        (can.unseen_targets, held.unseen, "targets that it has not seen in training"),
        (can.combinations, held.combined, "combinations of targets"),
    ):
        if lacking and not able:
            share = f"{len(lacking)} of {len(held.conditions)} conditions: {', '.join(lacking[:3])}"
            return f"the model cannot predict {what}, as {share}{', …' if len(lacking) > 3 else ''}"
    return ""


def unfit(job: Job, choice: DatasetChoice, task: Task) -> str:
    """Say why a task cannot score what a job has given, or nothing."""
    spec = choice.spec
    item = next(one for one in job.datasets if one.name == spec.name)
    view = item.view
    if reason := uncompared(choice.stack, task):
        return reason
    if task.verb != job.verb:
        return f"the task scores '{task.verb}', and this is the output of '{job.verb}'"
    if choice.sha256 != view.sha256:
        return "the dataset is another file now than the one that the output is of"
    if (view.rows.split if view.rows else None) != _asked(spec, task):
        return "the output is of other cells than the task asks for: of another split, or of none"
    if missing := [role for role in task.roles if role not in spec.obs]:
        return f"the task needs {', '.join(missing)}, which the dataset lacks (it has: {', '.join(spec.obs) or 'none'})"
    sees = tuple(view.obs)
    if unknown := [role for role in sees if spec.obs.get(role) != view.obs[role]]:
        return f"the model saw {', '.join(unknown)}, which the catalogue says otherwise now"
    if item.masked and item.masked != task.masked:
        return "the model was shown cells of what it predicted, but for some genes, and the task scores all genes"
    if item.held_out and item.held_out.obs != _told(spec):
        return "the catalogue says otherwise now of the conditions that the model was asked for"
    return leak(sees, choice, hidden(task))


def _asked(spec: DatasetSpec, task: Task) -> Split | None:
    return _split(spec, task.split or "", task.verb) if task.split or task.verb == "predict" else None


def hidden(task: Task) -> tuple[str, ...]:
    """Name the roles that no model may see that a task scores: those that it needs, but for those that it allows."""
    return tuple(role for role in task.roles if role not in task.shown)


def read(sees: tuple[str, ...], choice: DatasetChoice, task: Task) -> dict[str, Columns]:
    """Name the obs columns that a task reads of a dataset, by role, of a model that sees some roles.

    What it reads where a dataset has it forbids no model. But what a model could know is not scored either: of one that
    sees cell types, an integration is scored without them. A role that only says which cells were drawn together is no
    answer, and is read all the same, since otherwise two models would have intervals that do not compare.
    """
    columns = choice.spec.obs
    found = {role: columns[role] for role in task.roles}
    for role in (role for role in task.optional if role in columns):
        if role in UNITS or role in task.shown or not leak(sees, choice, (role,)):
            found[role] = columns[role]
    return found


def leak(sees: tuple[str, ...], choice: DatasetChoice, hidden: tuple[str, ...]) -> str:
    """Say from what that it sees a model would know one of the hidden roles, which a task scores, or nothing."""
    columns, tells = choice.spec.obs, choice.tells
    scored = {columns[role] for role in hidden}
    if leaked := [role for role in sees if columns[role] in scored]:
        return f"the model sees {', '.join(leaked)}, which the task scores"
    for seen, told in itertools.product(sees, hidden):
        # Whatever the data say: three columns of four, each in a role of its own, are most of the four joined.
        if shared := [one for one in joined.parts(columns[seen]) if one in joined.parts(columns[told])]:
            return f"the model sees {seen}, and with it {', '.join(shared)} of {told}, which the task scores"
    for seen in _alone_and_in_pairs(sees):
        for told in hidden:
            if told in tells.get(seen, ()):
                what = " and ".join(seen.split("+"))
                return f"the model sees {what}, from which {told} can be told, which the task scores"
    for told in _alone_and_in_pairs(hidden):
        for seen in sees:
            if seen in tells.get(told, ()):  # a coarser label is most of a label
                what = " and ".join(told.split("+"))
                return f"the model sees {seen}, which follows from {what}, which the task scores"
    return ""


def _alone_and_in_pairs(roles: tuple[str, ...]) -> list[str]:
    return [*roles, *(pair(*two) for two in itertools.combinations(roles, 2))]


def view(model: ModelSpec, choice: DatasetChoice, limit_cells: int | None = None, split: str | None = None) -> View:
    """Decide what a model sees of a dataset.

    Parameters
    ----------
    limit_cells
        At most so many cells.
    split
        The name of the split whose held-out cells it does not see.
    """
    spec = choice.spec
    # What the dataset's own column leaves out is looked up, too.
    converted = model.gene_ids not in ("any", spec.gene_ids) and genes.known(spec.organism)
    return View(
        sha256=choice.sha256,
        matrix=spec.matrix,
        organism=spec.organism,
        gene_index=spec.gene_ids,
        gene_columns=spec.gene_columns,
        gene_ids=spec.gene_ids if model.gene_ids == "any" else model.gene_ids,
        gene_table=genes.table_digest(spec.organism) if converted else "",
        obs={role: spec.obs[role] for role in model.obs_roles},
        rows=_rows(choice, limit_cells, split),
    )


def item(
    model: ModelSpec,
    choice: DatasetChoice,
    verb: Verb,
    limit_cells: int | None = None,
    split: str | None = None,
    masked: str = "",
) -> JobDataset:
    """Decide what of a dataset a job is about: what its model sees and, if it predicts, what it is asked for.

    Parameters
    ----------
    masked
        The rule by which genes are masked in the cells held out, of which it sees the rest; empty: it sees none.
    """
    spec = choice.spec
    if verb == "embed":
        return JobDataset(name=spec.name, view=view(model, choice, limit_cells, split), stack=choice.stack)
    seen = view(model, choice)
    rows = _rows(choice, limit_cells, split or "", verb) or Rows()
    controls = rows.model_copy(update={"only": {"perturbation": (spec.control or "",)}})
    trained = {role: columns for role, columns in _told(spec).items() if role in (conditions.ROLE, "target")}
    return JobDataset(
        name=spec.name,
        view=seen.model_copy(update={"rows": controls}),
        training=seen.model_copy(update={"rows": rows, "obs": {**seen.obs, **trained}}),
        held_out=seen.model_copy(update={"rows": rows.model_copy(update={"held_out": True}), "obs": _told(spec)}),
        level=model.verbs["predict"].rows,
        masked=masked,
    )


def _told(spec: DatasetSpec) -> dict[str, Columns]:
    """Name the columns of what a model is told of the conditions that it is asked for."""
    details = {role: spec.obs[role] for role in conditions.DETAILS if role in spec.obs}
    return {conditions.ROLE: spec.obs["perturbation"], **details}


def limited(choice: DatasetChoice, limit_cells: int | None) -> Rows | None:
    """Say which cells of a dataset are taken where there is a limit to their number."""
    return _rows(choice, limit_cells, None)


def _rows(choice: DatasetChoice, limit_cells: int | None, split: str | None, verb: Verb = "embed") -> Rows | None:
    spec = choice.spec
    if choice.stack:
        limit_cells = None  # each member is limited by itself
    limited = limit_cells is not None and (choice.n_cells is None or limit_cells < choice.n_cells)
    held = _split(spec, split, verb) if split is not None else None
    if not limited and held is None:
        return None
    stratify = ("perturbation" if verb == "predict" else _stratified(spec)) if limited else None
    also = "perturbation" if verb == "predict" else None
    roles = sorted({*(held.roles if held else ()), *filter(None, [stratify, also])})
    columns = {role: spec.obs[role] for role in roles}
    return Rows(split=held, limit=limit_cells if limited else None, stratify=stratify, columns=columns)


def _split(spec: DatasetSpec, name: str, verb: Verb = "embed") -> Split:
    """Find a split, or have one drawn where the catalogue has none of that name: the same for everybody.

    Where it holds out conditions, the control stays with what may be trained on.
    """
    found = spec.splits.get(name)
    if verb == "embed":
        return found or Split(fraction=HELD_OUT, stratify=_stratified(spec))
    found = found or Split(by="perturbation", fraction=HELD_OUT)
    if found.by == "perturbation" and spec.control is not None and spec.control not in (*found.test, *found.keep):
        found = found.model_copy(update={"keep": (*found.keep, spec.control)})
    return found


def _stratified(spec: DatasetSpec) -> str | None:
    return next((role for role in STRATIFIED if role in spec.obs), None)
