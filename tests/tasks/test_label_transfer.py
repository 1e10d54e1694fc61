import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import made
from cellgauge_tasks import NotApplicable, label_transfer
from cellgauge_tasks.metrics.classification import forest

CELLS = made.mixture(600, 10, types=4, batches=3)
POINTS = CELLS.points
TYPES, BATCHES = CELLS.obs["cell_type"].to_numpy(str), CELLS.obs["batch"].to_numpy(str)
GIVEN = {"cell_type": TYPES, "batch": BATCHES}


def value(scores, metric, classifier, train):
    (found,) = [
        one.value
        for one in scores
        if (one.metric, one.params["classifier"], one.params["train"]) == (metric, classifier, train)
    ]
    return found


@pytest.fixture(scope="module")
def scores():
    kept = np.isin(TYPES, ["type00", "type01"])
    return label_transfer.score(POINTS[kept], {name: column[kept] for name, column in GIVEN.items()})


def knn(train, test):
    kept = np.isin(TYPES, ["type00", "type01"])
    points, types, batches = POINTS[kept].astype(float), TYPES[kept], BATCHES[kept]
    model = make_pipeline(StandardScaler(), KNeighborsClassifier())
    known = np.isin(batches, train)
    return model.fit(points[known], types[known]).score(points[batches == test], types[batches == test])


class TestScores:
    def test_are_means_over_the_batch_that_was_left_out(self, scores):
        names = sorted(set(BATCHES))
        each = [knn([one for one in names if one != test], test) for test in names]
        assert value(scores, "accuracy", "knn", "others") == pytest.approx(np.mean(each), abs=1e-12)
        assert scores.details["knn/accuracy/per_fold"] == pytest.approx(each, abs=1e-12)
        assert scores.details["tested"].tolist() == names

    def test_are_means_over_pairs_of_batches_too(self, scores):
        names = sorted(set(BATCHES))
        pairs = [[knn([train], test) if train != test else np.nan for test in names] for train in names]
        assert value(scores, "accuracy", "knn", "one") == pytest.approx(np.nanmean(pairs), abs=1e-12)
        assert scores.details["knn/accuracy/pairs"] == pytest.approx(np.array(pairs), abs=1e-12, nan_ok=True)

    def test_have_intervals_over_cells_where_batches_are_few(self, scores):
        assert {one.interval.unit for one in scores} == {"cells"}
        assert all(one.interval.low < one.value < one.interval.high for one in scores)

    def test_have_intervals_over_batches_where_there_are_five(self):
        batches = np.arange(600) % 8
        types = np.array(["a", "b"])[np.arange(600) // 8 % 2]
        found = label_transfer.score(POINTS, {"cell_type": types, "batch": batches})
        assert {(one.interval.unit, one.interval.n_units) for one in found} == {("batches", 8)}
        assert {one.params["train"] for one in found} == {"others"}  # 56 pairs would be many

    def test_forest_and_donors_on_demand(self, monkeypatch):
        monkeypatch.setattr(forest, "TREES", 10)
        obs = {"cell_type": np.array(["a", "b"])[np.arange(600) % 2], "donor": np.arange(600) // 2 % 3}
        found = label_transfer.score(POINTS, obs, group="donor", classifiers=("random_forest",))
        assert {one.params["classifier"] for one in found} == {"random_forest", "mean"}


class TestLabelsThatDiffer:
    def test_those_of_one_batch_alone_do_not_count_and_are_told(self):
        types = np.array(["a", "b"])[np.arange(600) % 2]
        types[(np.arange(600) % 30 == 0)] = "own"
        batches = np.where(types == "own", 0, np.arange(600) // 2 % 3)
        with pytest.warns(UserWarning, match=r"3.3% of the cells have a label that no other batch has"):
            found = label_transfer.score(POINTS, {"cell_type": types, "batch": batches})
        assert {one.n_cells for one in found} == {580}
        assert found.details["unseen"] == pytest.approx(20 / 600)

    def test_a_batch_with_too_little_in_common_is_left_out(self):
        types = np.array(["a", "b"])[np.arange(600) % 2]
        batches = np.arange(600) // 2 % 3
        types[batches == 2] = "c"
        with pytest.warns(UserWarning, match="too few cells or labels shared with the others in batch 2"):
            found = label_transfer.score(POINTS, {"cell_type": types, "batch": batches})
        assert found.details["tested"].tolist() == ["0", "1"]

    def test_nothing_in_common_does_not_apply(self):
        batches = np.arange(600) % 3
        types = np.array(["a", "b", "c"])[batches]
        with pytest.raises(NotApplicable, match="no batch of 3 shares 10 cells and 2 labels with the others"):
            label_transfer.score(POINTS, {"cell_type": types, "batch": batches})

    def test_one_batch_or_label_does_not_apply(self):
        with pytest.raises(NotApplicable, match="1 distinct batch"):
            label_transfer.score(POINTS, {"cell_type": TYPES, "batch": ["x"] * 600})
        with pytest.raises(NotApplicable, match="1 distinct label"):
            label_transfer.score(POINTS, {"cell_type": ["x"] * 600, "batch": BATCHES})
        rare = np.array(["a"] * 591 + ["b"] * 9)
        with pytest.raises(NotApplicable, match="fewer than 2 labels have 10 cells"):
            label_transfer.score(POINTS, {"cell_type": rare, "batch": BATCHES})


def test_real_technologies(real_data):
    cells = made.real(real_data / "pancreas_5tech_panc8.h5ad")
    obs = cells.obs[["cell_type", "batch"]]
    kept = np.isin(obs["cell_type"], ["alpha", "beta", "ductal", "acinar"])
    found = label_transfer.score(cells.points[kept], obs[kept])
    assert 0.5 < value(found, "accuracy", "mean", "others") < 1
