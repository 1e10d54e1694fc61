"""The task of the docs is a task: installed as a package of somebody else, found, scored and controlled."""

import json
import os
import re
import subprocess
import sys
import zipfile

import anndata
import numpy as np
import pytest

from cellgauge_tasks import Space, clustering, embedding, find, label_prediction
from support import ROOT, entry, make_cells

PAGE = (ROOT / "docs" / "how-to" / "add-a-task.md").read_text()
SCORING = (ROOT / "docs" / "how-to" / "score.md").read_text()
BROKEN = "raise RuntimeError('oh')"


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


def install(folder, code, name="my_tasks"):
    """Make a wheel of one module with the entry point of the page, and install it as a person would."""
    (table,) = blocks(PAGE, "toml")
    module, _, attribute = re.search(r'"(.+):(.+)"', table).group(0).strip('"').partition(":")
    info = f"{name}-1.0.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[cellgauge.tasks]\nneighbour_purity = {module}:{attribute}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    target = folder / "site"
    words = ["uv", "pip", "install", "--offline", "--no-deps", "--no-cache", "--target", target, wheel]
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)
    return target


@pytest.fixture
def call(tmp_path):
    def run(*arguments, code, expected=0):
        site = install(tmp_path, code)
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(
            [sys.executable, "-m", "cellgauge", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == expected, done.stderr
        return done

    return run


def test_the_task_of_the_page_scores_from_another_package(call, tmp_path):
    (code,) = blocks(PAGE, "python")
    assert code.count("\n") <= 45
    adata = make_cells(90)
    adata.write_h5ad(tmp_path / "made.h5ad")
    (tmp_path / "my.yaml").write_text(json.dumps({"datasets": {"made": entry("made.h5ad")}}))
    np.save(tmp_path / "emb.npy", adata.X.toarray())
    words = ["--embedding", "emb.npy", "-d", "made", "--catalog", "my.yaml", "-t", "neighbour_purity", "--controls"]
    found = json.loads(call("score", *words, "--json", code=code).stdout)
    assert found["complete"]
    (score,) = found["results"][0]["scores"]
    assert (score["metric"], score["params"], score["n_cells"]) == ("neighbour_purity", {"k": 15}, 90)
    assert score["low"] <= score["value"] <= score["high"]
    values = {one["control"]: one["scores"][0]["value"] for one in found["controls"]}
    assert values["positive"] == 1.0
    assert 0.2 < values["negative"] < 0.5
    assert 0 < score["scaled"] <= 1


def test_a_package_whose_task_is_broken_is_named(call):
    done = call("list", "tasks", code=BROKEN, expected=3)
    assert (
        "the task of my_tasks (neighbour_purity = my_tasks:TASK) cannot be imported: RuntimeError('oh')" in done.stderr
    )
    assert "uninstall it" in done.stderr


def test_a_task_that_takes_a_name_is_named(call):
    done = call("list", "tasks", code="from cellgauge_tasks.clustering import TASK", expected=3)
    assert "two tasks are named 'clustering'; one of them is of my_tasks" in done.stderr


def test_the_lines_for_a_notebook_work(made):
    adata = anndata.AnnData(made.X, obs=made.obs.rename(columns={"label": "cell_type"}))
    names = {"embedding": made.X.toarray(), "adata": adata}
    one, several, _ = blocks(SCORING, "python")
    exec(one, names)
    exec(several, names)
    alone = [*clustering.score(names["embedding"], adata.obs), *label_prediction.score(names["embedding"], adata.obs)]
    assert names["found"] == alone
    assert isinstance(names["space"], Space)
    assert embedding.TASK.name in find()


def test_the_lines_for_arrays_work(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    lab.run(lab.prepare(tasks={"embedding": find()["embedding"]}))
    (lab.folder / "cellgauge-results").symlink_to(lab.store.root)
    names = {}
    exec(blocks(SCORING, "python")[2], names)
    assert names["small"]["replicates/0"].shape == (200,)
