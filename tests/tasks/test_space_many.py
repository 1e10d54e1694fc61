"""More cells than all pairs of which are computed; here few are many."""

import numpy as np
import pytest

import cellgauge_tasks._space as space_module
from cellgauge_tasks._space import Space
from cellgauge_tasks.pairs import landmarks, partition

RANDOM = np.random.default_rng(0)
CELLS, K = 1300, 20
NORMAL = RANDOM.normal(size=(CELLS, 24))
LABELS = RANDOM.integers(0, 6, CELLS)
BATCHES = RANDOM.integers(-1, 40, CELLS)
ONE_A_LABEL = np.eye(6)[LABELS]


class TestManyCells:
    @pytest.fixture(params=["plain", "copies"])
    def spaces(self, request, monkeypatch):
        monkeypatch.setattr(landmarks, "QUERIES", 300)
        monkeypatch.setattr(landmarks, "REFERENCES", 90)
        monkeypatch.setattr(landmarks, "FEWEST", 20)
        monkeypatch.setattr(partition, "SEARCHED", 650)
        monkeypatch.setattr(partition, "PART", 100)
        values = NORMAL.astype(np.float32) + 2 * RANDOM.normal(size=(6, 24)).astype(np.float32)[LABELS]
        if request.param == "copies":
            values[1000:1150] = values[5]
        monkeypatch.setattr(space_module, "MOST_EXACT", 600)
        many = Space(values)
        assert many.sampled == 90
        monkeypatch.setattr(space_module, "MOST_EXACT", 10**6)
        assert Space(values).sampled is None
        return many, Space(values)

    def test_drawn_cells_have_their_exact_neighbours_among_all(self, spaces):
        many, exact = spaces
        many.expect(neighbors=K, groups=[LABELS])
        found, true = many.neighbors(K, sampled=True), exact.neighbors(K, sampled=True)
        assert len(many.queries) == len(found.indices) == 300
        assert len(exact.queries) == CELLS
        np.testing.assert_array_equal(found.indices, true.indices[many.queries])
        np.testing.assert_allclose(found.distances, true.distances[many.queries], rtol=4e-7)

    def test_mean_distances_are_as_wrong_as_they_say(self, spaces):
        many, exact = spaces
        for groups in (LABELS, BATCHES):
            error = many.mean_error(groups)
            off = many.mean_distances(groups) - exact.mean_distances(groups)
            drawn = error > 0
            np.testing.assert_allclose(off[~drawn], 0, atol=1e-4)
            if drawn.any():
                assert 0.7 < np.sqrt(np.mean((off[drawn] / error[drawn]) ** 2)) < 1.4
        assert (exact.mean_error(LABELS) == 0).all()

    def test_groups_that_are_small_are_exact(self, spaces):
        many, exact = spaces
        groups = np.where(np.arange(CELLS) < 60, np.arange(CELLS) % 3, -1)
        assert (many.mean_error(groups) == 0).all()
        np.testing.assert_allclose(many.mean_distances(groups), exact.mean_distances(groups), rtol=1e-5, atol=1e-5)

    def test_every_cell_has_neighbours_most_of_which_are_true(self, spaces):
        many, exact = spaces
        found = many.neighbors(K)
        assert found.indices.shape == (CELLS, K)
        assert not (found.indices == np.arange(CELLS)[:, None]).any()
        assert (np.diff(found.distances, axis=1) >= 0).all()
        true = exact.neighbors(K).indices
        share = np.mean([len(np.intersect1d(*both)) / K for both in zip(found.indices, true, strict=True)])
        assert share > 0.9
        assert many.recall(K) == pytest.approx(share, abs=0.03)
        assert exact.recall(K) == 1

    def test_the_same_seed_draws_the_same(self, spaces):
        many, _ = spaces
        again = Space(many.values, seed=many.seed)
        again._points = many._points
        other = Space(many.values, seed=1)
        other._points = many._points
        np.testing.assert_array_equal(many.mean_distances(LABELS), again.mean_distances(LABELS))
        assert (many.mean_distances(LABELS) != other.mean_distances(LABELS)).any()
        assert (many.queries != other.queries).any()

    def test_many_cells_that_are_few_points_are_exact(self, monkeypatch):
        monkeypatch.setattr(space_module, "MOST_EXACT", 600)
        space = Space(ONE_A_LABEL)
        assert space.sampled is None
        assert (space.neighbors(K).distances == 0).all()
