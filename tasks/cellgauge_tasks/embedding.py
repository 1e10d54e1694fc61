"""Are the cells of one type close together and far from the others?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cellgauge_tasks import _controls
from cellgauge_tasks._base import Labels, NotApplicable, Scores, Task
from cellgauge_tasks._input import cells, codes, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks._tally import Tally
from cellgauge_tasks.metrics import isolated, lisi, silhouette
from cellgauge_tasks.metrics.contributions import Contributions
from cellgauge_tasks.metrics.graph import N_NEIGHBORS


def score(embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> Scores:
    """Compute the silhouette of `obs["cell_type"]`, rescaled to 0…1, and its cLISI.

    With `obs["batch"]`, also how well those types keep apart that are in the fewest batches, if not all are in every
    one: the best F1 of a Leiden cluster, and their silhouette. Intervals are over cells, or donors if `obs` has them.
    """
    space, known = cells(embedding, obs, "cell_type", optional=("batch", "donor"))
    labels, batches = known["cell_type"], known.get("batch")
    several(labels)
    _ask(space, labels)
    tally = Tally(len(space), Resamples(len(space), seed=seed, donors=known.get("donor")))
    details = tally.scores.details
    groups, details["labels"] = codes(labels)
    tally.add("silhouette_label", lambda: silhouette.label_widths(space, labels))
    widths = silhouette.rescaled(silhouette.silhouette_cells(space, labels))
    details["silhouette_label/per_label"] = Contributions(widths, groups).per_group()
    k, perplexity = lisi.neighborhood(len(space))
    around = lisi.lisi(space, [labels])[:, 0]
    tally.add("clisi", lambda: lisi.of_labels(around, labels), k=k + 1, perplexity=perplexity)
    if batches is not None and (names := _isolated(labels, batches)):
        details["isolated"] = np.array(names)
        tally.weigh("isolated_f1", lambda: isolated.weighted_f1(space, labels, batches, seed))
        tally.add("isolated_asw", lambda: silhouette.isolated_widths(space, labels, batches))
    return tally.scores


def _isolated(labels: Labels, batches: Labels) -> list[str]:
    """Name the isolated labels; where there are none, that is no fault to warn of."""
    try:
        return silhouette.isolated_labels(labels, batches)
    except NotApplicable:
        return []


def expect(space: Any, obs: Mapping[str, ArrayLike]) -> None:
    """Tell what `score` will ask of a space."""
    inside, known = cells(space, obs, "cell_type")
    _ask(inside, known["cell_type"])


def _ask(space: Space, labels: Labels) -> None:
    space.expect(neighbors=max(N_NEIGHBORS, lisi.neighborhood(len(space))[0]), groups=[codes(labels)[0]])


TASK = Task(
    name="embedding",
    version="3",
    title="Are the cells of one type close together and far from the others?",
    roles=("cell_type",),
    optional=("batch", "donor"),
    shown=("batch",),
    score=score,
    expect=expect,
    headline={"silhouette_label": "silhouette", "clisi": "cLISI"},
    baseline="pca",
    controls={"positive": _controls.truth("cell_type"), "negative": _controls.chance},
)
