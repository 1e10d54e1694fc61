"""No answer reaches a model: every task and every real dataset, with a model that asks for all it may have."""

import itertools
import re
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from cellgauge import catalog, plan, request
from cellgauge import shown as showing
from cellgauge.data import view
from cellgauge.data.cache import Cache
from cellgauge.engines.function import FunctionEngine
from cellgauge.request import Given, Terms
from cellgauge_model.contract import Item
from cellgauge_tasks import find
from support import checked, made_model

GROUPS = {"X", "layers", "obs", "obsm", "obsp", "uns", "var", "varm", "varp"}
MATRIX = {"X/data", "X/indices", "X/indptr"}
GENES = {"var/gene_symbol", "var/ensembl_id", "var/feature_name", "var/_index"}
ATTRIBUTES = {"encoding-type", "encoding-version", "_index", "column-order", "shape", "ordered"}
LONG = 6
"""Letters from which on a word is looked for anywhere in a file: shorter ones may turn up by chance."""


def greedy(task, choice):
    """A model that asks for every role which that task lets it have, together with those before."""
    verbs = {task.verb: {"scope": "cell", "unseen_targets": True, "combinations": True}}
    asking = lambda roles: made_model(obs_roles=roles, verbs=verbs, organisms=["any"]).spec  # noqa: E731
    allowed = []
    for role in choice.spec.obs:
        if not plan.why_not(asking([*allowed, role]), choice, task):
            allowed.append(role)
    return asking(allowed)


def views_of(task, choice):
    """What a greedy model gets; of one that predicts, what is held out from it is none of it."""
    if task.verb == "embed":
        return [plan.view(greedy(task, choice), choice)]
    item = plan.item(greedy(task, choice), choice, task.verb, split=task.split)
    return [item.view, item.training]


@pytest.fixture(scope="module")
def real_datasets(real_catalog):
    return {
        name: checked(spec) for name, spec in catalog.datasets([real_catalog]).items() if spec.modality != "imaging"
    }


@pytest.fixture(scope="module")
def cases(real_datasets, tmp_path_factory):
    """Each view that some task leads to, with its dataset and the task."""
    cache, found = Cache(tmp_path_factory.mktemp("views")), {}
    for dataset in real_datasets.values():
        choice = plan.DatasetChoice.of(dataset, find().values())
        for task in find().values():
            if task.verb == "predict" and plan.why_not(greedy(task, choice), choice, task):
                continue
            if all(role in dataset.spec.obs for role in task.roles):
                for shown in views_of(task, choice):
                    found[shown.id, task.name] = (dataset, task, shown, view.write(dataset, shown, cache))
    assert len({dataset.spec.name for dataset, *_ in found.values()}) >= 12
    return found


def test_a_view_has_no_other_part_than_it_should_have(cases):
    for dataset, _, shown, path in cases.values():
        with h5py.File(path) as file:
            names = set()
            file.visit(names.add)
            granted = {f"obs/{role}" for role in shown.obs}
            allowed = GROUPS | MATRIX | GENES | {"obs/_index"} | granted
            allowed |= {f"{one}/{part}" for one in granted for part in ("codes", "categories")}
            assert names <= allowed, dataset.spec.name
            assert set(file["obs"].attrs["column-order"]) == set(shown.obs)
            for name in names | {"/"}:
                assert set(file[name].attrs) <= ATTRIBUTES, name
                assert h5py.h5g.get_objinfo(file[name].id).mtime == 0, name


def test_the_order_of_cells_is_that_of_their_opaque_ids_and_of_nothing_else(cases):
    for dataset, _, shown, path in {path: case for case in cases.values() for path in case[3:]}.values():
        found = list(anndata.read_h5ad(path, backed="r").obs_names)
        assert found == sorted(view.cells(dataset, shown))


def surely(seen, answer):
    """The share of cells whose answer is the most frequent one among the cells that show a model the same."""
    known = answer.notna().to_numpy()
    same = seen[known].astype(str).agg("|".join, axis=1)
    counts = pd.crosstab(same.to_numpy(), answer[known].astype(str).to_numpy())
    return counts.max(axis=1).sum() / known.sum(), len(counts) / len(answer)


def test_no_column_nor_two_together_tell_what_is_scored(cases):
    looked = 0
    for dataset, task, shown, path in cases.values():
        scored = {dataset.spec.obs[role] for role in showing.hidden(task)}
        assert not scored & set(shown.obs.values()), (dataset.spec.name, task.name)
        hidden = showing.hidden(task)
        answers = view.annotations(dataset, shown, {role: dataset.spec.obs[role] for role in hidden})
        seen = anndata.read_h5ad(path).obs.loc[answers.index]
        for role in answers:
            if answers[role].value_counts(normalize=True).max() >= 0.95:
                continue  # nothing is to be told there
            for columns in [*([one] for one in seen), *map(list, itertools.combinations(seen, 2))]:
                right, groups = surely(seen[columns], answers[role])
                looked += groups < 0.5
                assert groups >= 0.5 or right < 0.99, (dataset.spec.name, columns, role)
            for column in seen.select_dtypes("category"):
                assert seen[column].nunique() < len(seen) / 2, "no id is shown"
    assert looked > 10


