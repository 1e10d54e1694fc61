"""A made screen of knock-outs as a dataset, and a model that predicts it: for tests of the verb `predict`."""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellgauge.specs import DatasetSpec
from cellgauge_model import contract
from support import checked, entry, made_model

CONTROL = "control"
CONDITIONS = tuple(f"G{n}" for n in range(1, 11))
ABLE = {"scope": "dataset", "rows": "means", "unseen_targets": True, "combinations": True}
ROLES = {"perturbation": "guide_target", "guide": "guide", "batch": "lane"}


def make_screen(each=20, controls=50, genes=30, conditions=CONDITIONS, seed=0):
    """Cells of ten knock-outs, each of a gene that is measured, and controls; a third of the genes answers."""
    random = np.random.default_rng(seed)
    names = np.repeat([CONTROL, *conditions], [controls] + [each] * len(conditions))
    base = random.gamma(2.0, 2.0, genes) + 1
    change = {name: np.exp(random.normal(0, 0.8, genes) * (random.random(genes) < 0.3)) for name in conditions}
    change[CONTROL] = np.ones(genes)
    counts = random.poisson([base * change[name] for name in names]).astype("float32")
    obs = pd.DataFrame(
        {
            "guide_target": names,
            "guide": [f"sg{name}_{n % 2}" for n, name in enumerate(names)],
            "lane": [f"lane{n % 3}" for n in range(len(names))],
        },
        index=[f"{name}-barcode{n:04}" for n, name in enumerate(names)],
    )
    var = pd.DataFrame({"ensembl": [f"ENSG{n:011d}" for n in range(genes)]}, index=[f"G{n}" for n in range(genes)])
    adata = anndata.AnnData(X=sp.csr_matrix(counts), obs=obs, var=var)
    return adata[random.permutation(len(names))].copy()


def screen_spec(path, **changes):
    fields = {**entry(path), "source": path.as_uri(), "obs": ROLES, "control": CONTROL, **changes}
    return DatasetSpec(name="screen", **fields)


def screen(folder, adata=None, **changes):
    """The made screen as a checked dataset."""
    path = folder / "screen.h5ad"
    (make_screen() if adata is None else adata).write_h5ad(path)
    return checked(screen_spec(path, **changes))


def predictor(name="m", can=(), **fields):
    """A model that predicts means, of unseen targets and combinations too, unless something else is said."""
    return made_model(name=name, verbs={"predict": {**ABLE, **dict(can)}}, **fields)


def predict_means(launch):
    """A model that predicts the mean of all cells that it may train on: for the function engine."""
    for item in contract.read_request(launch.input).items:
        training = anndata.read_h5ad(launch.input / item.training)
        mean = np.asarray(training.X.mean(axis=0), dtype="float32").ravel()
        write_prediction(launch.output, item, np.tile(mean, (len(item.conditions), 1)), training.var_names)
    return 0


def write_prediction(output, item, rows, genes, conditions=None):
    """Write an item's prediction: as it should be, unless other conditions are given."""
    names = conditions or [one.id for one in item.conditions]
    obs = pd.DataFrame({"condition": names}, index=[str(n) for n in range(len(names))])
    (output / item.name).mkdir(exist_ok=True)
    predicted = anndata.AnnData(X=rows.astype("float32"), obs=obs, var=pd.DataFrame(index=list(genes)))
    predicted.write_h5ad(output / item.name / contract.PREDICTION)
    contract.write_atomically(output / item.name / contract.RESULT, contract.to_json(contract.RunResult(1, "ok")))
