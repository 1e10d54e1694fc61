"""A model program as its caller sees it: a process with an exit code and files."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import anndata
import numpy as np
import pytest

from cellgauge_model import contract, selftest
from cellgauge_model.contract import Item, RunRequest

MODEL = """
import numpy
from cellgauge_model import InvalidInput, MissingWeights, NotApplicable, serve

def load(weights, device, params):
    if params["how"] == "weights":
        raise MissingWeights("no model.pt")
    return params["how"]

def embed(model, adata, context):
    context.report(1, 2)
    if context.item == "broken":
        raise RuntimeError("this one fails")
    if context.item == "foreign":
        raise NotApplicable("knows mouse only")
    if model == "short":
        return numpy.zeros((3, 2))
    if model == "drawn":
        return numpy.random.rand(adata.n_obs, 2), adata.obs_names[::-1]
    if model == "frame":
        return adata.to_df().iloc[::-1, :2]
    if model == "warned":
        context.warn("few genes are known")
    if model == "none":
        return None
    if model == "memory":
        raise MemoryError("too much")
    return adata.X[:, :4]

serve(load=load, embed=embed)
"""
MANIFEST = """
name: tried
params:
  how: {type: string, default: well}
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "model.yaml").write_text(MANIFEST)
    for name in ("input", "output", "scratch"):
        (tmp_path / name).mkdir()
    selftest.write_cells(tmp_path / "input" / "cells.h5ad")
    (tmp_path / "input" / "damaged.h5ad").write_bytes(b"no HDF5")

    def run(*arguments, items=("one",), data="cells.h5ad", verb="embed", **params):
        request = RunRequest(1, "job", verb, "default", [Item(name, data) for name in items], params, seed=3)
        (tmp_path / "input" / "request.json").write_text(contract.to_json(request))
        folders = {
            f"CELLGAUGE_{name.upper()}": str(tmp_path / name) for name in ("input", "output", "scratch", "weights")
        }
        command = [sys.executable, "-W", "ignore", str(tmp_path / "model.py"), *arguments]
        done = subprocess.run(command, env={**os.environ, **folders}, capture_output=True, text=True, check=False)
        return done, tmp_path / "output"

    return run


def result(output, item):
    return json.loads((output / item / "result.json").read_text())


def test_each_item_has_its_own_result_and_a_broken_one_spoils_no_other(call):
    done, output = call("embed", items=("one", "broken", "foreign", "two"))
    assert done.returncode == 1  # that of the first item that failed
    assert [result(output, item)["status"] for item in ("one", "broken", "foreign", "two")] == [
        "ok",
        "failed",
        "not_applicable",
        "ok",
    ]
    assert result(output, "broken")["error"] == {"type": "model_error", "message": "RuntimeError: this one fails"}
    assert "RuntimeError: this one fails" in done.stderr
    assert not (output / "broken" / "embedding.npy").exists()


def test_outputs_are_as_the_contract_says(call):
    done, output = call("embed")
    assert done.returncode == 0, done.stderr
    array = np.load(output / "one" / "embedding.npy", allow_pickle=False)
    assert (array.dtype, array.shape, array.flags.c_contiguous) == (np.float32, (60, 4), True)
    assert (output / "one" / "cells.txt").read_text().splitlines() == [f"cell{n}" for n in range(60)]
    told = result(output, "one")
    assert told["outputs"][0]["shape"] == [60, 4]
    assert told["seed"] == 3
    assert told["peak_memory"] > 10_000_000
    assert set(told["timings"]) == {"load", "embed"}
    assert told["versions"]["anndata"] == version("anndata")


def test_progress_is_appended_line_by_line(call):
    _, output = call("embed", items=("one", "broken"))
    lines = [json.loads(line) for line in (output / "progress.jsonl").read_text().splitlines()]
    assert [(line["item"], line["state"], line.get("done")) for line in lines] == [
        ("one", "running", None),
        ("one", "running", 1),
        ("one", "ok", None),
        ("broken", "running", None),
        ("broken", "running", 1),
        ("broken", "failed", None),
    ]


