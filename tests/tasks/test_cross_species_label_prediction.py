import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import made
from cellgauge_tasks import NotApplicable, cross_species_label_prediction
from cellgauge_tasks.metrics.classification import forest

ORACLE = json.loads((Path(__file__).parent / "oracles" / "cz-benchmarks.json").read_text())["values"]["two species"]
THEIRS = ORACLE["cross_species_label_prediction"]
SHORT = {"lr": "logistic_regression", "knn": "knn", "rf": "random_forest", "MEAN(lr,knn,rf)": "mean"}


def two_species():
    one, other = made.cells(0), made.cells(1)
    types = [*one.obs["cell_type"], *other.obs["cell_type"]]
    obs = pd.DataFrame({"cell_type": types, "organism": ["homo_sapiens"] * 600 + ["mus_musculus"] * 600})
    return np.concatenate([one.points, other.points]), obs


def named(scores, **more):
    return {
        (one.metric, one.params["classifier"], one.params["train"], one.params["test"]): one
        for one in scores
        if "train" in one.params and one.params.get("aggregation") == more.get("aggregation")
    }


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(forest, "TREES", 5)


@pytest.fixture(scope="module")
def scores():
    return cross_species_label_prediction.score(*two_species())


@pytest.mark.parametrize("name", THEIRS)
def test_is_as_cz_benchmarks_says(scores, name):
    metric, *params = name.removeprefix("mean_fold_").split(" ")
    told = dict(one.split("=") for one in params)
    found = named(scores)[metric, SHORT[told["classifier"]], told["train_species"], told["test_species"]]
    # Their logistic regression stops before ours: some ranks differ, and with them AUROC.
    tolerance = 1e-9 if metric != "auroc" or told["classifier"] in ("knn", "rf") else 1e-4
    assert found.value == pytest.approx(THEIRS[name], abs=tolerance)


class TestScores:
    def test_begin_with_the_mean_over_pairs_of_species(self, scores):
        first = next(one for one in scores if (one.metric, one.params["classifier"]) == ("accuracy", "mean"))
        assert first.params["species"] == "different"
        pairs = [("homo_sapiens", "mus_musculus"), ("mus_musculus", "homo_sapiens")]
        each = [named(scores)["accuracy", "mean", *pair].value for pair in pairs]
        assert first.value == pytest.approx(np.mean(each), abs=1e-12)
        assert (first.n_cells, first.interval.low < first.value < first.interval.high) == (1200, True)

    def test_keep_confusions_of_each_pair(self, scores):
        assert scores.details["homo_sapiens to mus_musculus/knn/confusion"].sum() == 600
        assert scores.details["mus_musculus to mus_musculus/knn/confusion"].sum() == 600

    def test_species_may_be_many(self, quick):
        points, obs = two_species()
        obs["organism"] = np.array(["a", "b", "c"])[np.arange(1200) % 3]
        found = named(cross_species_label_prediction.score(points, obs))
        assert len(found) == 9 * 20


class TestTheirBugs:
    """Each of them is one of cz-benchmarks 0.15's."""

    def test_labels_that_training_lacks_are_left_out_and_told(self, quick):
        points, obs = two_species()
        obs.loc[600:650, "cell_type"] = "new"
        with pytest.warns(UserWarning, match="51 of 600 have a label that homo_sapiens lacks"):
            found = named(cross_species_label_prediction.score(points, obs))
        assert found["auroc", "knn", "homo_sapiens", "mus_musculus"].n_cells == 549

    def test_without_donors_there_is_no_aggregation_and_no_error(self, scores):
        assert {one.params.get("aggregation") for one in scores} == {None}

    @pytest.mark.parametrize("how", ["mean", "median"])
    def test_donors_are_aggregated_whatever_cells_are_called(self, quick, how):
        points, obs = two_species()
        obs["donor"] = [f"d{n}" for n in np.arange(1200) // 60]
        obs.index = [f"barcode{n}" for n in range(1200)]
        found = cross_species_label_prediction.score(points, obs, aggregations=[how])
        by_donor = named(found, aggregation=how)
        assert by_donor["accuracy", "knn", "homo_sapiens", "mus_musculus"].n_cells == 50  # 10 donors x 5 types
        assert by_donor["accuracy", "knn", "homo_sapiens", "homo_sapiens"].value > 0.8
        shuffled = np.random.default_rng(0).permutation(1200)
        again = cross_species_label_prediction.score(points[shuffled], obs.iloc[shuffled], aggregations=[how])
        key = ("accuracy", "knn", "homo_sapiens", "mus_musculus")
        assert named(again, aggregation=how)[key].value == by_donor[key].value

    def test_two_types_are_averaged_like_many(self, quick):
        points, obs = two_species()
        obs["cell_type"] = np.where(np.arange(1200) % 5 < 4, "a", "b")
        found = cross_species_label_prediction.score(points, obs)
        kept = found.details["homo_sapiens to mus_musculus/knn/f1/per_class"]
        assert named(found)["f1", "knn", "homo_sapiens", "mus_musculus"].value == pytest.approx(kept.mean())

    def test_cells_of_one_organism_are_one_species(self):
        points, obs = two_species()
        with pytest.raises(NotApplicable, match="1 distinct organism"):
            cross_species_label_prediction.score(points, obs.assign(organism="homo_sapiens"))

    def test_the_callers_obs_is_left_alone(self, quick):
        points, obs = two_species()
        before = obs.copy()
        cross_species_label_prediction.score(points, obs)
        pd.testing.assert_frame_equal(obs, before)


def test_nothing_in_common_does_not_apply(quick):
    points, obs = two_species()
    obs["cell_type"] = obs["organism"].str[:1] + obs["cell_type"]
    with (
        pytest.raises(NotApplicable, match="no two of homo_sapiens, mus_musculus have 2 labels of 10 cells in common"),
        pytest.warns(UserWarning, match="0 labels in common"),
    ):
        cross_species_label_prediction.score(points, obs)


def test_real_pancreas(quick, real_data):
    cells = made.real(real_data / "pancreas_baron_human_mouse.h5ad")
    obs = cells.obs[["cell_type", "species", "donor"]].rename(columns={"species": "organism"})
    found = cross_species_label_prediction.score(cells.points, obs, aggregations=("none", "mean"))
    human, mouse = sorted(set(obs["organism"]))
    assert named(found)["accuracy", "mean", human, human].value > 0.8
    assert 0.2 < named(found)["accuracy", "mean", human, mouse].value < 1
    assert ("accuracy", "mean", human, mouse) in named(found, aggregation="mean")
