"""Do the cells of one type form one cluster?"""

from collections.abc import Mapping

from numpy.typing import ArrayLike

from cellgauge_tasks._base import Score, Task
from cellgauge_tasks._input import labelled
from cellgauge_tasks.metrics.agreement import adjusted_rand_index, normalized_mutual_info
from cellgauge_tasks.metrics.clusters import leiden


def score(embedding: ArrayLike, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> list[Score]:
    """Compare Leiden clusters at resolution 1.0 with `obs["cell_type"]`: ARI and NMI."""
    values, labels = labelled(embedding, obs, "cell_type")
    clusters = leiden(values, resolution=1.0, seed=seed)
    n = len(labels)
    return [
        Score("adjusted_rand_index", adjusted_rand_index(labels, clusters), n),
        Score("normalized_mutual_info", normalized_mutual_info(labels, clusters), n),
    ]


TASK = Task(
    name="clustering",
    version="1",
    title="Do the cells of one type form one cluster?",
    roles=("cell_type",),
    score=score,
    headline={"adjusted_rand_index": "ARI", "normalized_mutual_info": "NMI"},
    baseline="pca",
)
