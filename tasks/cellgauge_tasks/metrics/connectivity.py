"""Whether the cells of a label hang together in the graph of neighbours."""

from typing import Any, Literal

import numpy as np

from cellgauge_tasks._base import Labels
from cellgauge_tasks._input import codes
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.contributions import Contributions

K = 15
Connection = Literal["weak", "strong"]


def largest_components(embedding: Any, labels: Labels, k: int = K, connection: Connection = "weak") -> Contributions:
    """Give each cell's part in `graph_connectivity`: 1 if it is in the largest component of its label."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    space = Space.of(embedding)
    group, names = codes(labels)
    n = len(group)
    parts = np.arange(n)
    if min(k, n) > 1:
        near = space.neighbors(min(k, n) - 1).indices
        alike = group[near] == group[:, None]
        starts = np.concatenate([[0], np.cumsum(alike.sum(axis=1))])
        edges = sp.csr_matrix((np.ones(starts[-1], dtype=np.int8), near[alike], starts), shape=(n, n))
        parts = connected_components(edges, directed=True, connection=connection)[1]
    sizes = np.bincount(parts)
    of = np.zeros(len(sizes), dtype=np.int64)
    of[parts] = group
    # The first of the largest ones of each label.
    order = np.lexsort((np.arange(len(sizes)), -sizes, of))
    largest = order[np.searchsorted(of[order], np.arange(len(names)))]
    return Contributions((parts == largest[group]).astype(np.float64), group)


def graph_connectivity(embedding: Any, labels: Labels, k: int = K, connection: Connection = "weak") -> float:
    """Average over labels the share of their cells in the largest connected component of the label's graph.

    The graph joins each cell with its k - 1 nearest others, and of it the edges within the label are kept. Neighbours
    are exact.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    labels
        Shape (cells,).
    k
        Counts the cell itself, as in scanpy; reduced where there are fewer cells.
    connection
        `weak`: an edge joins both ways, as in scIB; `strong`: one way only, as in scib-metrics, which is lower.

    Returns
    -------
    Above 0, to 1.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41.
    """
    return largest_components(embedding, labels, k, connection).value()
