import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.metrics.pairwise import cosine_distances

import made
import oracles
from cellgauge_tasks import NotApplicable, Space
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics import silhouette
from cellgauge_tasks.metrics.silhouette import (
    bras,
    isolated_asw,
    isolated_labels,
    isolated_widths,
    silhouette_batch,
    silhouette_cells,
    silhouette_label,
)

CELLS = made.cells()
MANY = made.mixture(2000, 16)
POINTS = CELLS.points
LABELS, BATCHES = (CELLS.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))


@pytest.fixture(scope="module", params=oracles.SETS)
def case(request):
    return request.param, *oracles.cells(request.param, request)


class TestPeers:
    """Theirs are in float32, hence 1e-6."""

    def test_label(self, case):
        name, points, labels, _, _ = case
        found = silhouette_label(points, labels)
        assert found == pytest.approx(oracles.told("scib-metrics", name)["silhouette_label"], abs=1e-6)
        assert found == pytest.approx(oracles.told("scib", name)["silhouette"], abs=1e-6)

    def test_batch(self, case):
        name, points, labels, batches, _ = case
        found = silhouette_batch(points, labels, batches)
        assert found == pytest.approx(oracles.told("scib-metrics", name)["silhouette_batch"], abs=1e-6)
        assert found == pytest.approx(oracles.told("scib", name)["silhouette_batch"], abs=1e-6)

    def test_bras(self, case):
        name, points, labels, batches, _ = case
        assert bras(points, labels, batches) == pytest.approx(oracles.told("scib-metrics", name)["bras"], abs=1e-6)

    def test_isolated_labels(self, case):
        name, points, labels, batches, _ = case
        if name == "cells":
            assert oracles.told("scib", name)["isolated_labels_asw"] is None
            with pytest.raises(NotApplicable, match="each is in all 3 batches"):
                isolated_asw(points, labels, batches)
            return
        found = isolated_asw(points, labels, batches)
        assert found == pytest.approx(oracles.told("scib", name)["isolated_labels_asw"], abs=1e-6)
        assert found == pytest.approx(oracles.told("scib-metrics", name)["isolated_labels"], abs=1e-6)


class TestCells:
    def test_are_scikit_learns(self):
        theirs = silhouette_samples(POINTS.astype(float), LABELS)
        assert silhouette_cells(POINTS, LABELS) == pytest.approx(theirs, abs=1e-6)

    def test_are_scikit_learns_by_angle(self):
        theirs = silhouette_samples(POINTS.astype(float), LABELS, metric="cosine")
        assert silhouette_cells(POINTS, LABELS, metric="cosine") == pytest.approx(theirs, abs=1e-9)

    @pytest.mark.parametrize("between", ["mean_other", "furthest"])
    def test_are_the_definition(self, between):
        points, labels = POINTS[:90], LABELS[:90]
        far = cosine_distances(points.astype(float))
        expected = []
        for cell, label in enumerate(labels):
            own = (labels == label) & (np.arange(90) != cell)
            others = labels != label
            each = [far[cell, labels == name].mean() for name in set(labels) - {label}]
            b = far[cell, others].mean() if between == "mean_other" else max(each)
            a = far[cell, own].mean()
            expected.append((b - a) / max(a, b))
        assert silhouette_cells(points, labels, metric="cosine", between=between) == pytest.approx(expected, abs=1e-9)

    def test_that_are_alone_in_their_label_have_0(self):
        labels = LABELS.copy()
        labels[7] = "alone"
        for metric in ("euclidean", "cosine"):
            assert silhouette_cells(POINTS, labels, metric=metric)[7] == 0

    def test_at_the_origin_have_no_angle_and_spoil_no_others(self):
        points = POINTS[:60].copy()
        before = silhouette_cells(points, LABELS[:60], metric="cosine")
        points[0] = 0
        found = silhouette_cells(points, LABELS[:60], metric="cosine")
        assert found[0] == pytest.approx(0, abs=1e-12)
        assert np.isfinite(found).all()
        assert np.abs(found - before)[1:].max() < 0.2

    def test_all_in_one_place_are_0_and_do_not_hang_on_rounding(self):
        points = np.full((50, 7), 0.1, dtype=np.float32)
        for metric in ("euclidean", "cosine"):
            assert (silhouette_cells(points, LABELS[:50], metric=metric) == 0).all()
        assert silhouette_label(points, LABELS[:50]) == 0.5
        assert silhouette_batch(points, LABELS[:50], BATCHES[:50]) == 1

    def test_with_equal_directions_are_0_by_angle(self):
        points = np.outer(np.arange(1, 41), np.ones(3) / 3).astype(np.float32)
        assert (silhouette_cells(points, LABELS[:40], metric="cosine") == 0).all()

    @pytest.mark.parametrize("size", [1e-25, 1e25])
    def test_of_any_size_have_the_same_angles(self, size):
        small = silhouette_cells(POINTS, LABELS, metric="cosine")
        huge = silhouette_cells(POINTS.astype(float) * size, LABELS, metric="cosine")
        assert huge == pytest.approx(small, abs=1e-9)

    def test_a_label_each_or_one_for_all_does_not_apply(self):
        with pytest.raises(NotApplicable, match="label of its own"):
            silhouette_cells(POINTS[:5], np.array(list("abcde")))
        with pytest.raises(NotApplicable, match="1 distinct label"):
            silhouette_cells(POINTS[:5], np.array(list("aaaaa")))


