"""The whole flow on made data, with real processes and real containers."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

from support import MODELS

QUICK = "embedding,label_prediction"
"""Tasks that need no library that takes seconds to load."""


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def engine_name(request):
    return request.param


@pytest.fixture
def cellgauge(tmp_path, made_catalog):
    """Call the command line as a user does."""

    def call(*arguments, start=False, **options):
        command = [sys.executable, "-m", "cellgauge", *arguments]
        if start:
            # A shell starts its background jobs with Ctrl-C ignored, and whatever runs the tests may be one.
            heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            return subprocess.Popen(command, cwd=tmp_path, text=True, preexec_fn=heard, **pipes)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, **options)

    return call


def common(made_catalog, engine_name):
    return ["--catalog", str(made_catalog), "--models-path", str(MODELS), "--engine", engine_name, "--datasets", "made"]


def test_a_failure_is_data_and_the_others_finish(cellgauge, made_catalog, engine_name):
    arguments = [
        "run",
        *common(made_catalog, engine_name),
        "-m",
        "random,misbehave,shell",
        "--set",
        "misbehave.how=crash",
        "-t",
        "clustering,embedding,label_prediction",
        "--json",
    ]
    done = cellgauge(*arguments)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert (document["planned"], document["states"], document["complete"]) == (9, {"model_error": 3, "ok": 6}, False)
    failed = [cell for cell in document["results"] if cell["state"] != "ok"]
    assert {cell["model"] for cell in failed} == {"misbehave"}
    assert {cell["reason"] for cell in failed} == {"exited with 1: RuntimeError: a bug in the model"}
    assert "RuntimeError: a bug in the model" in done.stderr

    again = cellgauge(*arguments)  # only what is missing is done again
    assert again.returncode == 1
    assert again.stderr.count("from the cache") == 2
    assert "misbehave how=crash on made (seed 42): model error" in again.stderr
    kept = json.loads(again.stdout)["results"]
    assert [cell["scores"] for cell in kept] == [cell["scores"] for cell in document["results"]]

    shown = cellgauge("show", failed[0]["job"][:10])
    assert "a bug in the model" in shown.stdout
    assert "model error" in shown.stdout


@pytest.mark.slow
def test_scores_are_those_of_the_cells_in_ones_own_order(cellgauge, made_catalog, made):
    """The shell model's embedding is known, so is the score; a row that stands against another's label shows."""
    import numpy as np
    from sklearn.metrics import silhouette_score

    total, genes = np.asarray(made.X.sum(axis=1)).ravel(), made.X.getnnz(axis=1)
    rows = np.stack([np.log1p(total), genes], axis=1).astype("float32")
    labels = made.obs["label"].to_numpy(dtype=str)
    expected = (silhouette_score(rows, labels) + 1) / 2
    assert abs(expected - (silhouette_score(np.random.default_rng(1).permutation(rows), labels) + 1) / 2) > 0.002, (
        "the check can fail"
    )
    done = cellgauge("run", *common(made_catalog, "local"), "-m", "shell", "-t", "embedding", "--json")
    assert json.loads(done.stdout)["results"][0]["scores"][0]["value"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_a_job_that_ran_out_of_time_runs_again_and_one_that_is_done_does_not(cellgauge, made_catalog):
    arguments = ["run", *common(made_catalog, "local"), "-m", "misbehave", "-t", "embedding"]
    for how, limit, again in (("hang", "1", "timeout"), ("well", "60", "ok, from the cache")):
        for _ in range(2):
            done = cellgauge(*arguments, "--set", f"misbehave.how={how}", "--timeout", limit)
        (line,) = (text for text in done.stderr.splitlines() if text.startswith("misbehave") and "running" not in text)
        assert again in line


def test_a_term_signal_stops_what_runs_like_ctrl_c(cellgauge, made_catalog):
    arguments = ["run", *common(made_catalog, "local"), "-m", "misbehave", "--set", "misbehave.how=hang"]
    process = cellgauge(*arguments, start=True)
    for line in process.stderr:
        if "running" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, "stopped on request" in error) == (130, True)


@pytest.mark.slow
def test_an_output_that_was_changed_since_is_not_scored(cellgauge, made_catalog, tmp_path):
    import numpy as np

    arguments = ["run", *common(made_catalog, "local"), "-m", "random", "--json", "-t"]
    assert cellgauge(*arguments, "embedding").returncode == 0
    (path,) = (tmp_path / "cellgauge-results").rglob("embedding.npy")
    np.save(path, np.load(path) * 2)
    (found,) = json.loads(cellgauge(*arguments, "clustering").stdout)["results"]
    assert (found["state"], "was changed since it was checked" in found["reason"]) == ("infrastructure", True)


@pytest.mark.slow
def test_an_edited_model_runs_again(cellgauge, made_catalog, tmp_path, models):
    import shutil

    shutil.copytree(models["random"].folder, tmp_path / "own" / "mine")
    for name in ("model.yaml", "model.py"):
        path = tmp_path / "own" / "mine" / name
        path.write_text(path.read_text().replace("name: random", "name: mine"))
    arguments = [
        "run",
        *common(made_catalog, "local"),
        "--models-path",
        str(tmp_path / "own"),
        "-m",
        "mine",
        "-t",
        "embedding",
    ]
    assert cellgauge(*arguments).returncode == 0
    assert "from the cache" in cellgauge(*arguments).stderr
    path.write_text(path.read_text() + "\n")
    assert "from the cache" not in cellgauge(*arguments).stderr


@pytest.mark.slow
def test_only_models_with_something_to_do_are_made(cellgauge, made_catalog, tmp_path):
    """no_change only predicts, this task scores embeddings: its image is not looked for, and `all` is no trouble."""
    done = cellgauge("run", *common(made_catalog, "local"), "-m", "no_change,random", "-t", "embedding", "--json")
    assert (done.returncode, json.loads(done.stdout)["states"]) == (0, {"not_applicable": 1, "ok": 1})


@pytest.mark.slow
def test_a_failed_job_that_is_mended_completes_the_table(cellgauge, made_catalog, tmp_path):
    arguments = ["run", *common(made_catalog, "local"), "-m", "misbehave", "-t", QUICK, "--timeout"]
    assert cellgauge(*arguments, "1", "--set", "misbehave.how=hang").returncode == 1
    record = json.loads(cellgauge("show", "--json").stdout)
    assert record["states"] == {"timeout": 2}
    assert cellgauge(*arguments, "60", "--set", "misbehave.how=well").returncode == 0


def test_ctrl_c_stops_what_runs_and_keeps_what_is_finished(cellgauge, made_catalog, engine_name, tmp_path):
    arguments = ["-m", "random,misbehave", "-t", "embedding", "--set", "misbehave.how=hang"]
    process = cellgauge("run", *common(made_catalog, engine_name), *arguments, start=True)
    awaited = {"misbehave how=hang on made (seed 42): running", "  embedding: scored"}
    for line in process.stderr:  # scores come beside the jobs, so in any order
        awaited -= {one for one in awaited if line.startswith(one)}
        if not awaited:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on from there" in error
    document = json.loads(cellgauge("show", "--json").stdout)
    states = {(cell["model"], cell["state"]) for cell in document["results"]}
    assert ("random", "ok") in states
    assert {state for model, state in states if model == "misbehave"} == {"cancelled"}
    assert not list((tmp_path / "cellgauge-results" / "jobs").glob(".[0-9a-f]*"))
    if engine_name == "docker":
        import docker

        mine = {"label": f"org.cellgauge.run={document['run']}"}
        assert docker.from_env().containers.list(all=True, filters=mine) == []


@pytest.mark.slow
def test_several_seeds_and_variants_each_have_their_row(cellgauge, made_catalog):
    done = cellgauge(
        "run", *common(made_catalog, "local"), "-m", "random", "-t", "embedding", "-s", "1", "-s", "2", "-j", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "random\u00a0† (seed 1)" in done.stdout
    assert "2 of 2 results" in done.stdout


@pytest.mark.slow
def test_a_plan_tells_what_runs_what_is_reused_and_what_is_skipped(cellgauge, made_catalog, engine_name):
    arguments = [*common(made_catalog, engine_name), "-m", "random,no_change", "-t", QUICK, "--json"]
    before = json.loads(cellgauge("plan", *arguments).stdout)
    assert (before["planned"], [job["action"] for job in before["jobs"]], len(before["skips"])) == (4, ["run"], 2)
    assert cellgauge("run", *arguments).returncode == 0
    after = json.loads(cellgauge("plan", *arguments).stdout)
    assert [job["action"] for job in after["jobs"]] == ["reuse"]
    assert set(after["jobs"][0]["tasks"].values()) == {"reuse"}


def test_bad_data_is_an_error_before_anything_starts(cellgauge, made_catalog, tmp_path):
    (tmp_path / "made.h5ad").write_bytes((tmp_path / "made.h5ad").read_bytes()[:5000])
    done = cellgauge("run", *common(made_catalog, "local"), "-m", "random", "--json")
    assert done.returncode == 4
    assert "made.h5ad is not a readable h5ad" in json.loads(done.stdout)["error"]
    assert "running" not in done.stderr
    assert list((tmp_path / "cellgauge-results").rglob("*.json")) == []


def test_a_view_that_cannot_be_made_is_the_failure_of_its_dataset_and_starts_no_model_on_it(
    cellgauge, made_catalog, tmp_path
):
    entries = yaml.safe_load(made_catalog.read_text())["datasets"]
    entries["odd"] = {**entries["made"], "matrix": {"kind": "log1p"}}
    made_catalog.write_text(yaml.safe_dump({"datasets": entries}))
    arguments = [*common(made_catalog, "local"), "--datasets", "odd", "-m", "random,shell", "-t", "embedding", "--json"]
    done = cellgauge("run", *arguments)
    assert done.returncode == 1
    found = {
        (one["model"], one["dataset"]): (one["state"], one["reason"]) for one in json.loads(done.stdout)["results"]
    }
    assert found["random", "made"] == found["shell", "made"] == ("ok", "")
    for model in ("random", "shell"):
        state, reason = found[model, "odd"]
        assert (state, "no integer counts come out" in reason) == ("infrastructure", True)
        assert f"{model} on odd (seed 42): running" not in done.stderr
    assert "in phase 'prepare'" in done.stderr


@pytest.mark.docker
def test_both_engines_give_the_same_scores(cellgauge, made_catalog):
    tables = []
    for engine in ("local", "docker"):
        done = cellgauge("run", *common(made_catalog, engine), "-m", "random,shell", "--json")
        tables.append([(cell["model"], cell["task"], cell["scores"]) for cell in json.loads(done.stdout)["results"]])
    assert tables[0] == tables[1]


@pytest.mark.docker
def test_automatic_choice_takes_docker_where_it_answers_and_never_in_silence_another(
    cellgauge, made_catalog, monkeypatch
):
    arguments = ["plan", *common(made_catalog, "auto"), "-m", "random"]
    assert "docker engine (Docker" in cellgauge(*arguments).stderr
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for engine in ("auto", "docker"):  # an engine that somebody named and that is gone is no reason to go unsealed
        refused = cellgauge("plan", *common(made_catalog, engine), "-m", "random")
        assert (refused.returncode, "Is the engine running?" in refused.stderr) == (5, True)


def test_without_docker_the_local_engine_is_taken_and_says_why(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    code = "from cellgauge.engines import choose; engine, why = choose('auto'); print(engine.name, why)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("local local engine, because no Docker engine answers (No such file or directory)")


@pytest.mark.slow
def test_a_model_that_cannot_run_stops_no_other(cellgauge, made_catalog, tmp_path):
    folder = tmp_path / "elsewhere" / "image_only"
    folder.mkdir(parents=True)
    manifest = (MODELS / "shell" / "model.yaml").read_text().replace("name: shell", "name: image_only")
    (folder / "model.yaml").write_text(manifest + "image: localhost:1/nothing:1\n")
    arguments = ["--models-path", str(folder), "-m", "image_only,random", "-t", "embedding", "--json"]
    done = cellgauge("run", *common(made_catalog, "local"), *arguments)
    assert done.returncode == 1
    found = {one["model"]: (one["state"], one["reason"]) for one in json.loads(done.stdout)["results"]}
    assert found["random"] == ("ok", "")
    assert found["image_only"] == ("infrastructure", "model 'image_only' is an image alone")


@pytest.mark.slow
def test_an_output_that_was_deleted_is_made_again(cellgauge, made_catalog, tmp_path):
    arguments = ["run", *common(made_catalog, "local"), "-m", "random", "-t"]
    assert cellgauge(*arguments, "embedding").returncode == 0
    (lost,) = (tmp_path / "cellgauge-results").rglob("embedding.npy")
    lost.unlink()
    again = cellgauge(*arguments, "label_prediction")
    assert (again.returncode, lost.exists()) == (0, True)


@pytest.mark.slow
def test_what_was_set_is_in_the_table_and_warnings_too(cellgauge, made_catalog):
    done = cellgauge(
        "run", *common(made_catalog, "local"), "-m", "pca", "-t", "embedding", "--set", "pca.n_components=45"
    )
    assert "n_components=45" in done.stdout
    assert "39 components instead of 45: there are no more" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_an_embedding_comes_back_in_the_order_of_ones_own_cells(cellgauge, made_catalog, made, tmp_path):
    import numpy as np

    import cellgauge as package
    from cellgauge import results
    from cellgauge.errors import UsageError

    assert package.__version__
    done = cellgauge("run", *common(made_catalog, "local"), "-m", "shell", "-t", "embedding", "--json")
    job = json.loads(done.stdout)["results"][0]["job"]
    some = made[::-3]
    found = results.embedding(job[:8], some, folder=tmp_path / "cellgauge-results")
    assert found[:, 0] == pytest.approx(np.log1p(np.asarray(some.X.sum(axis=1)).ravel()), rel=1e-6)
    foreign = made.copy()
    foreign.obs_names = [f"x{name}" for name in foreign.obs_names]
    with pytest.raises(UsageError, match="60 of 60 cells were not in the dataset"):
        results.embedding(job[:8], foreign, folder=tmp_path / "cellgauge-results")
