"""What several test files make and call."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellgauge.data import check, fetch, view
from cellgauge.engines.local import LocalEngine
from cellgauge.execute import Given
from cellgauge.specs import ItemRecord, Job, Model, ModelSpec, RunRecord
from cellgauge_model import contract
from cellgauge_model.contract import Item

ROOT = Path(__file__).parents[1]
MODELS = Path(__file__).parent / "models"


def make_cells(cells=60, genes=40, types=3, seed=0):
    random = np.random.default_rng(seed)
    label = np.arange(cells) % types
    rate = random.gamma(1.0, 1.0, (types, genes))
    counts = random.poisson(1 + 3 * rate[label]).astype("float32")
    obs = pd.DataFrame(
        {"label": [f"type {n}" for n in label], "donor": [f"d{n % 2}" for n in range(cells)]},
        index=[f"type{n}_barcode{i}" for i, n in enumerate(label)],
    )
    var = pd.DataFrame({"ensembl": [f"ENSG{n:011d}" for n in range(genes)]}, index=[f"G{n}" for n in range(genes)])
    adata = anndata.AnnData(X=sp.csr_matrix(counts), obs=obs, var=var)
    adata.uns["label_colors"] = ["red", "green", "blue"]
    adata.obsm["X_secret"] = np.eye(types, dtype="float32")[label]
    adata.layers["doubled"] = adata.X * 2
    return adata


def entry(path, **changes):
    """A catalogue entry for a made file, as it stands in YAML."""
    fields = {
        "source": str(path),
        "organism": "Homo sapiens",
        "gene_ids": "symbol",
        "gene_columns": {"ensembl": "ensembl"},
        "obs": {"cell_type": "label", "donor": "donor"},
    }
    return {**fields, **changes}


def checked(spec):
    return check.check(spec, *fetch.fetch(spec))


def pick_engine(name):
    if name == "local":
        return LocalEngine()
    from cellgauge.engines.docker import DockerEngine

    found = DockerEngine()
    found.check()
    return found


def give(dataset, shown, cache, name):
    path = view.write(dataset, shown, cache)
    cells = list(view.annotations(dataset, {}).index)
    return Given(Item(name, f"{name}.h5ad"), {f"{name}.h5ad": path}, cells, list(anndata.read_h5ad(path).var_names))


def made_record(state="ok", reason="", job_id="ab" * 10):
    """A run record of a job that never ran."""
    job = Job(
        id=job_id,
        model="m",
        model_version="1",
        variant="default",
        image="sha256:0",
        verb="embed",
        params={},
        seed=1,
        contract=1,
        datasets=(),
    )
    item = ItemRecord(name="d", state=state, reason=reason)
    return RunRecord(
        job=job,
        state=state,
        reason=reason,
        items=(item,),
        engine="function",
        started="2026-01-01T00:00:00.000+00:00",
        seconds={"run": 1.0},
        host="h",
        cellgauge="0",
    )


def made_model(**fields):
    """A model that the function engine can stand in for."""
    raw = {"name": "m", "version": "1", "title": "t", "determinism": "none", "licence": "x"}
    return Model(
        spec=ModelSpec.model_validate({**raw, "verbs": {"embed": {"scope": "cell"}}, **fields}), folder=Path("/")
    )


def made_job(folder):
    """A job of two items with three cells each."""
    (folder / "view.h5ad").write_text("never read")
    given = [
        Given(Item(name, f"{name}.h5ad"), {f"{name}.h5ad": folder / "view.h5ad"}, ["a", "b", "c"])
        for name in ("first", "second")
    ]
    return made_record().job, given


def write_good_output(launch):
    """What a good model leaves: for the function engine."""
    request = contract.read_request(launch.input)
    for item in request.items:
        folder = launch.output / item.name
        folder.mkdir()
        np.save(folder / "embedding.npy", np.arange(6, dtype="float32").reshape(3, 2))
        (folder / "cells.txt").write_text("a\nb\nc\n")
        contract.write_atomically(folder / "result.json", contract.to_json(contract.RunResult(1, "ok")))
    return 0
