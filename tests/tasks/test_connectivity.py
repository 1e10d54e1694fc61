import numpy as np
import pytest
import scipy.sparse as sp

import made
import oracles
from cellgauge_tasks.metrics.connectivity import graph_connectivity, largest_components

CELLS = made.cells()
POINTS, LABELS = CELLS.points, CELLS.obs["cell_type"].to_numpy(dtype=str)


@pytest.fixture(scope="module", params=oracles.SETS)
def case(request):
    return request.param, *oracles.cells(request.param, request)


def test_is_scibs(case):
    name, points, labels, _, _ = case
    assert graph_connectivity(points, labels) == pytest.approx(
        oracles.told("scib", name)["graph_connectivity"], abs=1e-9
    )


def test_one_way_it_is_scib_metrics(case):
    name, points, labels, _, _ = case
    theirs = oracles.told("scib-metrics", name)["graph_connectivity k=15"]
    assert graph_connectivity(points, labels, connection="strong") == pytest.approx(theirs, abs=1e-9)


def test_is_its_definition():
    far = np.square(POINTS[:, None].astype(float) - POINTS[None]).sum(-1)
    np.fill_diagonal(far, np.inf)
    graph = np.zeros((600, 600))
    np.put_along_axis(graph, np.argsort(far, axis=1, kind="stable")[:, :4], 1, axis=1)
    shares = []
    for label in np.unique(LABELS):
        inside = np.ix_(label == LABELS, label == LABELS)
        parts = sp.csgraph.connected_components(graph[inside], directed=False)[1]
        shares.append(np.bincount(parts).max() / len(parts))
    assert graph_connectivity(POINTS, LABELS, k=5) == pytest.approx(np.mean(shares), abs=1e-12)


def test_a_label_in_two_places_is_connected_as_far_as_the_larger():
    points = np.random.default_rng(0).normal(size=(100, 2))
    points[70:] += 1000
    part = largest_components(points, np.full(100, "a"))
    assert part.value() == 0.7
    assert (part.values == (np.arange(100) < 70)).all()


def test_a_cell_alone_is_connected_and_few_cells_have_fewer_neighbours():
    labels = LABELS.copy()
    labels[0] = "alone"
    assert largest_components(POINTS, labels).per_group()[0] == 1
    assert graph_connectivity(POINTS[:3], np.full(3, "a")) == 1
    assert graph_connectivity(POINTS[:1], np.full(1, "a")) == 1
