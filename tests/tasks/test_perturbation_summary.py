"""Values of conditions summed up: what is undefined earns nothing."""

import numpy as np
import pytest

from cellgauge_tasks.metrics.perturbation.suite import Measured
from cellgauge_tasks.metrics.perturbation.summary import summary

NAMES = np.array([f"c{n}" for n in range(8)])


def summed(values, headline=()):
    measured = Measured("pearson_delta", np.array(values))
    return summary([measured], [], NAMES, 80, params={}, headline=headline)[0]


def test_scores_over_other_conditions_are_not_compared_in_pairs():
    honest = [0.9] * 4 + [0.1, 0.2, 0.1, 0.3]
    lazy, lazier = honest[:4] + [np.nan] * 4, honest[:4] + [0.1] + [np.nan] * 3
    one, other, third = (summed(values).interval.resamples for values in (honest, lazy, lazier))
    assert len({one, other, third}) == 3


def test_scores_over_the_same_conditions_are():
    quiet = [0.9] * 6 + [np.nan] * 2
    one, other = summed(quiet), summed([value / 2 for value in quiet])
    assert one.interval.resamples == other.interval.resamples
    assert one.params["undefined_in"] == 2


def test_scores_over_other_genes_or_on_another_scale_are_not_compared_in_pairs():
    measured = Measured("mse", np.arange(8.0))

    def resamples(**params):
        return summary([measured], [], NAMES, 80, params=params)[0].interval.resamples

    every = resamples(n_genes=30, means_of="log1p", scaled_to=100.0)
    assert every == resamples(n_genes=30, means_of="log1p", scaled_to=200.0)
    assert len({every, resamples(n_genes=25, means_of="log1p"), resamples(n_genes=30, means_of="pooled counts")}) == 3


def test_a_headline_number_over_some_conditions_is_warned_of():
    with pytest.warns(
        UserWarning, match="pearson_delta: over 6 of 8 conditions only, not defined for 2: its prediction"
    ):
        summed([0.9] * 6 + [np.nan] * 2, headline=("pearson_delta",))
    assert summed([0.9] * 8, headline=("pearson_delta",)).interval.resamples
