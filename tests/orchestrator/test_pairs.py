"""Two models are compared on the same resamples."""

import numpy as np
import pytest

from cellgauge.report.pairs import Drawn, compare
from cellgauge.specs import ScoreValue
from cellgauge_tasks import Resamples

CELLS = np.random.default_rng(0).normal(0.5, 1, 300)


def drawn(cells, *, seed=1, better="higher", resamples=None):
    draws = Resamples(len(cells), seed=seed)
    replicates = draws.means(cells).astype(np.float32)
    fields = {"metric": "m", "n_cells": len(cells), "better": better}
    value = ScoreValue(value=float(cells.mean()), resamples=draws.name if resamples is None else resamples, **fields)
    return Drawn(value, replicates)


def test_a_small_difference_that_every_cell_shares_is_clear_though_both_intervals_overlap():
    random = np.random.default_rng(1)
    found = compare(drawn(CELLS + 0.05 + random.normal(0, 0.1, 300)), drawn(CELLS))
    assert found.distinguishable
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(0.05, abs=0.02)
    assert found.high - found.low < 0.05, "each alone moves by 0.2"


def test_the_interval_is_that_of_the_difference_of_means():
    other = CELLS + np.random.default_rng(1).normal(0, 0.1, 300)
    found = compare(drawn(other), drawn(CELLS))
    error = (other - CELLS).std() / np.sqrt(300)
    assert found.low == pytest.approx(found.difference - 1.96 * error, abs=0.4 * error)
    assert found.high == pytest.approx(found.difference + 1.96 * error, abs=0.4 * error)


def test_no_difference_is_none():
    found = compare(drawn(CELLS), drawn(CELLS))
    assert (found.difference, found.low, found.high, found.distinguishable) == (0, 0, 0, False)
    unlike = np.random.default_rng(1).normal(0.5, 1, 300)
    assert not compare(drawn(CELLS), drawn(unlike)).distinguishable


def test_where_lower_is_better_the_lower_one_is_ahead():
    better, worse = drawn(CELLS - 1, better="lower"), drawn(CELLS, better="lower")
    assert compare(better, worse).low > 0
    assert compare(worse, better).high < 0


def test_replicates_that_lie_beside_their_score_are_put_right():
    shifted = Drawn(drawn(CELLS).score, drawn(CELLS).replicates + np.float32(0.3))
    found = compare(shifted, drawn(CELLS))
    assert (found.difference, found.distinguishable) == (0, False)


@pytest.mark.parametrize(
    "other",
    [
        drawn(CELLS, seed=2),
        drawn(CELLS, resamples=""),
        drawn(CELLS, better="lower"),
        Drawn(drawn(CELLS).score),
        Drawn(drawn(CELLS).score, np.full(200, np.nan, dtype=np.float32)),
        Drawn(drawn(CELLS).score, np.zeros(100, dtype=np.float32)),
    ],
    ids=["seed", "unnamed", "direction", "gone", "undefined", "fewer"],
)
def test_what_shares_no_resamples_is_not_compared(other):
    assert compare(drawn(CELLS), other) is None
    assert compare(Drawn(other.score, other.replicates), drawn(CELLS)) is None
