import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import made
from cellgauge_tasks import NotApplicable, sequential_organization
from cellgauge_tasks.metrics.sequence import (
    disagreement,
    expected_disagreement,
    sequential_alignment,
    times,
)

CELLS = made.cells()
TIME = CELLS.obs["time"].to_numpy()


def named(scores):
    return {score.metric: score for score in scores}


class TestTimes:
    @pytest.mark.parametrize(
        ("words", "numbers"),
        [
            (["0", "2.5", "10"], [0, 2.5, 10]),
            (["E3.5", "E4.5"], [3.5, 4.5]),
            (["day 2", "day 10"], [2, 10]),
            (["-1.0", "1e1"], [-1, 10]),
            (["8h", "24h"], [8, 24]),
        ],
    )
    def test_numbers_and_words_with_one_number_are_read(self, words, numbers):
        assert times(np.array(words)).tolist() == numbers

    @pytest.mark.parametrize("words", [["early", "late"], ["day 2", "week 1"], ["2-4 h", "8 h"], ["nan", "1"]])
    def test_what_has_no_order_does_not_apply(self, words):
        with pytest.raises(NotApplicable, match="time"):
            times(np.array(words))


class TestTheExpectation:
    def test_is_the_mean_over_all_pairs(self):
        apart = np.abs(TIME[:, None] - TIME)
        assert expected_disagreement(TIME) == pytest.approx(apart.sum() / (600 * 599), rel=1e-12)
        assert expected_disagreement(TIME) == pytest.approx(16.62085141903172, rel=1e-12)  # cz-benchmarks draws: 16.6

    def test_copies_are_no_pair(self):
        weights = np.random.default_rng(0).integers(0, 4, (5, 600))
        for row, found in zip(weights, expected_disagreement(TIME, weights), strict=True):
            cells = np.repeat(np.arange(600), row)
            pairs = cells[:, None] != cells
            assert found == pytest.approx(np.abs(TIME[cells][:, None] - TIME[cells])[pairs].mean(), rel=1e-12)


class TestTheAlignment:
    def test_is_cz_benchmarks_with_the_exact_expectation(self):
        assert sequential_alignment(CELLS.points, TIME) == pytest.approx(0.2951892017913237, abs=1e-12)

    def test_disagreement_is_that_of_the_nearest_other_cells(self):
        near = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(CELLS.points).kneighbors(return_distance=False)
        assert disagreement(CELLS.points, TIME) == pytest.approx(np.abs(TIME[near] - TIME[:, None]).mean(axis=1))

    def test_copies_of_cells_are_neighbours_and_the_cell_itself_is_not(self):
        """cz-benchmarks drops the first neighbour as the cell itself, which among copies is another one."""
        points = np.repeat(np.arange(40, dtype=np.float32)[:, None] * 100, 2, axis=0)
        when = np.tile([0.0, 1.0], 40)
        assert disagreement(points, when, k=1).tolist() == [1.0] * 80

    def test_is_not_below_chance(self):
        points, when = np.arange(80, dtype=np.float32)[:, None], np.tile([0.0, 1.0], 40)
        assert disagreement(points, when, k=2).mean() > expected_disagreement(when)
        assert sequential_alignment(points, when, k=2) == 0

    def test_of_one_time_does_not_apply(self):
        """cz-benchmarks gives 1.0, as if all were perfect."""
        with pytest.raises(NotApplicable, match="one time"):
            sequential_alignment(CELLS.points, np.ones(600))


class TestTheTask:
    scores = sequential_organization.score(CELLS.points, CELLS.obs)

    def test_scores_are_cz_benchmarks_and_do_not_move(self):
        found = named(self.scores)
        assert found["silhouette_time"].value == pytest.approx(0.449468314647, abs=1e-6)
        assert found["sequential_alignment"].value == pytest.approx(0.2951892017913237, abs=1e-12)
        again = named(sequential_organization.score(CELLS.points, CELLS.obs, seed=42))
        assert {name: one.value for name, one in again.items()} == {name: one.value for name, one in found.items()}

    def test_intervals_hold_their_scores(self):
        for score in self.scores:
            assert score.interval.low < score.value < score.interval.high

    def test_too_few_cells_do_not_apply(self):
        with pytest.raises(NotApplicable, match="10 cells have no 15 neighbours"):
            sequential_organization.score(CELLS.points[:10], CELLS.obs[:10])

    def test_one_time_alone_does_not_apply(self):
        with pytest.raises(NotApplicable, match="1 distinct time"):
            sequential_organization.score(CELLS.points, {"time": ["E3.5"] * 600})

    def test_stages_of_an_embryo_lie_between_the_controls(self, real_data):
        cells = made.real(real_data / "embryo_e35_e45_mouse.h5ad")
        task, obs = sequential_organization.TASK, {"time": cells.obs["time"]}
        worst, found, best = (
            {one.metric: one.value for one in task.score(points, obs)}
            for points in (task.controls["negative"](obs, 0), cells.points, task.controls["positive"](obs, 0))
        )
        for metric in found:
            assert worst[metric] <= found[metric] <= best[metric] + 1e-9
        assert found["sequential_alignment"] > 0.5
