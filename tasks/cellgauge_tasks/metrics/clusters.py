"""Groups cells by the graph of their nearest neighbours."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics.agreement import normalized_mutual_info
from cellgauge_tasks.metrics.graph import N_NEIGHBORS, connectivities

if TYPE_CHECKING:
    import igraph
    import scipy.sparse as sp

ITERATIONS = 2
"""Of the algorithm, as scanpy recommends for igraph and cz-benchmarks uses."""
RESOLUTIONS = tuple(round(0.2 * step, 1) for step in range(1, 11))
"""Of a sweep: 0.2 to 2. scIB takes twice as many steps; labels choose the best, so each step more flatters."""


def leiden(
    embedding: Any, *, resolution: float = 1.0, n_neighbors: int = N_NEIGHBORS, seed: int = 42
) -> NDArray[np.int64]:
    """Cluster cells with Leiden on the weighted graph of exact nearest neighbours.

    Two iterations of igraph's Leiden with modularity as its objective.

    Parameters
    ----------
    embedding
        Shape (cells, dimensions), or a `Space`.
    resolution
        Higher gives more clusters.
    n_neighbors
        Counts the cell itself, as in scanpy; reduced where there are fewer cells.
    seed
        Of the Leiden algorithm; clusters differ between seeds.

    Returns
    -------
    Shape (cells,), the number of each cell's cluster.

    References
    ----------
    Traag et al. 2019, Scientific Reports 9:5233.
    """
    space = Space.of(embedding)
    graph = space.once(f"graph {n_neighbors}", lambda: to_igraph(_weights(space, n_neighbors)))
    return space.once(
        f"leiden {n_neighbors} {resolution} {seed}", lambda: clusters(graph, resolution, _LikeScanpy(seed))
    )


def swept(embedding: Any, resolution: float, seed: int = 42) -> NDArray[np.int64]:
    """Cluster as `leiden` does, but with each edge there once and other random numbers: in half the time.

    The modularity of every grouping is the same; the clusters of a seed are others.
    """
    space = Space.of(embedding)
    graph = space.once("half graph", lambda: to_igraph(_weights(space, N_NEIGHBORS), once=True))
    return space.once(f"swept {resolution} {seed}", lambda: clusters(graph, resolution, random.Random(seed)))  # noqa: S311


def _weights(space: Space, n_neighbors: int) -> "sp.csr_matrix":
    return space.once(f"connectivities {n_neighbors}", lambda: connectivities(space, n_neighbors))


def to_igraph(weights: "sp.csr_matrix", *, once: bool = False) -> "igraph.Graph":
    """Turn a symmetric matrix into a graph; each edge is there in both directions, as scanpy makes it, or once."""
    import igraph
    import scipy.sparse as sp

    if once:
        weights = sp.triu(weights, format="csr")
    edges = np.column_stack([np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr)), weights.indices])
    graph = igraph.Graph(n=weights.shape[0], edges=edges.astype(np.int64))
    graph.es["weight"] = weights.data.astype(np.float64)
    return graph


def clusters(graph: "igraph.Graph", resolution: float, draws: Any) -> NDArray[np.int64]:
    """Cluster the cells of a graph; see `leiden`. `draws` gives random numbers, as igraph asks for them."""
    with _drawing(draws):
        found = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution, n_iterations=ITERATIONS
        )
    return np.array(found.membership, dtype=np.int64)


class Best(NamedTuple):
    """The clusters of a sweep that agree best with labels."""

    clusters: NDArray[np.int64]
    resolution: float
    agreement: NDArray[np.float64]
    """Shape (resolutions,): normalized mutual information at each."""


def best_of_sweep(embedding: Any, labels: Labels, resolutions: Sequence[float] = RESOLUTIONS, seed: int = 42) -> Best:
    """Take the clusters at whichever resolution agrees best with the labels, by normalized mutual information.

    The labels choose, so this is optimistic: compare it with other sweeps only. Of equally good ones the first.

    References
    ----------
    Luecken et al. 2022, Nature Methods 19:41 (scIB).
    """
    space = Space.of(embedding)
    every = [swept(space, one, seed) for one in resolutions]
    agreement = np.array([normalized_mutual_info(labels, one) for one in every])
    best = int(agreement.argmax())
    return Best(every[best], resolutions[best], agreement)


class _LikeScanpy:
    """What igraph asks for random numbers: the same stream as scanpy gives it, so clusters are the same."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def getrandbits(self, k: int) -> int:
        return int(self._state.tomaxint()) & ((1 << k) - 1)

    def randint(self, low: int, high: int) -> int:
        return int(self._state.randint(low, high + 1))

    def random(self) -> float:
        return float(self._state.random_sample())

    def gauss(self, mean: float, deviation: float) -> float:
        return float(self._state.normal(mean, deviation))


@contextmanager
def _drawing(draws: Any) -> Iterator[None]:
    import igraph

    igraph.set_random_number_generator(draws)
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