def secrets_of(dataset, source, granted, seen):
    """What must not reach a model: cell ids, names and values of what it was not granted, and values of cells unseen.

    Parameters
    ----------
    seen
        The obs of its view.
    """
    found = {str(name) for name in source.obs_names} | {*source.uns, *source.obsm, *source.obsp, *source.varm}
    found |= {column for column in source.obs if column not in granted.values()} - {*granted}
    for column in [one for one in source.obs if source.obs[one].dtype.kind in "OU"]:
        found |= {str(one) for one in source.obs[column].dropna().unique()}
    shown = {str(one) for role in seen for one in seen[role].dropna().unique()}
    there_by_right = "\n".join([*granted, *shown])
    return {one for one in found if len(one) >= LONG and one not in there_by_right}


def test_no_byte_of_a_view_tells_a_barcode_a_label_or_a_column(cases):
    looked_for, views = 0, {path: case for case in cases.values() for path in case[3:]}
    for dataset, _, shown, path in views.values():
        content, source = path.read_bytes(), anndata.read_h5ad(dataset.path)
        found = anndata.read_h5ad(path, backed="r")
        by_right = {*found.obs_names, *found.var_names, *found.var.astype(str).to_numpy().ravel()}
        words = {one.decode() for one in re.findall(rb"[\x20-\x7e]{6,}", content)}
        # The names of genes and what was granted are there by right, and may be the name of a perturbation too. After
        # a name HDF5 may store a number that looks like a letter.
        left = "\n".join(one for one in words if one not in by_right and one[:-1] not in by_right)
        for secret in secrets_of(dataset, source, shown.obs, found.obs):
            looked_for += 1
            there = secret in left if secret.isascii() else secret.encode() in content
            assert not there, (dataset.spec.name, secret)
    assert looked_for > 8_000


def test_what_else_reaches_a_model_tells_none_of_it_either(cases, tmp_path):
    """Its request, the names and times of its files, and what the engine is asked to start."""
    looked_for, views = 0, {path: case for case in cases.values() for path in case[3:]}
    embedded = [case for case in views.values() if case[1].verb == "embed"]
    for number, (dataset, task, shown, path) in enumerate(embedded):
        name, place = dataset.spec.name, tmp_path / str(number)
        place.mkdir()
        given = Given(Item(name, f"{name}.h5ad"), {f"{name}.h5ad": path}, view.cells(dataset, shown))
        model = made_model(obs_roles=list(shown.obs))
        choice = plan.DatasetChoice.of(dataset)
        asked = plan.ModelChoice(spec=model.spec, variant="default", params={}, image="sha256:0")
        job = plan.job(asked, choice, task.verb, shown, 1)
        launch = request.prepare([request.Work(job, [given])], model, place, Terms(), FunctionEngine(len))
        there = sorted(one.relative_to(place).as_posix() for one in place.rglob("*"))
        assert set(there) == {"input", f"input/{name}.h5ad", "input/request.json", "output", "scratch"}
        told = "\n".join([*there, (launch.input / "request.json").read_text()])
        told += "\n".join(str(value) for name, value in vars(launch).items() if not isinstance(value, Path))
        for secret in secrets_of(dataset, anndata.read_h5ad(dataset.path), shown.obs, anndata.read_h5ad(path).obs):
            looked_for += 1
            assert secret not in told.replace(name, ""), (name, secret)
    assert looked_for > 8_000


def test_of_the_conditions_held_out_no_cell_and_no_count_is_shown(cases):
    """Of every real screen; that they can be asked for at all, a model has to be told their names."""
    looked_for, screens = 0, [case for case in cases.values() if case[1].verb == "predict"]
    for dataset, _, shown, path in screens:
        source, found = anndata.read_h5ad(dataset.path), anndata.read_h5ad(path)
        rows = shown.rows.model_copy(update={"only": {}, "held_out": True})
        hidden = view.cells(dataset, shown.model_copy(update={"rows": rows}))
        ids = dict(zip(view.opaque(source.obs_names, dataset.sha256), range(source.n_obs), strict=True))
        held = source[[ids[one] for one in hidden]]
        names = set(held.obs[dataset.spec.obs["perturbation"]].astype(str))
        assert len(names) >= 4
        assert dataset.spec.control not in names
        assert not set(hidden) & set(found.obs_names)
        for role in found.obs:
            assert not names & set(found.obs[role].astype(str)), role
        many = np.asarray((held.X > 0).sum(axis=1)).ravel() >= 10  # fewer may be the same by chance
        counts = {row.tobytes() for row in held.X[many].toarray().astype("float32")}
        looked_for += len(counts)
        assert not counts & {row.tobytes() for row in found.X.toarray()}
    assert len(screens) == 2 * 2 * 2, "datasets, tasks, views"
    assert looked_for > 4_000
