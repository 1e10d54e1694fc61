import numpy as np
import pytest

import made
import oracles
from cellgauge_tasks import NotApplicable
from cellgauge_tasks.metrics.lisi import clisi, ilisi, lisi, neighborhood

CELLS = made.cells()
POINTS = CELLS.points
LABELS, BATCHES = (CELLS.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))


@pytest.fixture(scope="module", params=oracles.SETS)
def case(request):
    return request.param, *oracles.cells(request.param, request)


class TestPeers:
    """They stop searching once the entropy is right to 1e-5, we at 1e-9."""

    def test_harmonypy(self, case):
        name, points, labels, batches, _ = case
        for peer, itself in (("harmonypy-0", True), ("harmonypy", False)):
            found, theirs = lisi(points, [batches, labels], itself=itself), oracles.told(peer, name)
            for column, kind in enumerate(("batch", "label")):
                assert found[:, column].mean() == pytest.approx(theirs[f"lisi_mean {kind}"], abs=5e-6)
                assert np.median(found[:, column]) == pytest.approx(theirs[f"lisi_median {kind}"], abs=2e-5)

    def test_scib_metrics(self, case):
        name, points, labels, batches, _ = case
        theirs = oracles.told("scib-metrics", name)
        assert ilisi(points, batches) == pytest.approx(theirs["ilisi_knn"], abs=5e-6)
        assert clisi(points, labels) == pytest.approx(theirs["clisi_knn"], abs=5e-6)


def searched(distances, perplexity):
    """The textbook search, cell by cell."""
    low, high = 0.0, 1e9
    for _ in range(200):
        beta = (low + high) / 2
        share = np.exp(-beta * (distances - distances.min()))
        share /= share.sum()
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
    return share


def test_is_its_definition():
    points, labels = POINTS[:120].astype(float), LABELS[:120]
    far = np.sqrt(np.square(points[:, None] - points[None]).sum(-1))
    found = lisi(points, [labels], perplexity=10)[:, 0]
    for cell in range(0, 120, 7):
        near = np.argsort(far[cell], kind="stable")[1:30]
        share = searched(far[cell, near], 10)
        assert found[cell] == pytest.approx(1 / sum(share[labels[near] == one].sum() ** 2 for one in set(labels)), 1e-5)


def test_without_scale_it_counts_labels():
    assert ilisi(POINTS, BATCHES, scale=False) == pytest.approx(1 + 2 * ilisi(POINTS, BATCHES), abs=1e-12)
    assert clisi(POINTS, LABELS, scale=False) == pytest.approx(5 - 4 * clisi(POINTS, LABELS), abs=1e-12)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_of_any_size_it_is_the_same(size):
    """Where peers start at β = 1 and may not arrive in their 50 steps."""
    assert lisi(POINTS * np.float64(size), [BATCHES]) == pytest.approx(lisi(POINTS, [BATCHES]), rel=1e-4)


def test_cells_in_one_place_weigh_the_same():
    found = lisi(np.ones((300, 4)), [np.array(["a", "b"] * 150)])
    assert found == pytest.approx(2, abs=1e-3)


def test_more_copies_than_neighbours_in_effect_are_the_neighbourhood():
    places = np.repeat(np.random.default_rng(0).normal(size=(6, 3)), 50, axis=0)
    batches = np.array((["a"] * 25 + ["b"] * 25) * 6)
    found = lisi(places, [batches])
    # 49 others, of which 24 are of its own batch.
    assert found == pytest.approx(1 / ((24 / 49) ** 2 + (25 / 49) ** 2), abs=1e-12)


def test_few_cells_have_a_smaller_perplexity():
    assert [neighborhood(n) for n in (600, 90, 60, 4, 2)] == [(89, 30), (89, 30), (59, 20), (2, 1), (1, 1)]
    assert np.isfinite(lisi(POINTS[:4], [BATCHES[:4]])).all()
    with pytest.raises(NotApplicable):
        lisi(POINTS[:1], [BATCHES[:1]])


def test_one_label_does_not_apply():
    with pytest.raises(NotApplicable, match="1 distinct label"):
        ilisi(POINTS, np.full(600, "b"))
    with pytest.raises(NotApplicable, match="1 distinct label"):
        clisi(POINTS, np.full(600, "b"))
