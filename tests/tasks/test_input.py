import re

import anndata
import numpy as np
import pandas as pd
import pytest

import made
from cellgauge_tasks import NotApplicable, clustering, cross_species_label_prediction, sequential_organization
from cellgauge_tasks._input import cells, donors_apart
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.classification import forest

CELLS = made.cells()


def test_a_donor_that_some_cells_lack_is_left_out_with_a_warning():
    donors = [f"d{n % 7}" for n in range(600)]
    whole = cells(CELLS.points, {**CELLS.obs, "donor": donors}, "cell_type", optional=("donor",))[1]
    assert "donor" in whole
    with pytest.warns(UserWarning, match="donor is left out: 1 of 600 cells have none"):
        found = cells(CELLS.points, {**CELLS.obs, "donor": [None, *donors[1:]]}, "cell_type", optional=("donor",))[1]
    assert "donor" not in found


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "", "<NA>"])
def test_a_label_that_reads_like_none_counts_and_is_warned_of(text):
    labels = [*[text] * 40, *CELLS.obs["cell_type"][40:]]
    told = f"cell_type is '{text}' for 40 of 600 cells, which count as labels: make NaN of them"
    for kind in (list, pd.Categorical, lambda given: pd.array(given, dtype="string")):
        with pytest.warns(UserWarning, match=re.escape(told)):
            found = cells(CELLS.points, {"cell_type": kind(labels)}, "cell_type")[1]
        assert (found["cell_type"] == text).sum() == 40
    assert len(cells(CELLS.points, {"cell_type": [*[None] * 40, *labels[40:]]}, "cell_type")[0]) == 560


def test_donors_of_one_name_in_two_species_are_two():
    known = {"donor": np.array(["a", "a", "b", "a"]), "organism": np.array(["human", "mouse", "human", "human"])}
    assert len(np.unique(donors_apart(known))) == 3
    assert donors_apart({"organism": known["organism"]}) is None


def test_an_interval_holds_its_value_even_where_draws_are_of_another_kind():
    labels = ["a", "b"] * 6
    for score in clustering.score(np.ones((12, 3)), {"cell_type": labels}):
        assert score.interval.low <= score.value <= score.interval.high
    draws = Resamples(12)
    assert draws.interval(np.r_[np.zeros(100), np.ones(100)], 0.0).low <= 0


def test_draws_are_the_same_kept_or_drawn_again(monkeypatch):
    kept = [block.copy() for block in Resamples(50, seed=4).weights()]
    monkeypatch.setattr("cellgauge_tasks._resample.KEPT", 0)
    assert all(np.array_equal(*both) for both in zip(kept, Resamples(50, seed=4).weights(), strict=True))


def test_one_time_in_two_spellings_is_one():
    with pytest.raises(NotApplicable, match="1 distinct time"):
        sequential_organization.score(CELLS.points, {"time": ["1", "1.0"] * 300})


def test_rare_labels_are_left_out_of_donors_means_too():
    labels = np.where(np.arange(600) < 3, "rare", CELLS.obs["cell_type"])
    obs = {
        "cell_type": labels,
        "organism": np.where(np.arange(600) % 2, "human", "mouse"),
        "donor": [f"d{n % 12}" for n in range(600)],
    }
    found = cross_species_label_prediction.score(CELLS.points, obs, aggregations=("mean",))
    assert all("rare" not in names for name, names in found.details.items() if name.endswith("classes"))


def test_a_score_says_which_forest_it_is_of(monkeypatch):
    monkeypatch.setattr(forest, "BINNED", 500)
    obs = {"cell_type": CELLS.obs["cell_type"], "organism": np.where(np.arange(600) % 2, "human", "mouse")}
    found = cross_species_label_prediction.score(CELLS.points, obs, aggregations=("none",))
    assert {one.params["forest"] for one in found if one.params["classifier"] == "random_forest"} == {"binned"}


def test_rows_that_are_named_in_another_order_are_refused():
    points = pd.DataFrame(CELLS.points, index=CELLS.obs.index)
    found = clustering.score(points, CELLS.obs)
    assert found[0].value == clustering.score(CELLS.points, CELLS.obs)[0].value
    with pytest.raises(ValueError, match=r"try embedding.loc\[obs.index\]"):
        clustering.score(points[::-1], CELLS.obs)


@pytest.mark.parametrize("frame", [False, True])
def test_columns_that_are_named_in_another_order_are_refused(frame):
    points = pd.DataFrame(CELLS.points, index=CELLS.obs.index) if frame else CELLS.points
    types, batches = CELLS.obs["cell_type"], CELLS.obs["batch"]
    shuffled = types.sample(frac=1, random_state=1)
    clustering.score(points, {"cell_type": types, "batch": batches})
    with pytest.raises(ValueError, match="are not named alike, in one order; reindex one by the other"):
        clustering.score(points, {"cell_type": shuffled, "batch": batches})
    if frame:
        with pytest.raises(ValueError, match=r"the embedding's rows and obs\['cell_type'\] are not named alike"):
            clustering.score(points, {"cell_type": shuffled})
    assert clustering.score(points, {"cell_type": types.to_numpy()})[0].value > 0


def test_an_anndata_is_refused_at_once():
    with pytest.raises(ValueError, match=r"give one: adata.obsm\['X_pca'\]"):
        clustering.score(anndata.AnnData(CELLS.points), CELLS.obs)


def test_intervals_stay_in_the_range_that_samples_keep_to():
    draws = Resamples(20)
    replicates = np.r_[np.full(60, 0.2), np.full(140, 1.0)]
    assert draws.interval(replicates, 0.95).high == 1.0
    assert draws.interval(replicates - 0.9, -0.9).low == -1.0
    assert draws.interval(replicates * 9, 8.0).high > 9.0


def test_donors_are_drawn_only_where_the_tested_species_has_enough():
    species = np.where(np.arange(600) < 300, "human", "mouse")
    donors = [f"d{n % 7}" if n < 300 else f"m{n % 2}" for n in range(600)]
    obs = {"cell_type": CELLS.obs["cell_type"], "organism": species, "donor": donors}
    found = cross_species_label_prediction.score(CELLS.points, obs, aggregations=("none",))
    units = {(one.params.get("test"), one.interval.unit) for one in found if "test" in one.params}
    assert units == {("human", "donors"), ("mouse", "cells")}
