"""What scib says. Runs in its own environment; its LISI needs the program that was compiled when it was installed."""

import contextlib
import io
import warnings

import anndata
import numpy as np
import scanpy as sc
import scib

PACKAGES = ("scib", "numpy", "scipy", "scikit-learn", "scanpy", "igraph", "leidenalg", "umap-learn", "pynndescent")


def quiet(function):
    """They print, and warn of their own libraries."""

    def called():
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function()

    return called


def metrics(cells):
    """Functions by metric, on scanpy's graph of 15 neighbours (the cell itself among them), which is given."""
    obs = cells.obs[["cell_type", "batch"]].astype("category")
    data = anndata.AnnData(cells.counts.copy(), obs=obs.copy(), obsm={"X_emb": cells.points})
    sc.pp.neighbors(data, n_neighbors=15, use_rep="X_emb")
    data.obs["given"] = data.obs["cell_type"].to_numpy()[::-1]
    roles = {"label_key": "cell_type", "batch_key": "batch"}
    me = scib.metrics

    def pcr_of(values, n_comps=50):
        return lambda: me.pc_regression(values, obs["batch"], n_comps=n_comps)

    def swept(metric):
        def found():
            scib.clustering.cluster_optimal_resolution(
                data, "cell_type", "swept", use_rep="X_emb", force=True, flavor="igraph", n_iterations=2, directed=False
            )
            return getattr(me, metric)(data, "swept", "cell_type")

        return found

    found = {
        "silhouette": lambda: me.silhouette(data, "cell_type", "X_emb"),
        "silhouette_batch": lambda: me.silhouette_batch(data, embed="X_emb", verbose=False, **roles),
        "isolated_labels_asw": lambda: me.isolated_labels_asw(data, embed="X_emb", verbose=False, **roles),
        "isolated_labels_f1": lambda: me.isolated_labels_f1(data, embed="X_emb", verbose=False, **roles),
        "graph_connectivity": lambda: me.graph_connectivity(data, "cell_type"),
        "pcr": pcr_of(np.asarray(cells.points)),
        "pcr raw": pcr_of(np.asarray(cells.counts)),
        "pcr all components": pcr_of(np.asarray(cells.points), None),
        "pcr_comparison": lambda: me.pcr_comparison(data, data, "batch", embed="X_emb"),
        "pcr_comparison unscaled": lambda: me.pcr_comparison(data, data, "batch", embed="X_emb", scale=False),
        "ilisi_graph": lambda: me.ilisi_graph(data, "batch", type_="knn"),
        "clisi_graph": lambda: me.clisi_graph(data, "cell_type", type_="knn"),
        "leiden sweep nmi": swept("nmi"),
        "leiden sweep ari": swept("ari"),
        "nmi of the labels and themselves the other way round": lambda: me.nmi(data, "given", "cell_type"),
        "ari of the labels and themselves the other way round": lambda: me.ari(data, "given", "cell_type"),
    }
    return {name: quiet(function) for name, function in found.items()}


SPREAD = ("isolated_labels_f1", "leiden sweep nmi", "leiden sweep ari")
