"""What the comparison of sparse cells needs: never all control cells as a dense matrix."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from cellgauge_tasks import perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed

CONTROLS, EACH, GENES = 16_000, 20, 2_000
DENSE = 4 * CONTROLS * GENES


def sparse(rows, seed):
    random = np.random.default_rng(seed)
    return sp.random(rows, GENES, 0.02, "csr", np.float32, random, data_rvs=lambda n: random.integers(1, 9, n))


@pytest.mark.parametrize("kind", ["means", "cells", "fewer genes"])
def test_control_cells_stay_sparse(kind):
    names = np.repeat(["ctrl", "a", "b"], [CONTROLS, EACH, EACH])
    genes = np.array([f"g{n}" for n in range(GENES)])
    truth = Perturbed(sparse(CONTROLS + 2 * EACH, 0), names, "ctrl", genes)
    cells = sparse(2 * EACH, 1).toarray()
    if kind == "means":
        means = np.array([cells[:EACH].mean(axis=0), cells[EACH:].mean(axis=0)])
        prediction = Perturbed(means, ["a", "b"], "ctrl", genes, level="means")
    else:
        some = slice(0, GENES - 200 if kind == "fewer genes" else GENES)
        prediction = Perturbed(cells[:, some], names[CONTROLS:], "ctrl", genes[some])
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert perturbation_prediction.score(prediction, truth)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < DENSE / 2, f"{peak / 1e6:.0f} MB, dense {DENSE / 1e6:.0f}"
