"""What the peers said of the cells of `made`, and those cells."""

import json
from pathlib import Path

import numpy as np

import made

FOLDER = Path(__file__).parent / "tasks" / "oracles"
REAL = {"pancreas": "pancreas_5tech_panc8.h5ad", "pbmc": "pbmc_3tech_10x.h5ad"}
SETS = ("cells", "mixture", *REAL)


def told(peer, name):
    """A peer's values of one set, by metric; None where it has none."""
    return json.loads((FOLDER / f"{peer}.json").read_text())["values"][name]


def cells(name, request):
    """One set: its points, labels, batches and the cells before integration."""
    if name in REAL:
        found = made.real(request.getfixturevalue("real_data") / REAL[name])
    else:
        found = made.cells() if name == "cells" else made.mixture(2000, 32)
    labels, batches = (found.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))
    return found.points, np.array(labels, dtype=str), np.array(batches, dtype=str), found.counts
