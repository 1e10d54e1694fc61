"""What several test files make and call."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellgauge import execute, gpus
from cellgauge.data import check, fetch, view
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.engines.local import LocalEngine
from cellgauge.request import Given, Terms, Work
from cellgauge.scorers import Scorers
from cellgauge.specs import DatasetSpec, ItemRecord, Job, JobDataset, Matrix, Model, ModelSpec, RunRecord, Scoring, View
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
    """Fetch a dataset that lies on this machine, and check it."""
    with tempfile.TemporaryDirectory() as cache:
        return check.check(spec, *fetch.fetch(spec, Cache(Path(cache))))


def spec_of(path, **changes):
    """The entry of a made file."""
    return DatasetSpec(name="made", **{**entry(path), "source": path.as_uri(), **changes})


def written(tmp_path, adata, **changes):
    path = tmp_path / "data.h5ad"
    adata.write_h5ad(path)
    return checked(spec_of(path, **changes))


def examined(tmp_path, adata, **changes):
    path = tmp_path / "data.h5ad"
    adata.write_h5ad(path)
    return check.examine(path, spec_of(path, **changes))


def closed_to_others():
    """Which folder keeps other users from running this clone, if one does: a home is often closed to them."""
    closed = [path for path in (ROOT, *ROOT.parents) if not path.stat().st_mode & 0o001]
    return f"{closed[-1]} is closed to other users" if closed else ""


def pick_engine(name):
    if name == "local":
        return LocalEngine()
    from cellgauge.engines.docker import DockerEngine

    found = DockerEngine()
    found.check()
    return found


def give(dataset, shown, cache, name):
    path = view.write(dataset, shown, Cache(cache))
    cells = view.cells(dataset, shown)
    return Given(Item(name, f"{name}.h5ad"), {f"{name}.h5ad": path}, cells, list(anndata.read_h5ad(path).var_names))


VIEW = View(sha256="0" * 64, matrix=Matrix(), gene_index="symbol", gene_columns={}, gene_ids="symbol", obs={})


def a_job(job_id="ab" * 10, *datasets, **fields):
    """A job, of no dataset unless some are named."""
    raw = {"model": "m", "model_version": "1", "variant": "default", "image": "sha256:0", "verb": "embed"}
    shown = tuple(JobDataset(name=name, view=VIEW) for name in datasets)
    return Job(id=job_id, **{**raw, "params": {}, "seed": 1, "contract": 1, "datasets": shown, **fields})


def a_scoring(scoring_id="cd" * 10, job_id="ab" * 10, **fields):
    """A scoring of a job that `a_job` makes."""
    raw = {"model": "m", "variant": "default", "dataset": "d", "task": "t", "task_version": "1", "roles": {}, "seed": 1}
    return Scoring(id=scoring_id, job=job_id, **{**raw, **fields})


def made_record(state="ok", reason="", job_id="ab" * 10, job=None, **fields):
    """A run record of a job that never ran."""
    item = ItemRecord(name="d", state=state, reason=reason)
    return RunRecord(
        job=job or a_job(job_id),
        state=state,
        reason=reason,
        items=(item,),
        engine="function",
        started="2026-01-01T00:00:00.000+00:00",
        seconds={"run": 1.0},
        host="h",
        cellgauge="0",
        **fields,
    )


def made_model(**fields):
    """A model that the function engine can stand in for."""
    raw = {"name": "m", "version": "1", "title": "t", "determinism": "none", "licence": "x"}
    return Model(
        spec=ModelSpec.model_validate({**raw, "verbs": {"embed": {"scope": "cell"}}, **fields}), folder=Path("/")
    )


def made_work(folder, *jobs):
    """Jobs of some items with three cells each: one job of two items, unless a tuple of names a job is given."""
    (folder / "view.h5ad").write_text("never read")
    files = {name: folder / "view.h5ad" for names in jobs or (("first", "second"),) for name in names}
    return [
        Work(
            a_job(f"{number:02}" * 10, *names),
            [Given(Item(name, f"{name}.h5ad"), {f"{name}.h5ad": files[name]}, ["a", "b", "c"]) for name in names],
        )
        for number, names in enumerate(jobs or (("first", "second"),))
    ]


def write_good_output(launch, only=None):
    """What a good model leaves: for the function engine.

    Parameters
    ----------
    only
        Names of the items that it gets done; None: all of them.
    """
    for item in contract.read_request(launch.input).items:
        if only is None or item.name in only:
            write_item(launch.output, item.name, ["a", "b", "c"])
    return 0


def failing(*problems, then=write_good_output):
    """A model that the engine fails to run, once a problem given, and that then does as it should."""
    waiting = list(problems)

    def function(launch):
        if waiting:
            launch.log.write_text(f"said before: {waiting[0].message}\n")
            (launch.output / "half").write_text("x")
            (launch.scratch / "half").write_text("x")
            raise waiting.pop(0)
        assert list(launch.output.iterdir()) == list(launch.scratch.iterdir()) == []
        return then(launch)

    return function


def embed_view(launch):
    """What a good model leaves of real views: for the function engine."""
    for item in contract.read_request(launch.input).items:
        with h5py.File(launch.input / item.data) as file:
            obs = file["obs"]
            write_item(launch.output, item.name, [name.decode() for name in obs[obs.attrs["_index"]][()]])
    return 0


def write_item(output, name, cells):
    folder = output / name
    folder.mkdir()
    np.save(folder / "embedding.npy", np.arange(2 * len(cells), dtype="float32").reshape(-1, 2))
    (folder / "cells.txt").write_text("".join(f"{cell}\n" for cell in cells))
    contract.write_atomically(folder / "result.json", contract.to_json(contract.RunResult(1, "ok")))


def begin_item(output, name):
    """Say, as the SDK does, that an item has begun."""
    with (output / "progress.jsonl").open("a") as file:
        file.write(json.dumps({"item": name, "state": "running"}) + "\n")


def start_function(tmp_path, function, *, work=None, cancel=None, resources=None, folder="job", **terms):
    """Start the function as a model; what it is asked to do is one job of two items, unless something else is given."""
    work, model = work or made_work(tmp_path), made_model(resources=resources or {})
    place = tmp_path / folder
    place.mkdir()
    terms = Terms(**{"pause": 0.0, "run": "r1", **terms})
    return execute.run(work, model, place, FunctionEngine(function), terms, cancel or Cancel())


def run_function(tmp_path, function, **more):
    (done,), left = start_function(tmp_path, function, **more)
    assert left == []
    return done.record, done.folder


class ScoredAtOnce(Scorers):
    """Scores where it stands: for tests that are not about processes."""

    def __init__(self):
        super().__init__(1)

    def submit(self, function, then):
        then(function(), "")


@contextmanager
def as_nobody():
    """Do without root's rights for a while, where there are any."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def listed_gpus(folder, count=2, memory=80_000, **fields):
    """GPUs out of a file, which may be changed while they are in use."""
    entries = [{"index": str(n), "uuid": f"GPU-{n}0", "name": "A", "memory_mb": memory, **fields} for n in range(count)]
    (folder / "new").write_text(json.dumps(entries))
    return gpus.Listed((folder / "new").rename(folder / "list.json"))
