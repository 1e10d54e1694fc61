"""What stands below a table."""

import io

import pytest
from rich.console import Console

from cellgauge.report import table
from cellgauge.report.document import Document, Entry, Number


def below(*kinds, datasets=("d", "d")):
    """Show a table of predictions of perturbations, each with its means of some kind."""
    entries = [
        Entry(
            model=f"m{place}",
            variant="default",
            dataset=dataset,
            seed=1,
            task="t",
            state="ok",
            scores=(Number(metric="mse", value=0.5, n_cells=7, params={"means_of": kind} if kind else {}),),
        )
        for place, (kind, dataset) in enumerate(zip(kinds, datasets, strict=True))
    ]
    raw = {"run": "r", "command": "", "started": "", "engine": "e", "cellgauge": "0", "folder": "", "states": {"ok": 1}}
    found = Document(**raw, baselines=(), complete=True, planned=len(entries), results=entries)
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(table.render(found, {}))
    return console.file.getvalue()


def test_means_beside_cells_are_said_not_to_be_compared():
    assert "as baselines do, are not compared in pairs with models that predict cells" in below(
        "log1p", "pooled counts"
    )


@pytest.mark.parametrize(
    ("kinds", "datasets"),
    [(("log1p", "log1p"), "dd"), (("log1p", None), "dd"), (("log1p", "pooled counts"), "de")],
    ids=["one kind", "another task's", "another dataset's"],
)
def test_of_one_kind_nothing_is_said(kinds, datasets):
    assert "predict" not in below(*kinds, datasets=datasets)
