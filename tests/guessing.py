"""Files of which something is to be guessed."""

import pandas as pd

from cellgauge.data.guess import guess
from support import make_cells


def plain_cells():
    """60 human cells and 60 genes by their Ensembl ids; raw counts in X, and nothing in obs."""
    made = make_cells(60, 60)
    del made.layers["doubled"], made.obsm["X_secret"], made.uns["label_colors"]
    made.var_names = made.var.pop("ensembl").to_numpy()
    made.obs = pd.DataFrame(index=made.obs_names)
    return made


def look(folder, adata, name="some.h5ad"):
    """Write cells to a file and guess what it holds."""
    adata.write_h5ad(folder / name)
    return guess(folder / name)
