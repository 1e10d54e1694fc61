import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

import made
from cellgauge_tasks import NotApplicable, Space, batch_integration
from cellgauge_tasks.metrics import scib

CELLS = made.mixture(400, 12, types=4, batches=3)
POINTS, OBS = CELLS.points, CELLS.obs[["cell_type", "batch"]]
TASK = batch_integration.TASK
LOWER = {"pcr_batch"}


def named(scores):
    return {score.metric: score for score in scores}


def values(scores):
    return {score.metric: score.value for score in scores}


@pytest.fixture(scope="module")
def scores():
    return batch_integration.score(POINTS, OBS, unintegrated=CELLS.counts)


def same(one, other):
    assert one == other
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.interval.replicates, second.interval.replicates, equal_nan=True)
    for name, array in one.details.items():
        assert np.array_equal(array, other.details[name], equal_nan=array.dtype.kind == "f")


class TestScores:
    def test_are_every_metric(self, scores):
        assert list(named(scores)) == [
            "entropy_per_cell",
            "neighbor_entropy",
            "silhouette_batch",
            "bras",
            "ilisi",
            "kbet",
            "graph_connectivity",
            "pcr_batch",
            "pcr_comparison",
            "scib_bio",
            "scib_batch",
            "scib_total",
        ]
        assert set(TASK.headline) <= set(named(scores))
        assert {score.metric for score in scores if score.better == "lower"} == LOWER

    def test_have_intervals_around_them(self, scores):
        for score in scores:
            assert score.interval.low <= score.value + 1e-9, score.metric
            assert score.interval.high >= score.value - 1e-9, score.metric
            assert score.interval.high - score.interval.low < 0.3, score.metric
            assert (score.interval.unit, score.interval.n_units) == ("cells", 400)
        assert len({score.interval.resamples for score in scores}) == 1

    def test_sum_up_what_they_say_they_sum_up(self, scores):
        found, details = named(scores), scores.details
        members = dict(zip(details["scib/members"], details["scib/values"], strict=True))
        for metric, wanted in (("scib_bio", scib.BIO), ("scib_batch", scib.BATCH)):
            inside = found[metric].params["members"].split(", ")
            assert set(inside) <= set(wanted)
            assert found[metric].value == pytest.approx(np.mean([members[name] for name in inside]), abs=1e-12)
        assert set(found["scib_batch"].params["members"].split(", ")) == set(scib.BATCH)
        total = 0.6 * found["scib_bio"].value + 0.4 * found["scib_batch"].value
        assert found["scib_total"].value == pytest.approx(total, abs=1e-12)
        for metric in ("ilisi", "kbet", "silhouette_batch", "graph_connectivity"):
            assert members[metric] == found[metric].value

    def test_keep_the_labels_apart_in_details(self, scores):
        assert scores.details["labels"].tolist() == sorted(OBS["cell_type"].unique())
        for metric in ("silhouette_batch", "bras", "kbet", "graph_connectivity"):
            known = scores.details[f"{metric}/per_label"]
            assert np.nanmean(known) == pytest.approx(named(scores)[metric].value, abs=1e-12)

    def test_without_the_cells_before_integration_have_no_comparison(self, scores):
        found = batch_integration.score(POINTS, OBS)
        assert set(named(scores)) - set(named(found)) == {"pcr_comparison"}
        assert "pcr_comparison" not in named(found)["scib_batch"].params["members"]

    def test_of_donors_are_drawn_by_donor(self):
        obs = OBS.assign(donor=[f"d{n % 7}" for n in range(400)])
        assert {(one.interval.unit, one.interval.n_units) for one in batch_integration.score(POINTS, obs)} == {
            ("donors", 7)
        }

    def test_tell_before_what_they_will_ask(self):
        space = Space(POINTS)
        batch_integration.expect(space, OBS)
        same(batch_integration.score(space, OBS), batch_integration.score(POINTS, OBS))


class TestControls:
    @pytest.mark.filterwarnings("ignore::cellgauge_tasks.Caveat")  # as is right: no types are kept here
    def test_are_the_ends_on_made_cells(self, scores):
        ends = [named(batch_integration.score(TASK.controls[one](OBS, 1), OBS)) for one in ("positive", "negative")]
        for metric, score in named(scores).items():
            # Two types are not in every batch here, and what mixes types then mixes batches more than the truth does.
            if metric not in (*LOWER, "pcr_comparison", "entropy_per_cell", "neighbor_entropy"):
                assert ends[1][metric].value < score.value <= ends[0][metric].value, metric

    @pytest.mark.parametrize("name", ["pancreas_5tech_panc8", "pbmc_8donors_kang_ctrl"])
    def test_are_the_ends_on_real_cells(self, name, real_data):
        cells = made.real(real_data / f"{name}.h5ad", 400)
        kept = np.random.default_rng(0).permutation(len(cells.points))[:800]
        points, obs = PCA(30, random_state=0).fit_transform(cells.points[kept]), cells.obs.iloc[kept]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best, found, worst = (
                values(batch_integration.score(one, obs))
                for one in (TASK.controls["positive"](obs, 3), points, TASK.controls["negative"](obs, 3))
            )
        for metric in found.keys() - LOWER:
            # Entropy knows no types: what mixes a few of them mixes their batches a little more than the truth does.
            assert worst[metric] < found[metric] < best[metric] + 0.01 * ("entropy" in metric), metric

    def test_are_the_same_with_the_same_seed(self):
        make = TASK.controls["positive"]
        assert (make(OBS, 1) == make(OBS, 1)).all()
        assert (make(OBS, 1) != make(OBS, 2)).any()