def test_global_generators_are_seeded_for_each_item_alone(call):
    _, output = call("embed", items=("one", "two"), how="drawn")
    one, two = (np.load(output / item / "embedding.npy") for item in ("one", "two"))
    assert (one == two).all()
    assert (output / "one" / "cells.txt").read_text().splitlines()[0] == "cell59"


def test_a_data_frame_names_its_own_rows(call):
    _, output = call("embed", how="frame")
    adata = anndata.read_h5ad(output.parent / "input" / "cells.h5ad")
    cells = (output / "one" / "cells.txt").read_text().splitlines()
    assert cells == list(adata.obs_names[::-1])
    assert (np.load(output / "one" / "embedding.npy") == adata[cells].X[:, :2].toarray()).all()


def test_a_warning_stands_in_the_result(call):
    _, output = call("embed", how="warned")
    assert result(output, "one")["warnings"] == ["few genes are known"]


@pytest.mark.parametrize(
    ("how", "code", "status", "error"),
    [
        ("weights", 4, "failed", "model_error"),
        ("memory", 5, "failed", "out_of_memory"),
        ("short", 1, "failed", "model_error"),
        ("none", 1, "failed", "model_error"),
    ],
)
def test_each_way_to_fail_has_its_exit_code(call, how, code, status, error):
    done, output = call("embed", how=how)
    assert done.returncode == code
    assert (result(output, "one")["status"], result(output, "one")["error"]["type"]) == (status, error)


def test_a_damaged_input_is_told_from_a_bug(call):
    done, output = call("embed", data="damaged.h5ad")
    assert done.returncode == 3
    assert result(output, "one")["error"]["type"] == "invalid_input"


def test_not_applicable_has_the_code_of_open_problems(call):
    assert call("embed", items=("foreign",))[0].returncode == 99


@pytest.mark.parametrize(
    ("arguments", "params", "words"),
    [
        ((), {}, "unknown verb ''; this model has embed, describe, selftest"),
        (("train",), {}, "unknown verb 'train'"),
        (("predict",), {}, "unknown verb 'predict'"),
        (("embed",), {"verb": "predict"}, "asked to embed, but the request says predict"),
        (("embed",), {"hwo": "well"}, "unknown parameter 'hwo'; this model has how"),
    ],
)
def test_a_wrong_call_is_refused_with_code_2(call, arguments, params, words):
    done, output = call(*arguments, **params)
    assert done.returncode == 2
    assert words in done.stderr
    assert list(output.iterdir()) == []


def test_describe_prints_the_manifest(call):
    done, _ = call("describe")
    assert json.loads(done.stdout) == {"name": "tried", "params": {"how": {"type": "string", "default": "well"}}}


def test_a_selftest_gives_a_model_that_predicts_cells_to_train_on(tmp_path):
    (tmp_path / "model.yaml").write_text(MANIFEST)
    lines = [
        "import anndata, numpy, pandas",
        "from cellgauge_model import serve",
        "def predict(model, adata, context):",
        "    assert [len(one.targets) for one in context.conditions] == [0, 1]",
        "    assert set(context.training.obs['condition']) == {'control', 'G2', 'G3'}",
        "    controls = context.training[context.training.obs_names.isin(adata.obs_names)]",
        "    assert set(controls.obs['condition']) == {'control'} and (controls.X != adata.X).nnz == 0",
        "    obs = pandas.DataFrame({'condition': [one.id for one in context.conditions]}, index=['a', 'b'])",
        "    return anndata.AnnData(numpy.ones((2, adata.n_vars)), obs, adata.var)",
        "serve(predict=predict)",
    ]
    (tmp_path / "model.py").write_text("\n".join(lines))
    command = [sys.executable, "-W", "ignore", str(tmp_path / "model.py"), "selftest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "selftest of predict passed" in done.stderr) == (0, True), done.stderr


def test_selftest_passes_with_the_manifests_defaults(call):
    done, _ = call("selftest")
    assert (done.returncode, "selftest of embed passed" in done.stderr) == (0, True)
