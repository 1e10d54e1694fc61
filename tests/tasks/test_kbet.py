import numpy as np
import pytest
from scipy.stats import chisquare

import made
import oracles
from cellgauge_tasks import NotApplicable
from cellgauge_tasks.metrics.kbet import acceptances, kbet, kbet_overall, neighborhood

CELLS = made.cells()
POINTS = CELLS.points
LABELS, BATCHES = (CELLS.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))


@pytest.fixture(scope="module", params=oracles.SETS)
def case(request):
    return request.param, *oracles.cells(request.param, request)


def test_overall_it_is_scib_metrics(case):
    name, points, _, batches, _ = case
    assert kbet_overall(points, batches) == pytest.approx(oracles.told("scib-metrics", name)["kbet k=50"], abs=1e-9)


def test_by_label_it_is_the_same_test_in_each():
    each = []
    for label in np.unique(LABELS):
        points, batches = POINTS[label == LABELS], BATCHES[label == LABELS]
        far = np.square(points[:, None].astype(float) - points[None]).sum(-1)
        k = min(70, max(10, int(np.mean(np.unique(batches, return_counts=True)[1]) / 4)))
        expected = np.unique(batches, return_counts=True)[1] * k / len(batches)
        passed = [
            chisquare([(batches[near] == one).sum() for one in np.unique(batches)], expected).pvalue >= 0.05
            for near in np.argsort(far, axis=1, kind="stable")[:, :k]
        ]
        each.append(np.mean(passed))
    assert kbet(POINTS, LABELS, BATCHES) == pytest.approx(np.mean(each), abs=1e-12)


def test_neighbourhoods_are_scibs():
    batches = np.repeat(["a", "b"], 300)
    assert neighborhood(batches) == 70
    assert neighborhood(batches[200:400]) == 25
    assert neighborhood(batches[290:310]) == 10


def test_random_batches_pass_as_often_as_the_level_says():
    random = np.random.default_rng(1)
    points, batches = random.normal(size=(4000, 4)), random.choice(list("ab"), 4000)
    assert kbet(points, np.full(4000, "t"), batches) == pytest.approx(0.95, abs=0.03)


def test_a_difference_in_composition_is_no_batch_effect_by_label():
    """Batches with other shares of two types, each type mixed: overall it fails, by label it passes."""
    random = np.random.default_rng(2)
    labels = np.repeat(["a", "b"], 1000)
    batches = np.where(random.random(2000) < np.where(labels == "a", 0.8, 0.2), "x", "y")
    points = random.normal(size=(2000, 4)) + 50 * (labels == "a")[:, None]
    assert kbet(points, labels, batches) > 0.9
    assert kbet_overall(points, batches) < 0.1


def test_labels_too_small_or_of_one_batch_take_no_part():
    labels = LABELS.copy()
    labels[np.flatnonzero(LABELS == "t0")[9:]] = "t1"
    batches = np.where(LABELS == "t2", "b0", BATCHES)
    part = acceptances(POINTS, labels, batches)
    assert part.n_cells == 600 - 9 - 120
    assert np.isnan(part.per_group()[[0, 2]]).all()
    with pytest.raises(NotApplicable, match="no label has 10 cells"):
        kbet(POINTS, LABELS, LABELS)
    with pytest.raises(NotApplicable, match="1 distinct batch"):
        kbet_overall(POINTS, np.full(600, "b"))