class TestInput:
    def test_in_another_order_gives_the_same(self, scores):
        order = np.random.default_rng(0).permutation(400)
        found = values(batch_integration.score(POINTS[order], OBS.iloc[order], unintegrated=CELLS.counts[order]))
        for metric, value in values(scores).items():
            # Leiden goes through the cells in their order, and finds other clusters.
            most = 0.05 if metric in ("scib_bio", "scib_total") else 1e-6
            assert found[metric] == pytest.approx(value, abs=most), metric

    def test_under_other_names_gives_the_same(self, scores):
        renamed = OBS.replace({f"batch{n}": f"{9 - n} x" for n in range(3)}).replace(
            {f"type0{n}": f"{9 - n} y" for n in range(4)}
        )
        found = values(batch_integration.score(POINTS, renamed, unintegrated=CELLS.counts))
        assert found == pytest.approx(values(scores), abs=1e-9)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_gives_the_same_whatever_the_threads(self, scores, threads):
        with threadpool_limits(threads):
            same(batch_integration.score(POINTS, OBS, unintegrated=CELLS.counts), scores)

    def test_sparse_or_wider_gives_the_same(self, scores):
        same(batch_integration.score(sp.csr_matrix(POINTS), OBS, unintegrated=sp.csr_matrix(CELLS.counts)), scores)
        found = values(batch_integration.score(POINTS.astype(np.float64), OBS, unintegrated=CELLS.counts))
        assert found == pytest.approx(values(scores), abs=1e-6)

    def test_in_float16_is_defined(self):
        found = batch_integration.score(POINTS.astype(np.float16), OBS)
        assert all(np.isfinite(one.value) for one in found)

    def test_without_a_batch_takes_no_part(self):
        obs = OBS.copy()
        obs.loc[obs.index[::5], "batch"] = None
        kept = np.arange(400) % 5 != 0
        found = batch_integration.score(POINTS, obs, unintegrated=CELLS.counts)
        same(found, batch_integration.score(POINTS[kept], OBS[kept], unintegrated=CELLS.counts[kept]))

    def test_is_left_alone(self):
        points, obs = POINTS.copy(), OBS.copy()
        batch_integration.score(points, obs)
        assert (points == POINTS).all()
        pd.testing.assert_frame_equal(obs, OBS)

    @pytest.mark.filterwarnings("ignore::cellgauge_tasks.Caveat")  # as is right: no types are kept here
    def test_of_all_cells_in_one_place_has_a_value_or_a_reason(self):
        with pytest.warns(UserWarning, match="pcr_batch is left out: all cells are in one place"):
            found = values(batch_integration.score(np.full((400, 5), 0.1, dtype=np.float32), OBS))
        assert all(np.isfinite(one) for one in found.values())
        assert found["silhouette_batch"] == found["bras"] == 1

    def test_of_every_cell_twice_is_defined(self):
        found = batch_integration.score(np.repeat(POINTS[:150], 2, axis=0), OBS[:150].loc[OBS.index[:150].repeat(2)])
        assert all(np.isfinite(one.value) for one in found)

    def test_of_one_batch_does_not_apply(self):
        with pytest.raises(NotApplicable, match=r"1 distinct batch\(s\) among 400 cells"):
            batch_integration.score(POINTS, OBS.assign(batch="b"))

    def test_of_one_type_has_batches_alone(self):
        with pytest.warns(UserWarning, match="scib_bio and scib_total are left out: all cells have one cell_type"):
            found = named(batch_integration.score(POINTS, OBS.assign(cell_type="t")))
        assert {"scib_batch", "kbet", "silhouette_batch"} <= set(found)
        assert not {"scib_bio", "scib_total"} & set(found)

    def test_of_types_with_a_batch_each_leaves_out_what_is_undefined(self):
        with pytest.warns(UserWarning, match="is left out") as told:
            found = named(batch_integration.score(POINTS, OBS.assign(batch=OBS["cell_type"])))
        assert [str(one.message).split(":")[0] for one in told] == [
            "silhouette_batch is left out",
            "bras is left out",
            "kbet is left out",
        ]
        assert found["scib_batch"].params["members"] == "ilisi, graph_connectivity"

    @pytest.mark.parametrize("n", [2, 3, 5, 12, 40])
    def test_of_few_cells_has_a_value_or_a_reason(self, n):
        obs = {"cell_type": np.array(["a", "b"] * n)[:n], "batch": np.array(["x", "x", "y"] * n)[:n]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                found = batch_integration.score(POINTS[:n], obs)
            except NotApplicable:
                assert n == 2
                return
        assert found
        assert all(np.isfinite(one.value) for one in found)
        if n < 40:
            assert named(found)["entropy_per_cell"].params["k"] < n

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_that_is_no_number_is_refused(self, value):
        points = POINTS.copy()
        points[3, 3] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            batch_integration.score(points, OBS)
        with pytest.raises(ValueError, match="NaN or infinite"):
            batch_integration.score(POINTS, OBS, unintegrated=points)

    def test_of_other_lengths_is_refused(self):
        with pytest.raises(ValueError, match="does not fit"):
            batch_integration.score(POINTS[:-1], OBS)
        with pytest.raises(ValueError, match="does not fit"):
            batch_integration.score(POINTS, OBS, unintegrated=CELLS.counts[:-1])
