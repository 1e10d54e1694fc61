import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import made
from cellgauge_tasks import Caveat, NotApplicable, batch_integration, cross_species_integration
from cellgauge_tasks.metrics import mixing
from cellgauge_tasks.metrics.mixing import entropy_per_cell, neighbor_entropy, neighborhood

CELLS = made.cells()
POINTS, BATCHES = CELLS.points, CELLS.obs["batch"].to_numpy(dtype=str)
CZ_BENCHMARKS = 0.9450956317233173
"""Its value with exact neighbours."""


def test_is_cz_benchmarks():
    assert entropy_per_cell(POINTS, BATCHES) == pytest.approx(CZ_BENCHMARKS, abs=1e-12)


@pytest.mark.parametrize("k", [5, 50, 200])
def test_is_its_definition_with_the_cell_and_without(k):
    near = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(POINTS.astype(float))
    indices = near.kneighbors(POINTS.astype(float), return_distance=False)
    for found, columns in ((entropy_per_cell, slice(0, k)), (neighbor_entropy, slice(1, k + 1))):
        entropies = []
        for row in BATCHES[indices[:, columns]]:
            share = np.unique(row, return_counts=True)[1] / k
            entropies.append(-(share * np.log(share)).sum() / np.log(3))
        assert found(POINTS, BATCHES, k) == pytest.approx(np.mean(entropies), abs=1e-12)


def test_batches_apart_have_0_and_batches_in_equal_parts_1():
    apart = np.array(["a"] * 300 + ["b"] * 300)
    points = np.random.default_rng(0).normal(size=(600, 3)) + 100 * (apart == "b")[:, None]
    assert entropy_per_cell(points, apart) == 0
    # Every neighbourhood is one place, with each batch half of it.
    places = np.repeat(np.arange(3.0), 200)[:, None] * [100.0]
    assert entropy_per_cell(places, np.array(["a", "b"] * 300)) == 1


def test_every_batch_of_the_input_counts_in_the_base():
    batches = BATCHES.copy()
    batches[0] = "b9"
    # One cell hardly changes an entropy, but ln 4 is what it is divided by.
    assert entropy_per_cell(POINTS, batches) == pytest.approx(CZ_BENCHMARKS * np.log(3) / np.log(4), abs=0.02)


def test_one_batch_does_not_apply_rather_than_nan():
    with pytest.raises(NotApplicable, match=r"1 distinct batch\(es\) among 600 cells"):
        entropy_per_cell(POINTS, np.full(600, "b"))


def test_few_cells_have_smaller_neighbourhoods_so_that_it_is_no_constant():
    assert [neighborhood(n) for n in (600, 201, 200, 60, 5)] == [200, 200, 50, 15, 2]
    mixed = entropy_per_cell(POINTS[:150], BATCHES[:150])
    apart = entropy_per_cell(POINTS[:150] + 50 * (BATCHES[:150] == "b0")[:, None], BATCHES[:150])
    assert mixed - apart > 0.2


def test_is_counted_the_same_in_parts(monkeypatch):
    whole = mixing.entropies(POINTS, BATCHES).values
    monkeypatch.setattr(mixing, "ROOM", 1000)
    assert (mixing.entropies(POINTS, BATCHES).values == whole).all()


class TestChance:
    """Noise mixes batches better than any method: a reader has to be told."""

    LABELS = CELLS.obs["cell_type"].to_numpy(dtype=str)
    NOISE = np.random.default_rng(0).normal(size=(600, 16)).astype("float32")

    def test_what_is_kept_of_labels_is_its_definition(self):
        near = NearestNeighbors(n_neighbors=31, algorithm="brute").fit(POINTS.astype(float))
        indices = near.kneighbors(POINTS.astype(float), return_distance=False)[:, 1:]
        purity = (self.LABELS[indices] == self.LABELS[:, None]).mean()
        chance = 119 / 599
        assert mixing.kept(POINTS, self.LABELS, 31).value() == pytest.approx(
            (purity - chance) / (1 - chance), abs=1e-12
        )

    def test_its_ends(self):
        apart = np.repeat(np.arange(5), 120)[:, None] * 100 + np.random.default_rng(0).normal(size=(600, 3))
        assert mixing.kept(apart, np.repeat(list("abcde"), 120), 101).value() == 1
        assert abs(mixing.kept(self.NOISE, self.LABELS).value()) < 0.01
        with pytest.raises(NotApplicable):
            mixing.kept(POINTS, np.full(600, "a"))

    @pytest.mark.parametrize("task", [batch_integration, cross_species_integration])
    def test_an_integration_that_keeps_no_type_is_told_of_and_its_scores_stay(self, task):
        obs = {"cell_type": self.LABELS, "batch": BATCHES, "organism": BATCHES}
        with pytest.warns(Caveat, match=r"no closer together than chance has it \(-?0\.00\d, .*noise mixes"):
            noise = {one.metric: one.value for one in task.score(self.NOISE, obs)}
        real = {one.metric: one.value for one in task.score(POINTS, obs)}  # a warning would be an error here
        assert noise["ilisi"] > real["ilisi"]
