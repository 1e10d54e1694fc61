"""The plain models that a claim has to beat, against cz-benchmarks' own workflow."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import made
from cellgauge_tasks import clustering, embedding, find
from support import ROOT

ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())
CELLS = made.cells()


def shipped_model(name, **params):
    spec = importlib.util.spec_from_file_location(f"{name}_model", ROOT / "model-images" / name / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.embed(None, anndata.AnnData(sp.csr_matrix(CELLS.counts)), SimpleNamespace(params=params, seed=42))


def test_the_pca_model_is_the_plain_workflow():
    components = shipped_model("pca", n_top_genes=200, n_components=20)
    assert np.abs(components).sum(0)[:5] == pytest.approx(ORACLE["pca_abs_sum_first5"], rel=1e-4)
    width = embedding.score(components, CELLS.obs)[0]
    assert width.metric == "silhouette_label"
    assert width.value == pytest.approx(ORACLE["embedding_baseline"]["silhouette"], abs=1e-5)
    first_seed = clustering.score(components, CELLS.obs).details["adjusted_rand_index/per_seed"][0]
    assert first_seed == pytest.approx(ORACLE["clustering_baseline"]["adjusted_rand_index"], abs=1e-6)


def test_the_hvg_model_is_log_normalised_counts():
    found = shipped_model("hvg", n_top_genes=400)
    total = CELLS.counts.sum(axis=1, keepdims=True)
    assert np.asarray(found.todense()) == pytest.approx(np.log1p(CELLS.counts / total * np.median(total)), rel=1e-5)
    assert shipped_model("hvg", n_top_genes=50).shape == (600, 50)


def test_every_task_names_a_shipped_model_as_its_baseline(models):
    assert {task.baseline for task in find().values()} <= {name for name, one in models.items() if one.spec.baseline}


def test_huge_values_do_not_overflow():
    random = np.random.default_rng(0)
    labels = np.array(["a", "b"] * 50)
    points = (random.normal(size=(100, 3)) + 10 * (labels == "a")[:, None]).astype("float32")
    small, huge = (embedding.score(one, {"cell_type": labels})[0].value for one in (points, points * np.float32(1e19)))
    assert huge == pytest.approx(small, abs=1e-5)
