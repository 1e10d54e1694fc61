"""What cell-eval says. Runs in its own environment."""

import tempfile

import anndata
import pandas as pd
from cell_eval import MetricsEvaluator

PACKAGES = ("cell-eval", "pdex", "numpy", "scipy", "scikit-learn", "scanpy", "polars")
SPREAD = ()


def data_of(values, perturbed):
    obs = pd.DataFrame({"target": perturbed.conditions}, index=[f"c{n}" for n in range(len(values))])
    return anndata.AnnData(values.copy(), obs=obs, var=pd.DataFrame(index=perturbed.genes))


def metrics(perturbed, threads=1):
    """The one function: all of its metrics, by name and condition."""

    def everything():
        with tempfile.TemporaryDirectory() as folder:
            evaluator = MetricsEvaluator(
                data_of(perturbed.predicted, perturbed),
                data_of(perturbed.truth, perturbed),
                control_pert="non-targeting",
                pert_col="target",
                num_threads=threads,
                outdir=folder,
            )
            table = evaluator.compute(profile="full", write_csv=False)[0].to_pandas()
        return table.set_index("perturbation").to_dict(orient="index")

    return {"all": everything}
