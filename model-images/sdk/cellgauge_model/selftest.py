"""Runs each verb of a model on a few made cells, so that a broken image is noticed before it is used."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, List, Mapping, Optional

from cellgauge_model import contract, running
from cellgauge_model.contract import Condition, Folders, Item, RunRequest


def run(load: Any, verbs: Mapping[str, Any], params: Mapping[str, contract.Param]) -> int:
    """Return 0 if every verb gives an output for 60 made cells of 120 genes, else the selftest's code.

    A model that predicts may train on them, and on 40 cells of two conditions; of a third it is shown some genes.
    """
    for name, verb in verbs.items():
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            (here / "output").mkdir()
            weights = Folders.from_environment().weights
            folders = Folders(input=here, output=here / "output", weights=weights, scratch=here)
            write_cells(here / "cells.h5ad")
            item = Item("selftest", "cells.h5ad")
            if name == "predict":
                write_cells(here / "training.h5ad", cells=100, conditions=["control"] * 60 + ["G2", "G3"] * 20)
                hidden = ["G4", "G5"]
                write_cells(here / "masked.h5ad", cells=10, conditions=["gene"] * 10, masked=hidden)
                asked = [Condition("none"), Condition("gene", ["G1"], masked=hidden)]
                item = Item("selftest", "cells.h5ad", "training.h5ad", asked, "masked.h5ad")
            request = RunRequest(contract.CONTRACT_VERSION, "selftest", name, "default", [item], dict(params))
            if running.run(request, folders, load, verb) != contract.EXIT_OK:
                print(f"selftest of {name} failed", file=sys.stderr)
                return contract.EXIT_SELFTEST
        print(f"selftest of {name} passed", file=sys.stderr)
    return contract.EXIT_OK


def write_cells(
    path: Path,
    cells: int = 60,
    genes: int = 120,
    conditions: Optional[List[str]] = None,
    masked: Optional[List[str]] = None,
) -> None:
    """Write made counts in the form of a view, masked genes as 0; of more cells the first are the same."""
    import anndata
    import numpy
    import pandas
    import scipy.sparse

    counts = numpy.random.default_rng(0).poisson(1.0, (cells, genes)).astype("float32")
    names = [f"G{number}" for number in range(genes)]
    counts[:, [names.index(name) for name in masked or []]] = 0
    var = pandas.DataFrame({"gene_symbol": names, "ensembl_id": "", "feature_name": names}, index=names)
    obs = pandas.DataFrame(index=[f"cell{number}" for number in range(cells)])
    if conditions:
        obs["condition"] = conditions
    anndata.AnnData(X=scipy.sparse.csr_matrix(counts), obs=obs, var=var).write_h5ad(path)
