"""Do the cells of one type form one cluster?"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cellgauge_tasks import _controls
from cellgauge_tasks._base import Score, Scores, Task
from cellgauge_tasks._input import cells, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.agreement import Crossing, mutual_information, rand_index
from cellgauge_tasks.metrics.clusters import RESOLUTIONS, best_of_sweep, leiden
from cellgauge_tasks.metrics.graph import N_NEIGHBORS

SEEDS = 5
"""Clusters differ between seeds by several hundredths, so one of them says little."""
METRICS = {"adjusted_rand_index": rand_index, "normalized_mutual_info": mutual_information}


def score(embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42) -> Scores:
    """Compare Leiden clusters with `obs["cell_type"]`: ARI and NMI.

    At resolution 1.0, the mean over five seeds from `seed` on; and, as `best_…`, at whichever resolution from 0.2 to 2
    agrees best with the labels, which is optimistic. Intervals are over cells (donors, if `obs` has them) and seeds.
    """
    space, known = cells(embedding, obs, "cell_type", optional=("donor",))
    labels = known["cell_type"]
    several(labels)
    draws = Resamples(len(space), seed=seed, donors=known.get("donor"))
    runs = [leiden(space, seed=one) for one in range(seed, seed + SEEDS)]
    best = best_of_sweep(space, labels, seed=seed)
    details = {"clusters": runs[0], "best_clusters": best.clusters, "resolutions": RESOLUTIONS}
    details |= {"sweep/normalized_mutual_info": best.agreement}
    scores = []
    for groups, prefix, params in (
        (runs, "", {"resolution": 1.0, "seeds": SEEDS}),
        ([best.clusters], "best_", {"resolution": best.resolution}),
    ):
        crossings = [Crossing(labels, one) for one in groups]
        rows = (row for block in draws.weights() for row in block)
        # Every draw of cells meets the clusters of another seed, so the interval holds both.
        drawn = [one.table(row) for one, row in zip(itertools.cycle(crossings), rows, strict=False)]
        for name, metric in METRICS.items():
            values = np.array([metric(one.table()) for one in crossings])
            details[f"{prefix}{name}/per_seed"] = values
            value = float(values.mean())
            interval = draws.interval(np.array([metric(table) for table in drawn]), value)
            if interval and len(groups) > 1:
                interval = replace(interval, unit=f"{interval.unit} and seeds")
            scores.append(Score(prefix + name, value, len(labels), params, interval))
    return Scores(scores, details)


def expect(space: Any, obs: Mapping[str, ArrayLike]) -> None:
    """Tell what `score` will ask of a space."""
    cells(space, obs, "cell_type")[0].expect(neighbors=N_NEIGHBORS - 1)


TASK = Task(
    name="clustering",
    version="2",
    title="Do the cells of one type form one cluster?",
    roles=("cell_type",),
    optional=("donor",),
    score=score,
    expect=expect,
    headline={"adjusted_rand_index": "ARI", "normalized_mutual_info": "NMI"},
    baseline="pca",
    controls={"positive": _controls.truth("cell_type"), "negative": _controls.chance},
)
