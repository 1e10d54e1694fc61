"""Principal components of log-normalised highly variable genes."""

import scanpy

from cellgauge_model import serve


def embed(model, adata, context):
    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    top = min(int(context.params["n_top_genes"]), adata.n_vars)
    scanpy.pp.highly_variable_genes(adata, n_top_genes=top, flavor="seurat")
    wanted = int(context.params["n_components"])
    components = min(wanted, min(adata.n_obs, adata.var["highly_variable"].sum()) - 1)
    if components < wanted:
        context.warn(f"{components} components instead of {wanted}: there are no more")
    scanpy.pp.pca(adata, n_comps=components, mask_var="highly_variable", random_state=context.seed)
    return adata.obsm["X_pca"]


if __name__ == "__main__":
    serve(embed=embed)
