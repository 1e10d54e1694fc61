"""Measures what is promised of cellgauge's own cost, and fails where it is not kept. Run by `make bench`.

Figures are medians with their range. Containers are compared with a bare `docker run` of the same image, in turns,
in the same run: machines differ, ratios less.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import execution
import numpy as np
import pandas as pd
import scipy.sparse as sp
import views
import yaml

from cellgauge import catalog, execute, images, plan
from cellgauge.data import check, fetch, view
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel, Engine
from cellgauge.engines.docker import DockerEngine
from cellgauge.engines.function import FunctionEngine
from cellgauge.request import Given, Terms, Work
from cellgauge.specs import Dataset, DatasetSpec, Model, ModelSpec
from cellgauge.store import Store
from cellgauge_model import contract
from cellgauge_model.contract import Item
from cellgauge_tasks import find
from support import VIEW

ROUNDS = 15
MANIFEST = """\
name: trivial
version: "1"
title: Copies a finished output
verbs: {embed: {scope: cell}}
determinism: bitwise
licence: MIT
"""
SCRIPT = 'cp -r /model/finished "$CELLGAUGE_OUTPUT/cells"\n'
DOCKERFILE = 'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY . /model/\nENTRYPOINT ["sh", "/model/model.sh"]\n'

Row = tuple[str, str, str, bool]
"""What, measured, promised, kept."""


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def spread(values: list[float], unit: float = 1e3, name: str = "ms") -> str:
    return f"{statistics.median(values) * unit:.0f} {name} ({min(values) * unit:.0f}–{max(values) * unit:.0f})"


def dataset_in(folder: Path) -> Dataset:
    names = pd.DataFrame({"label": ["a", "b"] * 50}, index=[f"c{n}" for n in range(100)])
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (100, 50)).astype("float32"))
    path = folder / "cells.h5ad"
    anndata.AnnData(counts, obs=names).write_h5ad(path)
    spec = DatasetSpec(
        name="cells", source=path.as_uri(), organism="Homo sapiens", gene_ids="symbol", obs={"cell_type": "label"}
    )
    return check.check(spec, *fetch.fetch(spec, Cache(folder / "cache")))


def finished_output(dataset: Dataset, folder: Path) -> None:
    """What the trivial model copies: an output that passes every check."""
    folder.mkdir(parents=True)
    np.save(folder / "embedding.npy", np.zeros((dataset.n_cells, 2), dtype="float32"))
    (folder / "cells.txt").write_text("".join(f"{cell}\n" for cell in view.cells(dataset, VIEW)))
    contract.write_atomically(folder / "result.json", contract.to_json(contract.RunResult(1, "ok")))


def trivial_model(dataset: Dataset, folder: Path) -> Model:
    (folder / "trivial").mkdir(parents=True)
    finished_output(dataset, folder / "trivial" / "finished")
    for name, text in (("model.yaml", MANIFEST), ("model.sh", SCRIPT), ("Dockerfile", DOCKERFILE)):
        (folder / "trivial" / name).write_text(text)
    return catalog.models([folder])["trivial"]


def one_job(model: Model, image: str, dataset: Dataset, store: Store, engine: Engine, cache: Path, seed: int) -> None:
    """Plan, execute, check and keep one job."""
    choice = plan.ModelChoice(spec=model.spec, variant="default", params={}, image=image)
    data = plan.DatasetChoice(spec=dataset.spec, sha256=dataset.sha256)
    job = plan.make([choice], [data], [find()["clustering"]], [seed]).jobs[0]
    path = view.write(dataset, job.datasets[0].view, Cache(cache))
    given = Given(Item("cells", "cells.h5ad"), {"cells.h5ad": path}, view.cells(dataset, job.datasets[0].view))
    with store.workspace(job.id) as folder:
        (done,), _ = execute.run([Work(job, [given])], model, folder, engine, Terms(), Cancel())
        store.keep(done.folder, done.record)
    assert done.record.state == "ok", done.record.reason


def containers(folder: Path, dataset: Dataset, store: Store) -> Row:
    base = os.environ.get("CELLGAUGE_BASE_IMAGE", "python:3.11-slim")
    model = trivial_model(dataset, folder / "models")
    network = os.environ.get("CELLGAUGE_BUILD_NETWORK", "")
    image = images.ensure(model, base_image=base, network=network, say=lambda text: None).digest
    engine = DockerEngine()
    engine.check()
    bare, ours = [], []
    for number in range(ROUNDS):
        output = folder / f"bare-{number}"
        output.mkdir()
        command = ["docker", "run", "--rm", "--network", "none", "-e", "CELLGAUGE_OUTPUT=/job/output"]
        command += ["-v", f"{output}:/job/output", image, "embed"]
        bare.append(timed(lambda command=command: subprocess.run(command, check=True)))
        ours.append(timed(lambda n=number: one_job(model, image, dataset, store, engine, folder / "cache", n)))
    ratio = statistics.median(ours) / statistics.median(bare)
    measured = f"{ratio:.2f} × : {spread(ours)} against {spread(bare)}"
    return "a job in a container, against a bare docker run", measured, "≤ 1.2 ×", ratio <= 1.2


def function_engine(folder: Path, dataset: Dataset, store: Store) -> Row:
    finished_output(dataset, folder / "finished")
    inside: list[float] = []

    def copy(launch: object) -> int:
        inside.append(timed(lambda: (folder / "finished").rename(launch.output / "cells")))  # type: ignore[attr-defined]
        return 0

    model = Model(spec=ModelSpec.model_validate(yaml.safe_load(MANIFEST)), folder=folder)
    own = []
    for number in range(ROUNDS * 3):
        if not (folder / "finished").exists():
            finished_output(dataset, folder / "finished")
        total = timed(
            lambda n=number: one_job(model, "none", dataset, store, FunctionEngine(copy), folder / "cache", n)
        )
        own.append(total - inside[-1])
    median = statistics.median(own)
    return "our own time per job (function engine)", spread(own), "≤ 50 ms", median <= 0.05


def planning() -> Row:
    spec = ModelSpec.model_validate(yaml.safe_load(MANIFEST))
    models = [
        plan.ModelChoice(spec=spec.model_copy(update={"name": f"m{n}"}), variant="default", params={}, image="x")
        for n in range(100)
    ]
    raw = {"source": "file:///x", "organism": "Homo sapiens", "gene_ids": "symbol", "obs": {"cell_type": "label"}}
    sets = [plan.DatasetChoice(spec=DatasetSpec(name=f"d{n}", **raw), sha256=f"{n:064}") for n in range(50)]
    one, every = [find()["clustering"]], list(find().values())
    times = [timed(lambda: plan.make(models, sets, one, [1])) for _ in range(5)]
    all_tasks = [timed(lambda: plan.make(models, sets, every, [1])) for _ in range(5)]
    measured = f"{spread(times)}; with {len(every)} tasks a dataset {spread(all_tasks)}"
    return "planning 100 models × 50 datasets", measured, "< 1 s", statistics.median(times) < 1


def help_text() -> Row:
    command = [str(Path(sys.executable).with_name("cellgauge")), "--help"]
    times = [timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) for _ in range(9)]
    return "cellgauge --help", spread(times), "< 0.5 s", statistics.median(times) < 0.5


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = dataset_in(folder)
        store = Store(folder / "results")
        store.prepare()
        rows = [containers(folder, dataset, store), function_engine(folder, dataset, store), planning(), help_text()]
    rows += execution.rows() + views.rows()
    print("| what | measured: median (range) | promised | kept |\n|---|---|---|---|")
    for what, measured, promised, kept in rows:
        print(f"| {what} | {measured} | {promised} | {'yes' if kept else 'NO'} |")
    print(json.dumps({"kept": [row[3] for row in rows]}), file=sys.stderr)
    sys.exit(0 if all(row[3] for row in rows) else 1)


if __name__ == "__main__":
    main()
