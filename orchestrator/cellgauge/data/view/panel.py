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
    in. A gene without an id of the wanted kind is left out, for it cannot be named to the model. Of several with one
    id one stays: whose id the dataset itself says, then the one that goes by the id's own name (PTPRC, not its alias
    CD45), then the first.

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
    said = np.array([bool(one) for one in _said(file, view, view.gene_ids)], dtype=bool)
    chosen = _one_each(file, view, index, said)
    coverage = Coverage(given=len(index), kept=len(chosen), converted=not said[chosen].all())
    return Panel(table.iloc[chosen], chosen, coverage)


def _one_each(file: H5ad, view: View, index: "pd.Index", said: "NDArray[np.bool_]") -> "NDArray[np.int64]":
    """Find the genes that have an id, and of those with the same one the one that it means; in the dataset's order."""
    import numpy as np
    import pandas as pd

    names = [str(name) for name in file.genes(view.matrix.slot)]
    proper = np.array(genes.proper(names, list(index), view.organism), dtype=bool)
    best_first = np.lexsort((~proper, ~said))  # stable, so the first stays first
    order = best_first[~pd.Index(index[best_first]).duplicated()]
    found: NDArray[np.int64] = np.sort(order[index[order] != ""])
    return found


def ids(file: H5ad, view: View, kind: GeneIds) -> list[str]:
    """Name every gene of a dataset in one kind of id; '' is: not known. Ensembl ids come without version."""
    found = _said(file, view, kind)
    if view.gene_table and kind != view.gene_index:
        looked_up = genes.convert([str(name) for name in file.genes(view.matrix.slot)], view.organism, kind)
        found = [one or other for one, other in zip(found, looked_up, strict=True)]
    return found


def _said(file: H5ad, view: View, kind: GeneIds) -> list[str]:
    """Read what the dataset itself says."""
    import pandas as pd

    slot = view.matrix.slot
    own = [str(name) for name in file.genes(slot)]
    found = [""] * len(own)
    if kind == view.gene_index:
        found = own
    elif column := view.gene_columns.get(kind):
        said = file.var(slot, [column])[column]
        found = ["" if pd.isna(name) else str(name) for name in said]
    return genes.strip(found) if kind == "ensembl" else found
