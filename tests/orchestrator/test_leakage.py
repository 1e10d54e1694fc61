"""No answer reaches a model: every task and every real dataset, with a model that asks for all it may have."""

import re

import anndata
import h5py
import pytest

from cellgauge import catalog, plan
from cellgauge.data import view
from cellgauge.data.cache import Cache
from cellgauge_tasks import find
from support import checked, made_model

GROUPS = {"X", "layers", "obs", "obsm", "obsp", "uns", "var", "varm", "varp"}
MATRIX = {"X/data", "X/indices", "X/indptr"}
GENES = {"var/gene_symbol", "var/ensembl_id", "var/feature_name", "var/_index"}
ATTRIBUTES = {"encoding-type", "encoding-version", "_index", "column-order", "shape", "ordered"}
LONG = 6
"""Letters from which on a word is looked for anywhere in a file: shorter ones may turn up by chance."""


def greedy(task, choice):
    """A model that asks for every role which that task lets it have."""
    verbs = {task.verb: {"scope": "cell"}} if task.verb == "embed" else {"predict": {"level": "cells"}}
    allowed = [
        role
        for role in choice.spec.obs
        if not plan.why_not(made_model(obs_roles=[role], verbs=verbs, organisms=["any"]).spec, choice, task)
    ]
    return made_model(obs_roles=allowed, verbs=verbs, organisms=["any"]).spec


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
        choice = plan.DatasetChoice.of(dataset)
        for task in find().values():
            if all(role in dataset.spec.obs for role in task.roles):
                shown = plan.view(greedy(task, choice), choice)
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


def test_no_scored_column_nor_one_that_tells_it_is_granted(cases):
    for dataset, task, shown, path in cases.values():
        scored = {dataset.spec.obs[role] for role in task.roles}
        assert not scored & set(shown.obs.values()), (dataset.spec.name, task.name)
        answers = view.annotations(dataset, shown, {role: dataset.spec.obs[role] for role in task.roles})
        seen = anndata.read_h5ad(path).obs.loc[answers.index]
        for role in answers:
            kinds = answers[role].nunique()
            for column in seen:
                told = answers.groupby(seen[column].astype(str))[role].nunique()
                assert kinds < 2 or told.max() > 1 or seen[column].nunique() == 1, (dataset.spec.name, column, role)


def test_no_byte_of_a_view_tells_a_barcode_a_label_or_a_column(cases):
    looked_for, views = 0, {path: case for case in cases.values() for path in case[3:]}
    for dataset, _, shown, path in views.values():
        content, source = path.read_bytes(), anndata.read_h5ad(dataset.path)
        granted = set(shown.obs.values())
        secrets = {str(name) for name in source.obs_names} | {*source.uns, *source.obsm, *source.obsp, *source.varm}
        secrets |= {column for column in source.obs if column not in granted} - {*shown.obs}
        for column in [one for one in source.obs if one not in granted and source.obs[one].dtype.kind in "OU"]:
            secrets |= {str(one) for one in source.obs[column].dropna().unique()}
        shown_words = {str(one) for column in granted for one in source.obs[column].dropna().unique()}
        found = anndata.read_h5ad(path, backed="r")
        by_right = {*found.obs_names, *found.var_names, *found.var.astype(str).to_numpy().ravel()}
        words = {one.decode() for one in re.findall(rb"[\x20-\x7e]{6,}", content)}
        # The names of genes and what was granted are there by right, and may be the name of a perturbation too. After
        # a name HDF5 may store a number that looks like a letter.
        left = "\n".join(one for one in words if one not in by_right and one[:-1] not in by_right)
        granted_words = "\n".join([*shown.obs, *shown_words])
        looked_for += len(secrets)
        for secret in (one for one in secrets if len(one) >= LONG and one not in granted_words):
            there = secret in left if secret.isascii() else secret.encode() in content
            assert not there, (dataset.spec.name, secret)
    assert looked_for > 10_000
