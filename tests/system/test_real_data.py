"""Real cells of many labs: every file can be checked and shown, and the demo's numbers do not depend on the path."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from cellgauge.data import view
from cellgauge.plan import DatasetChoice
from cellgauge.plan import view as view_for
from cellgauge.specs import DatasetSpec
from support import checked, made_model


@pytest.fixture(scope="module")
def entries(real_data):
    """A catalogue entry for every real dataset of expression counts."""
    found = {}
    for path in sorted(real_data.glob("*.json")):
        told = json.loads(path.read_text())
        if told["gene_index"] is None:
            continue  # an imaging set
        symbols = "symbol" in told["gene_index"]
        found[told["name"]] = {
            "source": str(real_data / told["file"]),
            "sha256": told["sha256"],
            "organism": told["organism"],
            "gene_ids": "symbol" if symbols else "ensembl",
            "gene_columns": {"ensembl": "ensembl_id"} if symbols else {},
            "matrix": {"kind": "counts" if told["x_integer"] else "corrected"},
            "obs": {"cell_type": "cell_type"} if "cell_type" in told["obs_columns"] else {},
        }
    return found


def test_every_real_dataset_can_be_checked_and_shown(entries, real_data):
    assert len(entries) >= 15
    for name, fields in entries.items():
        told = json.loads((real_data / f"{name}.json").read_text())
        dataset = checked(DatasetSpec(name=name, **{**fields, "source": f"file://{fields['source']}"}))
        assert (dataset.n_cells, dataset.n_genes) == (told["n_cells"], told["n_genes"])
        shown = view.make(dataset, view_for(made_model().spec, DatasetChoice(spec=dataset.spec, sha256=dataset.sha256)))
        assert shown.X.nnz == told["nnz"]
        if told.get("x_integer"):
            assert (shown.X.data == np.round(shown.X.data)).all()
        mapped = view.make(
            dataset,
            view_for(made_model(gene_ids="ensembl").spec, DatasetChoice(spec=dataset.spec, sha256=dataset.sha256)),
        )
        assert mapped.n_vars <= shown.n_vars
        assert mapped.var_names.str.startswith("ENS").all()


@pytest.mark.slow
def test_recovered_counts_give_the_very_scores_of_the_counted_ones(entries, tmp_path):
    fields = {**entries["pbmc68k_reduced"], "gene_columns": {}}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump({"datasets": {"counted": fields}}))
    command = [
        "run",
        "-m",
        "pca,random",
        "-d",
        "pbmc68k_reduced,counted",
        "-t",
        "clustering,embedding",
        "--catalog",
        "real.yaml",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "cellgauge", *command, "--engine", "local", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = {}
    for cell in json.loads(done.stdout)["results"]:
        scores.setdefault(cell["dataset"], {})[cell["model"], cell["task"]] = cell["scores"]
    recovered, counted = scores["pbmc68k_reduced"], scores["counted"]
    # Opaque ids are keyed by the file, so rows come in another order: equal up to that.
    for task in ("clustering", "embedding"):
        for one, other in zip(recovered["pca", task], counted["pca", task], strict=True):
            assert one["value"] == pytest.approx(other["value"], abs=1e-6)
            assert one["value"] > 0.05 + max(
                score["value"] for score in recovered["random", task] if score["metric"] == one["metric"]
            )
