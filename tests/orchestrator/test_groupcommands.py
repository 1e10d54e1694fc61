"""Groups on the command line: shown, pulled, and tried again where a member failed."""

import json
import subprocess
import sys

import pytest
import yaml

from species import LATIN, write

MODEL = """
name: knows
version: "1"
title: Knows genes of both species
verbs:
  embed: {scope: cell, shared_space: true}
organisms: [Homo sapiens, Mus musculus]
determinism: bitwise
licence: MIT
"""
PROGRAM = """
import numpy as np
from pathlib import Path
from cellgauge_model import serve

def embed(model, adata, context):
    if Path(FILE).exists() and adata.var_names.str.startswith("mouse-").any():
        raise RuntimeError("no mice today")
    return np.log1p(adata.X[:, :10].toarray())

if __name__ == "__main__":
    serve(embed=embed)
"""


@pytest.fixture
def call(tmp_path):
    entries = {}
    for name, latin in LATIN.items():
        spec = write(tmp_path, name, latin)
        entries[name] = spec.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    entries["both"] = {"members": [*LATIN]}
    entries["mouse"]["deprecated"] = {"reason": "too small"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"datasets": entries}))

    def run(*words, code=0):
        command = [sys.executable, "-m", "cellgauge", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def test_a_group_is_listed_shown_and_pulled(call):
    common = ("--catalog", "my.yaml", "--json")
    (row,) = [one for one in json.loads(call("list", "datasets", *common).stdout) if one["name"] == "both"]
    assert (row["status"], row["members"]) == ("group", ["human", "mouse"])
    assert row["organism"] == "Homo sapiens, Mus musculus"
    shown = json.loads(call("datasets", "show", "both", *common).stdout)
    assert [(one["name"], one["n_cells"]) for one in shown["members"]] == [("human", 60), ("mouse", 45)]
    done = call("datasets", "pull", "both", *common)
    assert [one["name"] for one in json.loads(done.stdout)["pulled"]] == ["human", "mouse"]
    assert "dataset mouse is deprecated: too small" in done.stderr
    assert (
        "is a group of datasets" in call("datasets", "check", "human.h5ad", "--dataset", "both", *common, code=2).stdout
    )


def test_retry_runs_all_members_again_where_the_model_was_mended(call, tmp_path):
    folder = tmp_path / "models" / "knows"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(MODEL)
    (tmp_path / "broken").touch()
    (folder / "model.py").write_text(PROGRAM.replace("FILE", repr(str(tmp_path / "broken"))))
    words = ["-m", "knows", "-d", "both", "-t", "cross_species_integration", "--catalog", "my.yaml"]
    call("run", *words, "--models-path", "models", "--engine", "local", "--json", code=1)
    (folder / "model.py").write_text(PROGRAM.replace("FILE", repr(str(tmp_path / "nothing"))))
    (entry,) = json.loads(call("retry", "--json").stdout)["results"]
    assert (entry["state"], entry["dataset"], entry["scores"][0]["n_cells"]) == ("ok", "both", 105)


def test_retry_runs_the_member_that_failed_and_the_score_comes(call, tmp_path):
    folder = tmp_path / "models" / "knows"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(MODEL)
    (folder / "model.py").write_text(PROGRAM.replace("FILE", repr(str(tmp_path / "broken"))))
    (tmp_path / "broken").touch()
    words = ["-m", "knows", "-d", "both", "-t", "cross_species_integration", "--catalog", "my.yaml"]
    done = call("run", *words, "--models-path", "models", "--engine", "local", "--json", code=1)
    (entry,) = json.loads(done.stdout)["results"]
    assert (entry["state"], entry["reason"]) == ("model_error", "member mouse: RuntimeError: no mice today")
    (tmp_path / "broken").unlink()
    done = call("retry", "--json")
    assert "1 of 2 jobs are tried again" in done.stderr
    assert "knows on human (seed 42): ok, from the cache" in done.stderr
    (entry,) = json.loads(done.stdout)["results"]
    assert (entry["state"], entry["dataset"], entry["scores"][0]["n_cells"]) == ("ok", "both", 105)
