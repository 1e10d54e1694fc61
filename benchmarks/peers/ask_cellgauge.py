"""What cellgauge does in the place of its peers. Runs in its own environment."""

import numpy as np

from cellgauge_tasks import find
from cellgauge_tasks._space import Space
from cellgauge_tasks.metrics import connectivity, kbet, lisi, regression, silhouette

TASKS = ("clustering", "embedding", "batch_integration", "label_prediction", "sequential_organization")


def suite(cells):
    """The whole suite on one space, with every metric and interval; a function a stage."""
    tasks, obs, shared = find(), {role: cells.obs[role].to_numpy() for role in cells.obs}, []

    def passed():
        shared.append(Space(cells.points))
        for name in TASKS:
            if tasks[name].expect:
                tasks[name].expect(shared[0], obs)
        shared[0].neighbors(1)  # which is when the pass is made

    def scored(name):
        return lambda: tasks[name].score(shared[0], obs, seed=42)

    return {"one pass over all pairs": passed} | {name: scored(name) for name in TASKS}


def metrics(cells):
    """Functions by metric, as those that ask peers have them: neighbours are given, where they are to peers."""
    labels, batches = cells.obs["cell_type"].to_numpy().astype(str), cells.obs["batch"].to_numpy().astype(str)
    near = Space(cells.points)
    if cells.near is not None:
        from cellgauge_tasks._space import Neighbors

        near._neighbors = Neighbors(*(np.ascontiguousarray(one) for one in cells.near))
    else:
        near.neighbors(89)

    def fresh():
        return Space(cells.points)

    return {
        "neighbours, k = 90": lambda: fresh().neighbors(89),
        "silhouette by label": lambda: silhouette.silhouette_label(fresh(), labels),
        "batch silhouette": lambda: silhouette.silhouette_batch(fresh(), labels, batches),
        "BRAS": lambda: silhouette.bras(fresh(), labels, batches),
        "isolated labels, ASW": lambda: silhouette.isolated_asw(fresh(), labels, batches),
        "iLISI": lambda: lisi.ilisi(near, batches),
        "cLISI": lambda: lisi.clisi(near, labels),
        "kBET by label": lambda: kbet.kbet(fresh(), labels, batches),
        "kBET over all": lambda: kbet.kbet_overall(near, batches),
        "graph connectivity": lambda: connectivity.graph_connectivity(near, labels),
        "PC regression": lambda: regression.pcr(cells.points, batches),
    }


def together(cells):
    """The same metrics, asked of one space, as a task does."""

    def everything():
        labels, batches = cells.obs["cell_type"].to_numpy().astype(str), cells.obs["batch"].to_numpy().astype(str)
        space = Space(cells.points)
        space.expect(neighbors=89, groups=[np.unique(labels, return_inverse=True)[1].astype(np.int64)])
        silhouette.silhouette_label(space, labels)
        silhouette.isolated_asw(space, labels, batches)
        silhouette.silhouette_batch(space, labels, batches)
        silhouette.bras(space, labels, batches)
        found = lisi.lisi(space, [batches, labels])
        lisi.of_batches(found[:, 0], batches).value()
        lisi.of_labels(found[:, 1], labels).value()
        kbet.kbet(space, labels, batches)
        kbet.kbet_overall(space, batches)
        connectivity.graph_connectivity(space, labels)
        regression.pcr(space, batches)

    return {"all of them on one space": everything}
