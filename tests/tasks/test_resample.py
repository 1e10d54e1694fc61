import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from cellgauge_tasks._resample import Resamples

RANDOM = np.random.default_rng(0)


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = RANDOM.gamma(2, size=400)
    draws = Resamples(400, draws=4000)
    found = draws.interval(draws.means(values))
    true = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    width = true.high - true.low
    assert found.low == pytest.approx(true.low, abs=0.05 * width)
    assert found.high == pytest.approx(true.high, abs=0.05 * width)
    assert (found.unit, found.n_units) == ("cells", 400)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    held = []
    for seed in range(300):
        draws = Resamples(200, seed=seed)
        found = draws.interval(draws.means(np.random.default_rng([7, seed]).normal(size=200)))
        held.append(found.low <= 0 <= found.high)
    assert 0.91 < np.mean(held) < 0.98


def test_so_do_those_over_donors_whose_cells_are_alike_and_those_over_their_cells_do_not():
    donors, held = np.repeat(np.arange(30), 10), {"donors": [], "cells": []}
    for seed in range(200):
        random = np.random.default_rng([11, seed])
        values = np.repeat(random.normal(size=30), 10) + random.normal(size=300)
        for draws in (Resamples(300, seed=seed, donors=donors), Resamples(300, seed=seed)):
            found = draws.interval(draws.means(values), float(values.mean()))
            held[draws.unit].append(found.low <= 0 <= found.high)
    assert 0.89 < np.mean(held["donors"]) < 0.98
    assert np.mean(held["cells"]) < 0.75


def test_each_draw_has_as_many_cells_as_there_are():
    (weights,) = Resamples(50).weights()
    assert weights.shape == (200, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.35)


def test_whole_donors_are_drawn_where_there_are_enough():
    donors = np.array([f"d{n % 6}" for n in range(60)])
    draws = Resamples(60, donors=donors)
    (weights,) = draws.weights()
    assert all(len(np.unique(row[donors == "d3"])) == 1 for row in weights)
    assert (draws.unit, draws.n_units) == ("donors", 6)
    effect = np.repeat(RANDOM.normal(size=6), 10)[np.argsort(np.arange(60) % 6, kind="stable").argsort()]
    by_cell = Resamples(60)
    wide, narrow = draws.interval(draws.means(effect)), by_cell.interval(by_cell.means(effect))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_of_few_donors_cells_are_drawn():
    draws = Resamples(60, donors=np.array([f"d{n % 4}" for n in range(60)]))
    assert (draws.unit, draws.n_units) == ("cells", 60)


def test_two_models_are_drawn_alike():
    first, second, other = Resamples(80, seed=3), Resamples(80, seed=3), Resamples(80, seed=4)
    values = RANDOM.normal(size=80)
    np.testing.assert_array_equal(first.means(values), second.means(values))
    assert first.name == second.name != other.name
    assert Resamples(80, seed=3, donors=np.arange(80).astype(str)).name != first.name


def test_draws_do_not_depend_on_the_size_of_blocks(monkeypatch):
    whole = np.concatenate(list(Resamples(70).weights()))
    monkeypatch.setattr("cellgauge_tasks._resample.BLOCK", 4 * 70 * 9)
    parts = list(Resamples(70).weights())
    assert len(parts) == 23
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_mean_is_that_of_the_drawn_cells_that_have_a_value():
    values = RANDOM.normal(size=(40, 3))
    values[::3, 1] = np.nan
    draws = Resamples(40)
    found = draws.means(values)
    weights = np.concatenate(list(draws.weights()))
    known = ~np.isnan(values[:, 1])
    true = (weights[:, known] * values[known, 1]).sum(axis=1) / weights[:, known].sum(axis=1)
    assert found.shape == (200, 3)
    np.testing.assert_allclose(found[:, 1], true)
    np.testing.assert_allclose(found[:, 0], draws.apply(lambda row: row @ values[:, 0] / row.sum()))


def test_without_values_there_is_no_interval():
    draws = Resamples(40)
    assert np.isnan(draws.means(np.full(40, np.nan))).all()
    assert draws.interval(np.full(200, np.nan)) is None
    assert Resamples(1).interval(np.ones(200)) is None


def test_an_interval_may_be_put_around_the_score():
    draws = Resamples(40)
    moved = draws.interval(np.linspace(1, 3, 200), 7.0)
    assert (moved.low + moved.high) / 2 == pytest.approx(7)
    assert moved.replicates.mean() == pytest.approx(7)


def test_the_number_of_threads_changes_no_bit():
    values = RANDOM.normal(size=(3001, 20))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(Resamples(3001).means(values))
    np.testing.assert_array_equal(*found)
