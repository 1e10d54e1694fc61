"""Decides which genes a view holds and what it calls them, so that a model meets ids of the kind that it knows."""

from typing import TYPE_CHECKING, NamedTuple

from cellgauge.data import genes
from cellgauge.data.h5ad import H5ad
from cellgauge.specs import Coverage, View
from cellgauge.specs.base import GeneIds

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


class Panel(NamedTuple):
    """The genes of a view."""

    table: "pd.DataFrame"
    """Indexed by the wanted kind of id, with `gene_symbol`, `ensembl_id` and `feature_name`; '' is: not known."""
    chosen: "NDArray[np.int64]"
    """Where each lies in the dataset, in its order."""
    coverage: Coverage


def make(file: H5ad, view: View) -> Panel:
    """Name a dataset's genes.

    The dataset's own columns come first; what they do not say is looked up, if the view names a table to look it up
    in. A gene without an id of the wanted kind is left out, for it cannot be named to the model. Of two genes with one
    id the first stays.

    Raises
    ------
    DatasetError
        If there is no table for the organism.
    """
    import numpy as np
    import pandas as pd

    names = {kind: ids(file, view, kind) for kind in ("symbol", "ensembl")}
    index = pd.Index(names[view.gene_ids], dtype=object)
    table = pd.DataFrame(
        {
            "gene_symbol": names["symbol"],
            "ensembl_id": names["ensembl"],
            # CELLxGENE too falls back on the Ensembl id.
            "feature_name": [one or other for one, other in zip(names["symbol"], names["ensembl"], strict=True)],
        },
        index=index,
        dtype=object,
    )
    chosen = np.flatnonzero((index != "") & ~index.duplicated())
    coverage = Coverage(given=len(index), kept=len(chosen), converted=bool(view.gene_table))
    return Panel(table.iloc[chosen], chosen, coverage)


def ids(file: H5ad, view: View, kind: GeneIds) -> list[str]:
    """Name every gene of a dataset in one kind of id; '' is: not known. Ensembl ids come without version."""
    import pandas as pd

    slot = view.matrix.slot
    own = [str(name) for name in file.genes(slot)]
    found = [""] * len(own)
    if kind == view.gene_index:
        found = own
    elif column := view.gene_columns.get(kind):
        said = file.var(slot, [column])[column]
        found = ["" if pd.isna(name) else str(name) for name in said]
    if kind == "ensembl":
        found = genes.strip(found)
    if view.gene_table and kind != view.gene_index:
        looked_up = genes.convert(own, view.organism, kind)
        found = [one or other for one, other in zip(found, looked_up, strict=True)]
    return found
