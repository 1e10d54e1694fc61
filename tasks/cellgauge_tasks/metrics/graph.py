"""The weighted graph of nearest neighbours, as UMAP and scanpy make it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._space import Space

if TYPE_CHECKING:
    import scipy.sparse as sp

N_NEIGHBORS = 15
"""Of the graph, the cell itself among them: 14 others. scanpy's default."""
HALVINGS = 64
TOLERANCE = 1e-5
LEAST = 1e-3
"""A width is never less than this, times the mean distance to the neighbours."""


def connectivities(embedding: Any, n_neighbors: int = N_NEIGHBORS) -> "sp.csr_matrix":
    """Join each cell to its nearest ones, with weights that fall with the distance.

    The weight of a neighbour j of cell i is exp(-max(0, d_ij - r_i) / s_i), where r_i is the distance to the nearest
    cell that is not in the same place and s_i such that the weights add up to log2(n_neighbors); the two directions a
    and b of an edge become a + b - ab. Neighbours are exact; scanpy turns to approximate ones from 8,192 cells on.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    n_neighbors
        Counts the cell itself, as in scanpy; reduced where there are fewer cells.

    Returns
    -------
    Shape (cells, cells), float32, symmetric, nothing on the diagonal.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv:1802.03426, section 3.1; Wolf et al. 2018, Genome Biology 19:15.
    """
    import scipy.sparse as sp

    space = Space.of(embedding)
    others = min(n_neighbors, len(space)) - 1
    if others < 1:
        return sp.csr_matrix((len(space), len(space)), dtype=np.float32)
    indices, distances = space.neighbors(others)
    weights = _memberships(distances, others + 1)
    n = len(space)
    starts = np.arange(0, n * others + 1, others)
    one_way = sp.csr_matrix((weights.ravel(), indices.ravel(), starts), shape=(n, n))
    other_way = one_way.T.tocsr()
    both: sp.csr_matrix = one_way + other_way - one_way.multiply(other_way)
    both.eliminate_zeros()
    both.sort_indices()
    return both


def _memberships(distances: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Weigh each cell's neighbours, shape (cells, k - 1); all cells are searched for their width together."""
    apart = distances > 0
    nearest = np.where(apart, distances, np.inf).min(axis=1)
    offset = np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)
    beyond = np.maximum(distances - offset[:, None], 0).astype(np.float64)
    width = _widths(beyond, np.log2(k))
    # k, since the cell itself counts among its neighbours, at no distance.
    floor = np.where(offset > 0, distances.sum(axis=1, dtype=np.float64) / k, distances.mean() * (k - 1) / k)
    width = np.maximum(width, LEAST * floor).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.exp(-(beyond.astype(np.float32) / width[:, None]))
    return np.where(beyond <= 0, np.float32(1), found).astype(np.float32)


def _widths(beyond: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """Find for each cell the width at which its weights add up to `target`, by halving."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), np.inf)
    middle = np.ones(len(beyond))
    open_ = np.arange(len(beyond))
    for _ in range(HALVINGS):
        total = np.exp(-beyond[open_] / middle[open_, None]).sum(axis=1)
        still = np.abs(total - target) >= TOLERANCE
        open_, total = open_[still], total[still]
        if not len(open_):
            break
        much = total > target
        high[open_[much]] = middle[open_[much]]
        low[open_[~much]] = middle[open_[~much]]
        bounded = np.isfinite(high[open_])
        middle[open_[bounded]] = (low[open_[bounded]] + high[open_[bounded]]) / 2
        middle[open_[~bounded]] *= 2
    return middle
