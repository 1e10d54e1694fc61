"""What is said of a dataset is shown as people would write it."""

import io

import pytest
from rich.console import Console

from cellgauge.cli import facts
from cellgauge.data.guess import guess
from cellgauge.specs import Matrix
from guessing import plain_cells


def printed(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (0.02, "0.02"),
        (None, "none"),
        ({}, "none"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (("first", "second"), "first, second"),
        ({"cell_type": "label", "batch": ("donor", "lane")}, "cell_type: label, batch: [donor, lane]"),
        ({"published": {"by": "split", "test": ["test"], "seed": None}}, None),
        (Matrix(slot="raw"), "slot: raw, kind: counts"),
    ],
)
def test_a_value_has_no_sign_of_python(value, text):
    assert facts.text(value) == (text or "published: {by: split, test: [test], seed: none}")


def test_what_was_guessed_stands_beside_its_reason(tmp_path):
    adata = plain_cells()
    adata.obs["condition"] = ["ctrl", "[red]drug"] * (adata.n_obs // 2) + ["ctrl"] * (adata.n_obs % 2)
    adata.obs["split"] = ["train", "test"] * (adata.n_obs // 2) + ["train"] * (adata.n_obs % 2)
    adata.write_h5ad(tmp_path / "d.h5ad")
    told = guess(tmp_path / "d.h5ad")
    shown = printed(facts.guessed(told, told.entry(source="d.h5ad", sha256="0" * 64, organism="Homo sapiens")))
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in shown.splitlines()}
    assert lines["control"] == "control ctrl 'ctrl' in condition sounds like not perturbed"
    assert lines["splits"].startswith("splits published: {by: split, test: [test], train: [train]} split has cells")
    assert lines["matrix"].startswith("matrix slot: X, kind: counts X holds whole numbers")
    assert "0" * 64 in shown
    left = shown.replace("'ctrl' in condition", "")
    assert not [sign for sign in ("'", "None", "True", "False", "(", "=") if sign in left]
