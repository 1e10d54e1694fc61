"""Are the cells of one type close together and far from the others?"""

from collections.abc import Mapping

from numpy.typing import ArrayLike

from cellgauge_tasks._base import Score, Task
from cellgauge_tasks._input import labelled
from cellgauge_tasks.metrics.silhouette import silhouette_label


def score(embedding: ArrayLike, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> list[Score]:
    """Compute the rescaled silhouette of `obs["cell_type"]`; `seed` has no influence."""
    values, labels = labelled(embedding, obs, "cell_type")
    return [Score("silhouette_label", silhouette_label(values, labels), len(labels))]


TASK = Task(
    name="embedding",
    version="1",
    title="Are the cells of one type close together and far from the others?",
    roles=("cell_type",),
    score=score,
    headline={"silhouette_label": "silhouette"},
    baseline="pca",
)
