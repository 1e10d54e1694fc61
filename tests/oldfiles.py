"""Files as they were once written."""

import h5py
import numpy as np
import pandas as pd


def legacy(path, adata):
    """Write a file as anndata 0.6 did: compound obs and var, codes with their categories in uns, h5sparse."""
    label = pd.Categorical(adata.obs["label"])
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        obs = np.zeros(adata.n_obs, dtype=[("index", text), ("label", "i1"), ("donor", "S4"), ("score", "f4")])
        obs["index"], obs["label"], obs["score"] = list(adata.obs_names), label.codes, np.arange(adata.n_obs)
        obs["donor"] = [name.encode() for name in adata.obs["donor"]]
        file["obs"] = obs
        file["uns/label_categories"] = np.array(list(label.categories), dtype=text)
        var = np.zeros(adata.n_vars, dtype=[("index", "S9"), ("ensembl", text)])
        var["index"], var["ensembl"] = [name.encode() for name in adata.var_names], list(adata.var["ensembl"])
        file["var"], file["raw.var"] = var, var
        for place in ("X", "raw.X"):
            group = file.create_group(place)
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", adata.shape
            group["data"], group["indices"], group["indptr"] = adata.X.data, adata.X.indices, adata.X.indptr
