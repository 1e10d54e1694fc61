import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

import made
import oracles
from cellgauge_tasks import NotApplicable
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.regression import comparison, pcr, pcr_comparison, variance

CELLS = made.cells()
POINTS, RAW, BATCHES = CELLS.points, CELLS.counts, CELLS.obs["batch"].to_numpy(dtype=str)
ONE = np.ones((1, 600))


@pytest.fixture(scope="module", params=oracles.SETS)
def case(request):
    return request.param, *oracles.cells(request.param, request)


class TestPeers:
    """Theirs are in float32, hence 1e-6."""

    def test_scib_metrics(self, case):
        name, points, _, batches, raw = case
        theirs = oracles.told("scib-metrics", name)
        assert pcr(points, batches) == pytest.approx(theirs["pcr"], abs=1e-6)
        assert pcr(raw, batches) == pytest.approx(theirs["pcr raw"], abs=1e-6)
        assert pcr_comparison(raw, points, batches) == pytest.approx(theirs["pcr_comparison"], abs=1e-5)

    def test_scib(self, case):
        name, points, _, batches, raw = case
        theirs = oracles.told("scib", name)
        assert pcr(points, batches) == pytest.approx(theirs["pcr all components"], abs=1e-6)
        assert pcr(points, batches, 50) == pytest.approx(theirs["pcr"], abs=1e-6)
        assert pcr_comparison(raw, points, batches, 50) == pytest.approx(theirs["pcr_comparison"], abs=1e-5)


@pytest.mark.parametrize("components", [None, 3])
def test_is_regression_on_principal_components(components):
    pca = PCA(components, svd_solver="full").fit(POINTS.astype(float))
    places, hot = pca.transform(POINTS.astype(float)), (BATCHES[:, None] == np.unique(BATCHES)).astype(float)
    fit = [LinearRegression().fit(hot, one).score(hot, one) for one in places.T]
    expected = np.dot(fit, pca.explained_variance_) / pca.explained_variance_.sum()
    assert pcr(POINTS, BATCHES, components) == pytest.approx(expected, abs=1e-10)


def test_of_more_dimensions_than_cells_it_is_the_same():
    assert pcr(RAW[:90], BATCHES[:90], 20) == pytest.approx(
        pcr(np.pad(RAW[:90], ((0, 0), (0, 50))), BATCHES[:90], 20), abs=1e-10
    )


def test_its_ends():
    apart = np.array(["a", "b"] * 20)
    assert pcr(np.where(apart == "a", 1.0, 3.0)[:, None] * [1.0, 2.0], apart) == pytest.approx(1, abs=1e-12)
    mirrored = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 2, axis=0)
    assert pcr(mirrored, apart) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("size", "shift"), [(1e25, 0), (1e-25, 0), (1, 1e6)])
def test_size_and_place_do_not_matter(size, shift):
    assert pcr(POINTS.astype(float) * size + shift, BATCHES) == pytest.approx(pcr(POINTS, BATCHES), abs=1e-8)


def test_draws_are_the_value_of_cells_drawn_again():
    draws, one = Resamples(600, seed=1, draws=60), variance(POINTS, BATCHES)
    found = np.concatenate([one.explained(block) for block in draws.weights()])
    again = [
        pcr(POINTS[cells], BATCHES[cells])
        for block in draws.weights()
        for cells in (np.repeat(np.arange(600), row.astype(int)) for row in block)
    ]
    # The plane in which batches differ stays, so noise across it does not add to their difference.
    assert np.corrcoef(found, again)[0, 1] > 0.97
    assert np.std(found) == pytest.approx(np.std(again), rel=0.1)


def test_more_than_before_is_0_and_nothing_before_does_not_apply():
    assert pcr_comparison(RAW, POINTS, BATCHES) == 0
    assert pcr_comparison(POINTS, POINTS, BATCHES) == 0
    flat = POINTS - np.array([POINTS[one == BATCHES].mean(axis=0) for one in BATCHES])
    assert pcr_comparison(POINTS, flat, BATCHES) == pytest.approx(1, abs=1e-6)
    mirrored = np.repeat(np.arange(10.0), 2)[:, None]
    with pytest.raises(NotApplicable, match="none of the variance before"):
        comparison(mirrored, mirrored, np.array(["a", "b"] * 10))


def test_one_batch_or_one_place_does_not_apply():
    with pytest.raises(NotApplicable, match="1 distinct batch"):
        pcr(POINTS, np.full(600, "b"))
    with pytest.raises(NotApplicable, match="one place"):
        pcr(np.full((600, 3), 0.1), BATCHES)
