import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import made
from cellgauge_tasks import NotApplicable, Space, cross_species_integration
from cellgauge_tasks.metrics.silhouette import silhouette_batch

TASK = cross_species_integration.TASK
HUMAN, MOUSE = made.cells(0), made.cells(1)
POINTS = np.concatenate([HUMAN.points, MOUSE.points])
OBS = pd.concat([HUMAN.obs.assign(organism="Homo sapiens"), MOUSE.obs.assign(organism="Mus musculus")])


def named(scores):
    return {score.metric: score for score in scores}


def test_is_cz_benchmarks():
    """Theirs on the same two sets, in float32; its neighbours are approximate, and of so few cells nearly exact."""
    found = named(cross_species_integration.score(POINTS, OBS))
    assert found["entropy_per_cell"].value == pytest.approx(0.9748219801, abs=1e-6)
    assert found["silhouette_batch"].value == pytest.approx(0.9625552297, abs=1e-6)


def test_is_that_of_batches():
    labels, species = (OBS[role].to_numpy(dtype=str) for role in ("cell_type", "organism"))
    found = named(cross_species_integration.score(POINTS, OBS))
    assert found["silhouette_batch"].value == silhouette_batch(POINTS, labels, species)
    assert set(TASK.headline) <= set(found)


def test_the_order_of_the_species_does_not_matter():
    order = np.r_[600:1200, 0:600]
    found = cross_species_integration.score(POINTS[order], OBS.iloc[order])
    for one, other in zip(found, cross_species_integration.score(POINTS, OBS), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-9)


def test_donors_of_two_species_are_two_though_they_have_one_name():
    obs = OBS.assign(donor=[f"donor{n % 4}" for n in range(1200)])
    found = cross_species_integration.score(POINTS, obs)
    assert {(one.interval.unit, one.interval.n_units) for one in found} == {("donors", 8)}


@pytest.mark.filterwarnings("ignore::cellgauge_tasks.Caveat")  # as is right: no types are kept here
def test_controls_are_the_ends_on_real_cells(real_data):
    cells = made.real(real_data / "pancreas_baron_human_mouse.h5ad", 400)
    obs = cells.obs.assign(organism=cells.obs["species"])
    points = PCA(30, random_state=0).fit_transform(cells.points)
    best, found, worst = (
        named(cross_species_integration.score(one, obs))
        for one in (TASK.controls["positive"](obs, 1), points, TASK.controls["negative"](obs, 1))
    )
    for metric in found:
        assert worst[metric].value < found[metric].value < best[metric].value, metric
        assert found[metric].interval.unit == "donors"


def test_a_type_of_one_species_takes_no_part_in_silhouettes():
    obs = OBS.copy()
    obs.loc[(obs["organism"] == "Homo sapiens") & (obs["cell_type"] == "t0"), "cell_type"] = "human only"
    found = cross_species_integration.score(POINTS, obs)
    assert named(found)["silhouette_batch"].n_cells == 960
    assert np.isnan(found.details["silhouette_batch/per_label"]).sum() == 2


def test_one_species_does_not_apply():
    with pytest.raises(NotApplicable, match="1 distinct organism"):
        cross_species_integration.score(POINTS, OBS.assign(organism="Homo sapiens"))


def test_no_type_in_common_leaves_silhouettes_out():
    labels = OBS["cell_type"] + OBS["organism"]
    with pytest.warns(UserWarning, match="is left out: no label has cells of several batches"):
        found = named(cross_species_integration.score(POINTS, OBS.assign(cell_type=labels)))
    assert set(found) == {"entropy_per_cell", "neighbor_entropy", "ilisi"}


def test_it_tells_before_what_it_will_ask():
    space = Space(POINTS)
    cross_species_integration.expect(space, OBS)
    assert cross_species_integration.score(space, OBS) == cross_species_integration.score(POINTS, OBS)


@pytest.mark.parametrize("n", [3, 10, 50])
def test_few_cells_have_a_value_or_a_reason(n):
    obs = {"cell_type": ["a"] * n, "organism": (["x", "y"] * n)[:n]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = cross_species_integration.score(POINTS[:n], obs)
    assert found
    assert all(np.isfinite(one.value) for one in found)
