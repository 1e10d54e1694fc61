"""Decides what a model is shown of a dataset, or why nothing: genes, cells, and what would give an answer away."""

import itertools

from cellgauge.data import genes
from cellgauge.data.check.labels import pair
from cellgauge.specs import Dataset, DatasetSpec, ModelSpec, Rows, Spec, Split, View
from cellgauge_tasks import Task

STRATIFIED = ("cell_type", "perturbation", "time", "batch")
"""Roles whose values keep their shares where only some of the cells are taken: the first that a dataset has."""
HELD_OUT = 0.2
"""Share of the cells that are held out where a task asks for a split that the catalogue does not have."""


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

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetChoice":
        """Take what the plan needs of a checked dataset."""
        known = {"n_cells": dataset.n_cells, "tells": dataset.tells, "ids": dataset.ids}
        return cls(spec=dataset.spec, sha256=dataset.sha256, **known)


def why_not(model: ModelSpec, choice: DatasetChoice, task: Task, device: str = "cpu") -> str:
    """Say why a task does not apply to a model on a dataset, or nothing."""
    dataset = choice.spec
    if model.resources.gpu == "required" and device == "cpu":
        return "the model needs a GPU, and it was asked to run without one"
    if task.verb not in model.verbs:
        return f"the task scores '{task.verb}', the model can only {' and '.join(model.verbs)}"
    if "any" not in model.organisms and dataset.organism not in model.organisms:
        return f"the model knows {', '.join(model.organisms)}, the dataset is of {dataset.organism}"
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
    return _leak(model, choice, task)


def _leak(model: ModelSpec, choice: DatasetChoice, task: Task) -> str:
    """Say from what a model would know what a task scores, or nothing."""
    columns, tells = choice.spec.obs, choice.tells
    scored = {columns[role] for role in task.roles}
    if leaked := [role for role in model.obs_roles if columns[role] in scored]:
        return f"the model sees {', '.join(leaked)}, which the task scores"
    for seen in _alone_and_in_pairs(model.obs_roles):
        for told in task.roles:
            if told in tells.get(seen, ()):
                what = " and ".join(seen.split("+"))
                return f"the model sees {what}, from which {told} can be told, which the task scores"
    for told in _alone_and_in_pairs(task.roles):
        for seen in model.obs_roles:
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


def _rows(choice: DatasetChoice, limit_cells: int | None, split: str | None) -> Rows | None:
    spec = choice.spec
    limited = limit_cells is not None and (choice.n_cells is None or limit_cells < choice.n_cells)
    held = _split(spec, split) if split is not None else None
    if not limited and held is None:
        return None
    stratify = _stratified(spec) if limited else None
    roles = sorted({*(held.roles if held else ()), *filter(None, [stratify])})
    columns = {role: spec.obs[role] for role in roles}
    return Rows(split=held, limit=limit_cells if limited else None, stratify=stratify, columns=columns)


def _split(spec: DatasetSpec, name: str) -> Split:
    """Find a split, or have one drawn where the catalogue has none of that name: the same for everybody."""
    return spec.splits.get(name) or Split(fraction=HELD_OUT, stratify=_stratified(spec))


def _stratified(spec: DatasetSpec) -> str | None:
    return next((role for role in STRATIFIED if role in spec.obs), None)
