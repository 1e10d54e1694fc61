import numpy as np
import pytest

from cellgauge_tasks import NotApplicable
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.contributions import Contributions

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(size=90)
VALUES[::9] = np.nan
GROUPS = np.arange(90) % 4
DRAWS = Resamples(90, seed=5, draws=40)


def again(function):
    return [
        function(np.repeat(VALUES, row.astype(int)), np.repeat(GROUPS, row.astype(int)))
        for block in DRAWS.weights()
        for row in block
    ]


def grouped(values, groups):
    return np.mean([np.nanmean(values[groups == one]) for one in np.unique(groups)])


def test_a_mean_is_that_of_the_cells_that_are_drawn():
    part = Contributions(VALUES)
    assert part.value() == pytest.approx(np.nanmean(VALUES), abs=1e-12)
    assert part.n_cells == 80
    assert part.replicates(DRAWS) == pytest.approx(again(lambda values, _: np.nanmean(values)), abs=1e-12)


def test_groups_count_alike():
    part = Contributions(VALUES, GROUPS)
    assert part.value() == pytest.approx(grouped(VALUES, GROUPS), abs=1e-12)
    assert part.per_group()[1] == pytest.approx(np.nanmean(VALUES[1::4]), abs=1e-12)
    assert part.replicates(DRAWS) == pytest.approx(again(grouped), abs=1e-12)


def test_a_median_is_that_of_the_cells_that_are_drawn():
    part = Contributions(VALUES, statistic="median")
    assert part.value() == np.nanmedian(VALUES)
    assert part.replicates(DRAWS) == pytest.approx(again(lambda values, _: np.nanmedian(values)), abs=1e-12)


def test_a_group_of_which_nothing_is_drawn_is_left_out_of_that_draw():
    groups = np.where(np.arange(90) == 1, 1, 0)
    found = Contributions(np.where(groups, 100.0, 1.0), groups).replicates(DRAWS)
    assert set(found) == {1.0, 50.5}


def test_a_draw_of_no_known_cell_has_no_value():
    values = np.full(90, np.nan)
    values[4] = 1
    for statistic in ("mean", "median"):
        found = Contributions(values, statistic=statistic).replicates(DRAWS)
        assert np.isnan(found).any()
        assert set(found[np.isfinite(found)]) == {1.0}


def test_a_group_without_a_known_cell_is_no_group():
    part = Contributions(np.array([1.0, 2.0, np.nan]), np.array([0, 2, 3]))
    assert part.value() == 1.5
    assert np.isnan(part.per_group()[[1, 3]]).all()


def test_no_known_cell_at_all_does_not_apply():
    with pytest.raises(NotApplicable, match="no cell has a value"):
        Contributions(np.full(3, np.nan))
