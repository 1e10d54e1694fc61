import json
from pathlib import Path

import anndata
import numpy as np
import pytest
import scanpy

import made
from cellgauge_tasks import NotApplicable, Space, clustering
from cellgauge_tasks.metrics.clusters import best_of_sweep, leiden, swept
from cellgauge_tasks.metrics.graph import connectivities
from cellgauge_tasks.metrics.isolated import isolated_f1, nearest_cluster, weighted_f1

ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())["clustering"]
CELLS = made.cells()


def scanpys(points, *, seed=42, **how):
    adata = anndata.AnnData(points)
    scanpy.pp.neighbors(adata, use_rep="X", transformer="sklearn", random_state=seed, **how)
    scanpy.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
    return adata


def named(scores):
    return {score.metric: score for score in scores}


class TestTheGraph:
    @pytest.mark.parametrize("n_neighbors", [5, 15, 40])
    def test_is_scanpys(self, n_neighbors):
        ours = connectivities(CELLS.points, n_neighbors)
        theirs = scanpys(CELLS.points, n_neighbors=n_neighbors).obsp["connectivities"]
        # umap searches a cell's width until its weights are right to 1e-5, and takes whichever it has then.
        assert abs(ours - theirs).max() < 1e-4
        assert (ours != 0).nnz == (theirs != 0).nnz

    def test_of_cells_in_one_place_is_whole(self):
        points = np.repeat(CELLS.points[:6], 20, axis=0)
        weights = connectivities(points).toarray()
        assert np.isfinite(weights).all()
        assert (weights[0, 1:15] == 1).all()  # its copies, of which the first are its neighbours
        assert (weights == weights.T).all()

    def test_of_few_cells_has_fewer_neighbours(self):
        assert (connectivities(CELLS.points[:4]).toarray() > 0).sum() == 12
        assert connectivities(CELLS.points[:1]).nnz == 0


class TestLeiden:
    def test_finds_scanpys_clusters(self):
        assert (leiden(CELLS.points).astype(str) == scanpys(CELLS.points).obs["leiden"].to_numpy(dtype=str)).all()

    def test_neighbours_stay_exact_where_scanpys_own_would_be_approximate(self):
        points = np.random.default_rng(0).normal(size=(8300, 2)).astype("float32")
        expected = scanpys(points, seed=1).obs["leiden"].to_numpy(dtype=str)
        assert (leiden(points, seed=1).astype(str) == expected).all()

    def test_with_each_edge_once_finds_groups_as_good(self):
        """The modularity that it looks for is the same, so what it finds is as good, but for chance."""
        import igraph

        weights = connectivities(CELLS.points)
        graph = igraph.Graph.Weighted_Adjacency(weights, mode="undirected")
        for seed in range(3):
            one, other = leiden(CELLS.points, seed=seed), swept(CELLS.points, 1.0, seed)
            found = [graph.modularity(groups, weights="weight") for groups in (one, other)]
            assert found[1] == pytest.approx(found[0], abs=0.02)

    def test_leaves_the_random_numbers_of_others_alone(self):
        import random

        random.seed(0)
        before = random.getstate()
        leiden(CELLS.points[:50])
        assert random.getstate() == before

    def test_the_best_of_a_sweep_is_the_best(self):
        labels = CELLS.obs["cell_type"].to_numpy(dtype=str)
        found = best_of_sweep(CELLS.points, labels, resolutions=(0.1, 0.5, 1.0))
        from sklearn.metrics import normalized_mutual_info_score

        each = [normalized_mutual_info_score(labels, swept(CELLS.points, one)) for one in (0.1, 0.5, 1.0)]
        assert found.agreement == pytest.approx(each, abs=1e-12)
        assert found.resolution == (0.1, 0.5, 1.0)[int(np.argmax(each))]


class TestTheTask:
    scores = clustering.score(CELLS.points, CELLS.obs)

    def test_the_first_seed_is_cz_benchmarks_score(self):
        for metric, value in ORACLE.items():
            assert self.scores.details[f"{metric}/per_seed"][0] == pytest.approx(value, abs=1e-9)

    def test_a_score_is_the_mean_over_seeds_and_says_so(self):
        found = named(self.scores)["adjusted_rand_index"]
        assert found.value == pytest.approx(self.scores.details["adjusted_rand_index/per_seed"].mean())
        assert dict(found.params) == {"resolution": 1.0, "seeds": 5}
        assert found.interval.unit == "cells and seeds"

    def test_the_best_of_the_sweep_has_its_own_name(self):
        found = named(self.scores)
        assert found["best_normalized_mutual_info"].value == self.scores.details["sweep/normalized_mutual_info"].max()
        assert found["best_normalized_mutual_info"].value > found["normalized_mutual_info"].value

    def test_intervals_hold_their_scores_and_narrow_with_more_cells(self):
        large = made.mixture(2400, 16)
        widths = []
        for cells in (large.points[:300], large.points):
            found = clustering.score(cells, large.obs[: len(cells)])
            for score in found:
                assert score.interval.low < score.value < score.interval.high
            widths.append(found[3].interval.high - found[3].interval.low)
        assert widths[1] < widths[0] / 1.5

    def test_donors_are_drawn_where_there_are_enough(self):
        obs = CELLS.obs.assign(donor=[f"d{n % 7}" for n in range(600)])
        assert {one.interval.unit for one in clustering.score(CELLS.points, obs)} == {"donors", "donors and seeds"}
        few = obs.assign(donor=[f"d{n % 3}" for n in range(600)])
        assert {one.interval.unit for one in clustering.score(CELLS.points, few)} == {"cells", "cells and seeds"}

    def test_two_cells_have_a_score(self):
        found = named(clustering.score(CELLS.points[:2], CELLS.obs[:2]))
        assert found["adjusted_rand_index"].value in (0.0, 1.0)

    def test_no_label_at_all_does_not_apply(self):
        with pytest.raises(NotApplicable, match="no cell has a value of cell_type"):
            clustering.score(CELLS.points, {"cell_type": [None] * 600})


class TestIsolatedLabels:
    cells = made.mixture(700, 16)

    def columns(self):
        return (self.cells.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))

    def test_f1_is_the_best_over_the_sweep(self):
        from sklearn.metrics import f1_score

        labels, batches = self.columns()
        space = Space(self.cells.points)
        found = nearest_cluster(space, labels, "type07")
        assert found.f1 == pytest.approx(f1_score(labels == "type07", found.members))
        for resolution in (0.4, 1.0, 2.0):
            groups = swept(space, resolution)
            assert found.f1 >= max(f1_score(labels == "type07", groups == one) for one in range(groups.max() + 1))
        assert isolated_f1(space, labels, batches) == pytest.approx(found.f1)  # it alone is in one batch

    def test_weights_are_cells(self):
        labels, batches = self.columns()
        weigh = weighted_f1(self.cells.points, labels, batches)
        kept = np.arange(700) % 2 == 0
        members = nearest_cluster(self.cells.points, labels, "type07").members
        from sklearn.metrics import f1_score

        expected = f1_score((labels == "type07")[kept], members[kept])
        assert weigh(kept[None].astype(np.float32))[0] == pytest.approx(expected)

    def test_a_draw_without_any_cell_of_the_label_is_not_one_that_found_none_of_them(self):
        labels, batches = self.columns()
        weigh = weighted_f1(self.cells.points, labels, batches)
        without = (labels != "type07").astype(np.float32)  # it alone is in one batch: there is nothing else to average
        assert np.isnan(weigh(without[None])).all()