class TestBatches:
    def test_are_looked_at_within_each_label_and_labels_count_alike(self):
        few = np.concatenate([np.flatnonzero(LABELS != "t4"), np.flatnonzero(LABELS == "t4")[:20]])
        points, labels, batches = POINTS[few], LABELS[few], BATCHES[few]
        each = [
            1 - np.abs(silhouette_samples(points[labels == one].astype(float), batches[labels == one])).mean()
            for one in np.unique(labels)
        ]
        assert silhouette_batch(points, labels, batches) == pytest.approx(np.mean(each), abs=1e-6)

    def test_labels_of_one_batch_take_no_part(self):
        batches = np.where(LABELS == "t0", "b0", BATCHES)
        rest = LABELS != "t0"
        assert silhouette_batch(POINTS, LABELS, batches) == silhouette_batch(POINTS[rest], LABELS[rest], BATCHES[rest])
        assert silhouette.batch_widths(POINTS, LABELS, batches).n_cells == 480

    def test_where_no_label_takes_part_it_does_not_apply(self):
        with pytest.raises(NotApplicable, match="no label has cells of several batches"):
            silhouette_batch(POINTS, LABELS, LABELS)

    def test_bras_sees_batches_of_which_pairs_overlap(self):
        """Each batch overlaps with one other: the nearest hides that the two pairs are far apart."""
        random = np.random.default_rng(0)
        batch = np.arange(400) % 4
        points = random.normal(size=(400, 5)) + np.where(batch < 2, 0.0, 40.0)[:, None] * np.eye(5)[0]
        points += np.eye(5)[1] * 30
        one = np.full(400, "type")
        nearest = silhouette_batch(points, one, batch.astype(str))
        other = silhouette_batch(points, one, batch.astype(str), between="mean_other")
        assert nearest > 0.9
        assert other < 0.2
        assert bras(points, one, batch.astype(str)) < 0.3


class TestIsolated:
    LABELS = np.array(list("aaaabbbbcc"))
    BATCHES = np.array(list("1231123122"))

    def test_labels_are_those_in_the_fewest_batches(self):
        assert isolated_labels(self.LABELS, self.BATCHES) == ["c"]

    def test_labels_may_be_those_in_few(self):
        labels, batches = np.array(list("aaabbc")), np.array(list("123121"))
        assert isolated_labels(labels, batches) == ["c"]
        assert isolated_labels(labels, batches, at_most=2) == ["b", "c"]

    def test_none_are_if_all_are_everywhere(self):
        with pytest.raises(NotApplicable, match="all 3 batches"):
            isolated_labels(LABELS, BATCHES)
        with pytest.raises(NotApplicable, match="in 0 batches or fewer; the least is 1"):
            isolated_labels(self.LABELS, self.BATCHES, at_most=0)

    def test_only_their_cells_count(self):
        batches = np.where(LABELS == "t3", "b0", BATCHES)
        part = isolated_widths(POINTS, LABELS, batches)
        assert part.n_cells == 120
        widths = silhouette_cells(POINTS, LABELS)[LABELS == "t3"]
        assert part.value() == pytest.approx((widths.mean() + 1) / 2, abs=1e-12)


def test_a_space_does():
    assert silhouette_label(Space(POINTS), LABELS) == silhouette_label(POINTS, LABELS)


class TestVeryManyCells:
    """Distances are those to drawn cells then; here of few cells, so that exact ones are known."""

    @pytest.fixture
    def exact(self):  # asked for before `space`, and so exact
        return silhouette.label_widths(MANY.points, MANY.obs["cell_type"].to_numpy(dtype=str))

    @pytest.fixture
    def space(self, monkeypatch):
        monkeypatch.setattr("cellgauge_tasks._space.MOST_EXACT", 500)
        monkeypatch.setattr("cellgauge_tasks.pairs.landmarks.REFERENCES", 100)
        return Space(MANY.points)

    def test_are_right_within_their_error_which_the_interval_holds(self, exact, space):
        labels = MANY.obs["cell_type"].to_numpy(dtype=str)
        part = silhouette.label_widths(space, labels)
        assert exact.error() == 0
        assert 0 < part.error() < 0.02
        assert part.value() != exact.value()
        assert part.value() == pytest.approx(exact.value(), abs=2 * part.error())
        draws = Resamples(len(labels), draws=50)
        spread = part.replicates(draws).std()
        assert spread > part.error()
        assert spread == pytest.approx(np.hypot(exact.replicates(draws).std(), part.error()), rel=0.05)

    def test_of_isolated_labels_have_errors_too(self, space):
        labels, batches = (MANY.obs[role].to_numpy(dtype=str) for role in ("cell_type", "batch"))
        part = isolated_widths(space, labels, batches)
        assert part.error() > 0
        assert (np.isnan(part.errors) == np.isnan(part.values)).all()

    def test_batches_are_exact_where_each_type_is_small_enough(self, space):
        labels = np.array([f"t{n % 8}" for n in range(2000)])
        batches = MANY.obs["batch"].to_numpy(dtype=str)
        part = silhouette.batch_widths(space, labels, batches)
        assert part.error() == 0
        assert part.value() == pytest.approx(silhouette_batch(MANY.points, labels, batches), abs=1e-9)
