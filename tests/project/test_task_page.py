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


def odd(change):
    """Give the code of a task that is as it should be but for what is changed."""
    right = "name='mine_t', version='1', title='t', roles=(), score=len, headline={}, baseline='pca'"
    return f"from cellgauge_tasks import Task\nTASK = Task(**{{**dict({right}), **dict({change})}})"


def install(folder, code, name="my_tasks", module="", entry="neighbour_purity"):
    """Make a wheel of one module with the entry point of the page, and install it as a person would."""
    (table,) = blocks(PAGE, "toml")
    there, _, attribute = re.search(r'"(.+):(.+)"', table).group(0).strip('"').partition(":")
    module = module or there
    info = f"{name}-1.0.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[cellgauge.tasks]\n{entry} = {module}:{attribute}\n",
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
        assert expected in (None, done.returncode), done.stderr
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


EMBEDDED = ["score", "--embedding", "emb.npy", "-d", "made", "--catalog", "my.yaml"]


@pytest.fixture
def made_files(tmp_path):
    adata = make_cells(90)
    adata.write_h5ad(tmp_path / "made.h5ad")
    (tmp_path / "my.yaml").write_text(json.dumps({"datasets": {"made": entry("made.h5ad")}}))
    np.save(tmp_path / "emb.npy", adata.X.toarray())


class TestBroken:
    """What another package breaks is told, by its name, and is in the way of nobody who does not ask for it."""

    def test_it_is_listed_by_name_and_package_and_stops_nothing(self, call):
        done = call("list", "tasks", code=BROKEN)
        (told,) = [line for line in done.stderr.splitlines() if "my_tasks" in line]
        assert told.startswith("the task 'neighbour_purity' of my_tasks 1.0 cannot be used: it cannot be imported:")
        assert "RuntimeError('oh')" in told
        assert "clustering" in done.stdout
        done = call("doctor", "--engine", "local", code=BROKEN, expected=None)
        assert "the task 'neighbour_purity' of my_tasks 1.0 cannot be used" in done.stdout

    def test_only_who_asks_for_it_by_name_is_stopped(self, call, made_files):
        done = call(*EMBEDDED, "-t", "neighbour_purity", code=BROKEN, expected=3)
        assert done.stderr.count("my_tasks 1.0") == 1
        assert "uninstall it" in done.stderr
        assert "Traceback" not in done.stderr
        done = call(*EMBEDDED, "-t", "clustering", "--json", code=BROKEN)
        assert json.loads(done.stdout)["states"] == {"ok": 1}
        assert "my_tasks" not in done.stderr
        done = call(*EMBEDDED, "-t", "clus*,neigh*", code=BROKEN, expected=2)
        assert "no task named 'neigh*'" in done.stderr
        done = call(*EMBEDDED, "-t", "*u*", "--json", code=BROKEN)
        assert done.stderr.count("of my_tasks 1.0 cannot be used") == 1, "a pattern means all that can be had"

    def test_a_bug_in_it_is_its_own_and_other_scores_are_there(self, call, made_files, tmp_path):
        code = "import cellgauge_tasks as c\ndef score(*a, **b):\n    return {}['gone']\n"
        code += "TASK = c.Task('neighbour_purity', '3', 't', ('cell_type',), score, {}, 'pca')"
        done = call(*EMBEDDED, "-t", "neighbour_purity,clustering", "--json", code=code, expected=1)
        found = {one["task"]: one for one in json.loads(done.stdout)["results"]}
        assert (found["clustering"]["state"], found["neighbour_purity"]["state"]) == ("ok", "task_error")
        reason = found["neighbour_purity"]["reason"]
        assert "the task 'neighbour_purity' version 3 of my_tasks 1.0 failed: KeyError: 'gone'" in reason
        where = re.search(r"traceback: (\S+)", reason)[1]
        assert "my_tasks.py" in (tmp_path / "cellgauge-results" / where).read_text()
        shown = call("show", code=code).stdout
        assert "task error" in shown

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("import sys; sys.exit('bye')", "it cannot be imported: SystemExit('bye')"),
            ("TASK = 3", "it is a int, no cellgauge_tasks.Task"),
            ("", "has no attribute 'TASK'"),
            ("from cellgauge_tasks.clustering import TASK", "its name 'clustering' is that of a task of cellgauge"),
            (odd("name='a b'"), "its name is 'a b'"),
            (odd("roles='cell_type'"), "its roles are 'cell_type', no tuple"),
            (odd("score=None"), "its score no function"),
        ],
    )
    def test_whatever_is_wrong_with_it_is_told(self, call, code, told):
        done = call("list", "tasks", code=code)
        assert "clustering" in done.stdout
        assert told in done.stderr

    def test_two_packages_of_one_name_are_both_left_out(self, call, tmp_path):
        install(tmp_path, odd("title='other'"), "other_tasks", module="other", entry="x")
        done = call("list", "tasks", code=odd("title='mine'"))
        assert "several packages give a task of this name: my_tasks 1.0, other_tasks 1.0" in done.stderr
        assert "mine" not in done.stdout


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
