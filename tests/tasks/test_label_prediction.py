import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import made
from cellgauge_tasks import NotApplicable, Space, label_prediction
from cellgauge_tasks.metrics.classification import forest

CELLS = made.mixture(400, 10, types=4, batches=3)
POINTS, OBS = CELLS.points, CELLS.obs[["cell_type"]]
TASK = label_prediction.TASK


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(forest, "TREES", 20)


@pytest.fixture(scope="module")
def scores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "TREES", 20)
        return label_prediction.score(POINTS, OBS)


def values(scores, **params):
    return {
        (one.metric, one.params["classifier"]): one.value
        for one in scores
        if {name: value for name, value in one.params.items() if name not in ("classifier", "forest")} == params
    }


class TestScores:
    def test_are_five_metrics_of_three_classifiers_and_their_mean(self, scores):
        found = values(scores)
        assert len(found) == len(scores) == 20
        for metric in ("accuracy", "f1", "precision", "recall", "auroc"):
            each = [found[metric, name] for name in ("logistic_regression", "knn", "random_forest")]
            assert found[metric, "mean"] == pytest.approx(np.mean(each), abs=1e-12)

    def test_have_intervals_around_them(self, scores):
        for one in scores:
            assert one.interval.low < one.value < one.interval.high
            assert (one.interval.unit, one.interval.n_units, one.n_cells) == ("cells", 400, 400)
            assert len(one.interval.replicates) == 200

    def test_intervals_are_as_wide_as_accuracy_varies(self, scores):
        accuracy = next(one for one in scores if one.metric == "accuracy")
        spread = np.sqrt(accuracy.value * (1 - accuracy.value) / 400)
        assert np.std(accuracy.interval.replicates) == pytest.approx(spread, rel=0.25)

    def test_say_which_forest_it_was(self, scores):
        assert {one.params.get("forest") for one in scores if one.params["classifier"] == "random_forest"} == {"exact"}
        assert {one.params.get("forest") for one in scores if one.params["classifier"] == "knn"} == {None}

    def test_details_are_kept(self, scores):
        kept = scores.details
        assert kept["classes"].tolist() == sorted(set(OBS["cell_type"]))
        for name in ("logistic_regression", "knn", "random_forest"):
            assert kept[f"{name}/confusion"].sum() == 400
            right = np.diag(kept[f"{name}/confusion"]).sum() / 400
            assert right == pytest.approx(values(scores)["accuracy", name], abs=1e-12)  # folds are of one size
            assert kept[f"{name}/recall/per_class"].mean() == pytest.approx(values(scores)["recall", name], abs=1e-9)
            assert kept[f"{name}/f1/per_fold"].mean() == pytest.approx(values(scores)["f1", name], abs=1e-12)

    def test_depend_on_the_seed_alone(self, scores):
        again = label_prediction.score(Space(POINTS), OBS)
        assert again == scores
        for one, other in zip(scores, again, strict=True):
            assert (one.interval.replicates == other.interval.replicates).all()
        assert label_prediction.score(POINTS, OBS, seed=1) != scores


@pytest.fixture(scope="module")
def found():
    """With eight donors."""
    donors = np.array([f"d{n}" for n in np.arange(400) % 8])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "TREES", 20)
        return label_prediction.score(POINTS, OBS.assign(donor=donors))


class TestDonors:
    def test_never_replace_the_plain_scores(self, found, scores):
        assert values(found) == values(scores)
        assert len(values(found, folds="donor")) == 20
        assert found[0].params == {"classifier": "logistic_regression"}

    def test_are_what_intervals_are_over(self, found):
        assert {(one.interval.unit, one.interval.n_units) for one in found} == {("donors", 8)}

    def test_have_details_of_their_own(self, found):
        assert found.details["by_donor/knn/confusion"].sum() == 400

    def test_that_are_few_change_nothing(self, scores):
        donors = np.array(["d1", "d2"])[np.arange(400) % 2]
        assert label_prediction.score(POINTS, OBS.assign(donor=donors)) == scores

    def test_who_alone_have_a_label_are_told(self):
        labels = OBS["cell_type"].to_numpy(str).copy()
        donors = np.arange(400) % 8
        labels[donors == 7] = "own"
        with pytest.warns(
            UserWarning, match="50 of 400 cells have a label that no other fold has, with folds by donor"
        ):
            found = label_prediction.score(POINTS, {"cell_type": labels, "donor": donors.astype(str)})
        assert {one.n_cells for one in found if one.params.get("folds") == "donor"} == {350}


class TestOddInput:
    def test_small_classes_are_left_out(self):
        labels = ["a"] * 200 + ["b"] * 191 + ["rare"] * 9
        assert {one.n_cells for one in label_prediction.score(POINTS, {"cell_type": labels})} == {391}
        with pytest.raises(NotApplicable, match="fewer than 2 classes have 10 cells"):
            label_prediction.score(POINTS, {"cell_type": ["a"] * 391 + ["rare"] * 9})

    def test_one_label_does_not_apply(self):
        with pytest.raises(NotApplicable, match="1 distinct label"):
            label_prediction.score(POINTS, {"cell_type": ["a"] * 400})

    @pytest.mark.parametrize("many", [False, True])
    def test_a_constant_embedding_is_chance(self, many, monkeypatch):
        if many:
            monkeypatch.setattr(forest, "BINNED", 0)
        found = values(label_prediction.score(np.ones((400, 3)), OBS))
        assert found["auroc", "mean"] == pytest.approx(0.5, abs=0.05)
        assert found["recall", "logistic_regression"] == pytest.approx(0.25)

    def test_the_kind_of_number_does_not_matter(self):
        coarse = POINTS.astype(np.float16)
        first = values(label_prediction.score(coarse.astype(np.float32), OBS))
        for other in (coarse, coarse.astype(np.float64), sp.csr_matrix(coarse.astype(np.float32))):
            assert values(label_prediction.score(other, OBS)) == pytest.approx(first, abs=0.01)

    def test_duplicated_cells_and_no_value(self):
        twice = np.repeat(POINTS[:200], 2, axis=0)
        found = label_prediction.score(twice, {"cell_type": np.repeat(OBS["cell_type"][:200], 2)})
        assert all(np.isfinite(one.value) for one in found)
        broken = POINTS.copy()
        broken[3, 3] = np.inf
        with pytest.raises(ValueError, match="NaN or infinite"):
            label_prediction.score(broken, OBS)

    def test_too_many_cells_are_drawn_from(self, monkeypatch):
        monkeypatch.setattr(label_prediction, "MOST", 300)
        found = label_prediction.score(POINTS, OBS)
        assert {one.n_cells for one in found} <= set(range(280, 301))
        assert found == label_prediction.score(POINTS, OBS)

    def test_controls_are_at_the_ends(self):
        truth, chance = (TASK.controls[kind](OBS, 0) for kind in ("positive", "negative"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert min(values(label_prediction.score(truth, OBS)).values()) == 1
            assert (
                max(value for (name, _), value in values(label_prediction.score(chance, OBS)).items() if name == "f1")
                < 0.4
            )


def test_real_cells(real_data):
    cells = made.real(real_data / "pbmc_3tech_10x.h5ad")
    found = values(label_prediction.score(cells.points, pd.DataFrame({"cell_type": cells.obs["cell_type"]})))
    assert 0.8 < found["accuracy", "mean"] < 1
