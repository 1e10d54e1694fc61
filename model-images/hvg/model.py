"""Log-normalised expression of the most variable genes."""

import scanpy

from cellgauge_model import serve


def embed(model, adata, context):
    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    top = min(int(context.params["n_top_genes"]), adata.n_vars)
    scanpy.pp.highly_variable_genes(adata, n_top_genes=top, flavor="seurat")
    return adata[:, adata.var["highly_variable"]].X


if __name__ == "__main__":
    serve(embed=embed)
