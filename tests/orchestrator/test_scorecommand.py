"""`cellgauge score`, `compare` and `show --csv`, as a person types them."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from support import make_cells


@pytest.fixture
def call(tmp_path, made_catalog):
    def run(*arguments, code=0, **environment):
        command = [sys.executable, "-m", "cellgauge", *arguments]
        env = {**os.environ, "CELLGAUGE_CATALOG": str(made_catalog), **environment}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def embedding(tmp_path):
    """The labels themselves, with a little noise: in an order of its own, with its cells beside it."""
    made = make_cells()
    values = np.eye(3)[np.arange(60) % 3] + np.random.default_rng(0).normal(0, 0.01, (60, 3))
    order = np.random.default_rng(1).permutation(60)
    np.save(tmp_path / "emb.npy", values[order])
    (tmp_path / "cells.txt").write_text("\n".join(made.obs_names[order]))
    return ["--embedding", "emb.npy", "--cells", "cells.txt", "-d", "made"]


@pytest.mark.slow
def test_from_a_run_over_another_task_to_work_made_elsewhere_and_back(call, embedding):
    words = ["-m", "random", "-d", "made", "-t", "embedding", "--engine", "local", "--controls", "--json"]
    first = json.loads(call("run", *words).stdout)
    assert [one["control"] for one in first["controls"]].count("negative") == 3
    assert all(score["scaled"] is not None for score in first["results"][0]["scores"])

    other = json.loads(call("score", first["run"], "-t", "clustering", "--json").stdout)
    assert [(one["model"], one["task"], one["state"]) for one in other["results"]] == [("random", "clustering", "ok")]
    assert other["results"][0]["job"] == first["results"][0]["job"]

    both = call("score", first["run"], *embedding, "--name", "mine", "--json")
    assert "embedding: ok" in both.stderr
    found = {one["model"]: one for one in json.loads(both.stdout)["results"]}
    assert (found["mine"]["elsewhere"], found["random"]["elsewhere"]) == (True, False)
    silhouette = {name: one["scores"][0] for name, one in found.items()}
    assert silhouette["mine"]["value"] > 0.9, "rows have come to their cells"
    assert (silhouette["mine"]["standing"], silhouette["random"]["standing"]) == ("best", "")

    status = json.loads(call("status", json.loads(both.stdout)["run"], "--json").stdout)
    assert (status["state"], status["scored"], status["results"], status["done"]) == ("complete", 2, 2, 2)

    assert "mine is better" in call("compare", "random", "mine", COLUMNS="200").stdout
    rows = list(csv.DictReader(io.StringIO(call("show", "--csv").stdout)))
    assert {(one["model"], one["elsewhere"]) for one in rows} == {("mine", "True"), ("random", "False")}
    job = found["mine"]["job"]
    assert "made elsewhere" in call("reproduce", job, code=2).stderr
    assert "started no model" in call("retry", code=2).stderr
    assert "elsewhere" in call("show", job[:8]).stdout
    again = json.loads(call("score", "--json").stdout)
    assert {one["model"] for one in again["results"]} == {"mine", "random"}


def test_what_is_told_of_a_file_is_told_of_that_file_alone(call, embedding, tmp_path):
    """The same values in the order of the dataset are the same job, however its rows were found."""
    made = list(make_cells().obs_names)
    values, names = np.load(tmp_path / "emb.npy"), (tmp_path / "cells.txt").read_text().splitlines()
    np.save(tmp_path / "plain.npy", values[[names.index(one) for one in made]])

    def told(*words):
        document = json.loads(call("score", *words, "-d", "made", "-t", "embedding", "--name", "x", "--json").stdout)
        (one,) = document["results"]
        return one["job"], [text for text in one["warnings"] if "taken to be in the order" in text]

    job, warned = told("--embedding", "plain.npy")
    assert len(warned) == 1
    assert told(*embedding[:4]) == (job, [])
    assert told("--embedding", "plain.npy") == (job, warned)
    (again,) = json.loads(call("score", "--json").stdout)["results"]
    assert again["warnings"] == warned, "a run that scores a run's outputs again has them as that run had"


def test_a_refresh_that_fails_does_not_show_the_number_of_before_as_new(call, embedding, tmp_path):
    words = ["-d", "made", "-t", "embedding", "--json"]
    (first,) = json.loads(call("score", *embedding[:4], *words, "--controls").stdout)["results"]
    (path,) = tmp_path.glob("cellgauge-results/jobs/*/*/output/made/embedding.npy")
    path.chmod(0o644)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    again = json.loads(call("score", "--refresh", "--json", code=1).stdout)
    (entry,) = again["results"]
    assert (first["state"], entry["state"] == "ok", entry["scores"], again["complete"]) == ("ok", False, [], False)
    assert json.loads(call("show", again["run"], "--json").stdout)["results"] == [entry], "nor later"
    path.write_bytes(good)
    (mended,) = json.loads(call("score", "--refresh", "--json").stdout)["results"]
    assert mended["scores"] == first["scores"] or mended["scores"][0]["value"] == first["scores"][0]["value"]


@pytest.mark.slow
def test_an_embedding_beside_a_run_has_its_seeds_and_is_no_baseline_whatever_its_name(call, embedding):
    words = ["-m", "random", "-d", "made", "-t", "embedding", "--engine", "local", "-s", "3", "-s", "5", "--json"]
    run = json.loads(call("run", *words).stdout)["run"]
    both = json.loads(call("score", run, *embedding, "--name", "pca", "--json").stdout)["results"]
    assert sorted((one["model"], one["seed"]) for one in both) == [("pca", 3), ("pca", 5), ("random", 3), ("random", 5)]
    assert not [score for one in both for score in one["scores"] if score["flags"]], "pca is the task's baseline"
    one = json.loads(call("score", run, *embedding, "--name", "pca", "-s", "7", "--json").stdout)["results"]
    assert [entry["seed"] for entry in one if entry["model"] == "pca"] == [7]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--embedding", "emb.npy"], "--embedding and --dataset go together"),
        (["--cells", "cells.txt"], "--cells, --name and --seed go with --embedding"),
        (["-s", "3"], "--cells, --name and --seed go with --embedding"),
        (["--embedding", "gone.npy", "-d", "made"], "gone.npy: no such file"),
        (["--embedding", "emb.npy", "-d", "mad"], "no dataset named 'mad'"),
        (["--embedding", "emb.npy", "-d", "made", "--name", "a/b"], "'a/b' cannot be its name"),
        (["--embedding", "emb.npy", "-d", "made", "-t", "clusterin"], "no task named 'clusterin'"),
        ([], "there are no results in"),
    ],
)
def test_wrong_words_are_refused_before_any_work(call, embedding, tmp_path, words, told):
    done = call("score", *words, code=2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("cellgauge-results/jobs/*/*"))
