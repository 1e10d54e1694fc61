"""Are the batches of one cell type mixed, and the types still apart?"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cellgauge_tasks import _controls
from cellgauge_tasks._base import Labels, Scores, Task
from cellgauge_tasks._input import cells, codes, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space
from cellgauge_tasks._tally import Tally
from cellgauge_tasks.metrics import connectivity, isolated, kbet, lisi, mixing, regression, scib, silhouette

ROLES = ("cell_type", "batch")


def score(
    embedding: Any, obs: Mapping[str, ArrayLike], *, seed: int = 42, unintegrated: ArrayLike | None = None
) -> Scores:
    """Look how `obs["batch"]` is mixed in each `obs["cell_type"]`, and sum it up with how types are kept, as scIB does.

    Entropy of batches per cell, batch silhouette, BRAS, iLISI, kBET, graph connectivity, and the share of variance that
    batches explain; with `unintegrated`, the same cells before integration, of shape (cells, dimensions), also how much
    less that has become. `scib_total` is 0.6 `scib_bio` + 0.4 `scib_batch`, each a mean of the metrics named in
    `params`. Intervals are over cells (donors, if `obs` has them).
    """
    space, known = cells(embedding, obs, *ROLES, optional=("donor",))
    labels, batches = known["cell_type"], known["batch"]
    several(batches, "batch")
    _ask(space, labels, batches)
    tally = Tally(len(space), Resamples(len(space), seed=seed, donors=known.get("donor")))
    tally.scores.details["labels"] = codes(labels)[1]
    mixing.mind_chance(space, labels, tally.draws)
    _mixed(tally, space, labels, batches)
    tally.weigh("pcr_batch", lambda: regression.variance(space, batches).explained, lower=True)
    if unintegrated is not None:
        before = cells(unintegrated, obs, *ROLES)[0]
        tally.weigh("pcr_comparison", lambda: regression.comparison(before, space, batches).removed)
    tally.hide("silhouette_label", lambda: silhouette.label_widths(space, labels))
    tally.hide("isolated_f1", lambda: isolated.weighted_f1(space, labels, batches, seed))
    tally.hide("isolated_asw", lambda: silhouette.isolated_widths(space, labels, batches))
    if len(tally.scores.details["labels"]) > 1:
        tally.members |= scib.agreement(space, labels, tally.draws, seed)
    _sum_up(tally)
    return tally.scores


def _mixed(tally: Tally, space: Space, labels: Labels, batches: Labels) -> None:
    k = mixing.neighborhood(len(space))
    tally.add("entropy_per_cell", lambda: mixing.entropies(space, batches, k), k=k)
    tally.add("neighbor_entropy", lambda: mixing.entropies(space, batches, k, itself=False), k=k)
    tally.add("silhouette_batch", lambda: silhouette.batch_widths(space, labels, batches))
    tally.add("bras", lambda: silhouette.angular_batch_widths(space, labels, batches))
    others, perplexity = lisi.neighborhood(len(space))
    found = lisi.lisi(space, [batches, labels])
    tally.add("ilisi", lambda: lisi.of_batches(found[:, 0], batches), k=others + 1, perplexity=perplexity)
    tally.hide("clisi", lambda: lisi.of_labels(found[:, 1], labels))
    tally.add("kbet", lambda: kbet.acceptances(space, labels, batches), alpha=kbet.ALPHA)
    tally.add(
        "graph_connectivity", lambda: connectivity.largest_components(space, labels), k=connectivity.K, **_recall(space)
    )


def _recall(space: Space) -> dict[str, float]:
    """Tell which share of true neighbours a graph of very many cells has."""
    return {} if space.sampled is None else {"recall": space.recall(connectivity.K - 1)}


def _sum_up(tally: Tally) -> None:
    names = [name for name in (*scib.BIO, *scib.BATCH) if name in tally.members]
    tally.scores.details["scib/members"] = np.array(names)
    tally.scores.details["scib/values"] = np.array([tally.members[name].value for name in names])
    parts = {}
    for metric, wanted in (("scib_bio", scib.BIO), ("scib_batch", scib.BATCH)):
        if found := [name for name in wanted if name in tally.members]:
            parts[metric] = scib.mean(tally.members, found)
            tally.sum_up(metric, parts[metric], members=", ".join(found))
    if len(parts) < 2:
        warnings.warn("scib_bio and scib_total are left out: all cells have one cell_type", stacklevel=3)
    else:
        tally.sum_up("scib_total", scib.total(parts["scib_bio"], parts["scib_batch"]), bio_weight=scib.BIO_WEIGHT)


def expect(space: Any, obs: Mapping[str, ArrayLike]) -> None:
    """Tell what `score` will ask of a space."""
    inside, known = cells(space, obs, *ROLES)
    _ask(inside, known["cell_type"], known["batch"])


def _ask(space: Space, labels: Labels, batches: Labels) -> None:
    space.expect(neighbors=mixing.neighborhood(len(space)), groups=[codes(labels)[0]])
    for inside, part in silhouette.within(space, labels):
        part.expect(neighbors=kbet.neighborhood(batches[inside]) - 1, groups=[codes(batches[inside])[0]])


TASK = Task(
    name="batch_integration",
    version="2",
    title="Are the batches of one cell type mixed, and the types still apart?",
    roles=ROLES,
    optional=("donor",),
    shown=("batch",),
    score=score,
    expect=expect,
    headline={"scib_batch": "batch", "scib_bio": "bio", "scib_total": "scIB total", "ilisi": "iLISI"},
    baseline="pca",
    controls={"positive": _controls.truth("cell_type", spare=128), "negative": _controls.truth("batch")},
)
