"""Scores may be computed on a GPU; that it cannot be used is told before anything runs."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cellgauge import accelerator, score
from cellgauge.errors import GpuError, UsageError
from cellgauge.scorers import Here, Scorers
from lab import scored, task
from support import make_cells


def test_the_processor_needs_nothing():
    accelerator.check("cpu")
    assert accelerator.on("cpu", accelerator.chosen) is None
    assert accelerator.described() == ""


def test_without_torch_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="CELLGAUGE_SCORE_DEVICE=cuda needs torch, which is not installed") as told:
        accelerator.check("cuda")
    assert "pip install 'cellgauge[torch]'" in told.value.hint


@pytest.mark.parametrize("command", [["run", "-m", "random"], ["score", "--embedding", "emb.npy"]])
def test_a_command_ends_before_anything_runs(tmp_path, made_catalog, command):
    np.save(tmp_path / "emb.npy", make_cells().X.toarray())
    env = {**os.environ, "CELLGAUGE_CATALOG": str(made_catalog), "CELLGAUGE_SCORE_DEVICE": "nowhere"}
    words = [sys.executable, "-m", "cellgauge", *command, "-d", "made", "-t", "embedding"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    assert done.returncode in (2, 5), done.stderr  # without torch, or with one that knows no such device
    assert "CELLGAUGE_SCORE_DEVICE=nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "cellgauge-results").exists()


@pytest.mark.parametrize("kind", [Here, functools.partial(Scorers, 1)])
def test_what_scores_in_whatever_process_is_told_the_device(kind):
    scorers, answers = kind(device="cuda:1"), []
    scorers.submit(accelerator.chosen, lambda *answer: answers.append(answer))
    scorers.close()
    assert answers == [("cuda:1", "")]
    assert accelerator.chosen() is None, "nobody else is"


def test_the_space_of_an_output_gets_it():
    values = np.eye(3, dtype="float32")
    assert accelerator.on("torch:cpu", lambda: score.shared(values, [])).device == "cpu"
    assert score.shared(values, []).device is None


def test_a_result_says_nothing_of_a_device_where_there_was_none(lab):
    (result,) = scored(lab.run(lab.prepare(tasks={"t": task()})))
    assert (result.state, result.device) == ("ok", "")


class TestTorch:
    """The processor as torch's device does what a GPU would."""

    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="torch, an extra that computes on GPUs, is not installed")

    def test_scores_are_the_same_and_the_result_names_it(self, tmp_path, made_catalog):
        np.save(tmp_path / "emb.npy", make_cells().X.toarray())
        words = [sys.executable, "-m", "cellgauge", "score", "--embedding", "emb.npy", "-d", "made", "--json"]
        found = []
        for device in ("cpu", "torch:cpu"):
            env = {**os.environ, "CELLGAUGE_CATALOG": str(made_catalog), "CELLGAUGE_SCORE_DEVICE": device}
            done = subprocess.run([*words, "--refresh", "-t", "embedding"], cwd=tmp_path, capture_output=True, env=env)
            found.append([one["value"] for one in json.loads(done.stdout)["results"][0]["scores"]])
        assert found[0] == pytest.approx(found[1], abs=1e-5)
        (kept,) = (tmp_path / "cellgauge-results" / "scores").rglob("*.json")
        assert json.loads(kept.read_text())["device"].startswith("cpu, torch ")

    def test_a_device_that_is_not_there_is_told(self):
        with pytest.raises(GpuError, match=r"CELLGAUGE_SCORE_DEVICE=nowhere: torch .* cannot use it"):
            accelerator.check("nowhere")
