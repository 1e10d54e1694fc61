import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

import cellgauge_tasks._space as space_module
from cellgauge_tasks import NotApplicable
from cellgauge_tasks._space import Space
from cellgauge_tasks._threads import granted
from cellgauge_tasks.pairs import points

RANDOM = np.random.default_rng(0)
CELLS = 1300
"""More than a block."""
NORMAL = RANDOM.normal(size=(CELLS, 24))
LABELS = RANDOM.integers(0, 6, CELLS)
BATCHES = RANDOM.integers(-1, 40, CELLS)
K = 20


FEW_POINTS = {"float64": 10**9, "float32": 0}


@pytest.fixture(params=FEW_POINTS, autouse=True)
def products(request, monkeypatch):
    """Few cells are compared in float64, many in float32; here both are."""
    if request.param in FEW_POINTS:
        monkeypatch.setattr(points, "FEW_POINTS", FEW_POINTS[request.param])
    return request.param


def true_distances(values):
    return cdist(values.astype(np.float64), values.astype(np.float64))


def true_means(distances, groups):
    members = (groups[:, None] == np.arange(groups.max() + 1)).astype(float)
    others = members.sum(axis=0) - members
    with np.errstate(invalid="ignore"):
        return np.where(others > 0, distances @ members / others, np.nan)


def true_neighbors(distances, k):
    """By distance, then by number."""
    away = distances.copy()
    np.fill_diagonal(away, np.inf)
    return np.argsort(away, axis=1, kind="stable")[:, :k]


def looks_right(values, groups, k=K, tolerance=1e-6):
    space = Space(values)
    space.expect(neighbors=k, groups=[groups, BATCHES[: len(values)]])
    distances = true_distances(space.values)
    scale = np.nanmax(distances, initial=0) or 1
    for one in (groups, BATCHES[: len(values)]):
        np.testing.assert_allclose(
            space.mean_distances(one), true_means(distances, one), rtol=0, atol=tolerance * scale
        )
    found, order = space.neighbors(k), true_neighbors(distances, k)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, order, axis=1), rtol=4e-7)


ONE_A_LABEL = np.eye(6)[LABELS]
TWICE = NORMAL.copy()
TWICE[500:600] = TWICE[1100:1200] = TWICE[:100]
CROWD = NORMAL.copy()
CROWD[700:1100] = CROWD[0]
FAR = NORMAL.copy()
FAR[7] = 1e6
INPUTS = {
    "normal": NORMAL,
    "float32": NORMAL.astype(np.float32),
    "float16": NORMAL.astype(np.float16),
    "offset": (NORMAL + 1e3).astype(np.float32),
    "float64 offset": NORMAL + 1e7,
    "tiny": (NORMAL * 1e-12).astype(np.float32),
    "huge": (NORMAL * 1e12).astype(np.float32),
    "one far cell": FAR.astype(np.float32),
    "integers": RANDOM.integers(0, 3, size=(CELLS, 5)),
    "wide integers": RANDOM.integers(0, 200, size=(CELLS, 2)),
    "one vector a label": ONE_A_LABEL,
    "tight labels": (ONE_A_LABEL + 1e-4 * RANDOM.normal(size=ONE_A_LABEL.shape)).astype(np.float32),
    "tighter labels": ONE_A_LABEL + 1e-8 * RANDOM.normal(size=ONE_A_LABEL.shape),
    "copies": TWICE.astype(np.float32),
    "a crowd of copies": CROWD.astype(np.float32),
    "constant": np.full((CELLS, 3), 3.7),
    "one dimension": NORMAL[:, :1],
    "unlike scales": (NORMAL * np.logspace(-6, 3, 24)).astype(np.float32),
    "two cells": NORMAL[:2],
    "one more than neighbours": NORMAL[: K + 1],
    "columns first": np.asfortranarray(NORMAL[:200]),
    "big-endian": NORMAL[:200].astype(">f4"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_distances_and_neighbours_are_those_of_plain_differences(name):
    values = INPUTS[name]
    looks_right(values, LABELS[: len(values)], k=min(K, len(values) - 1))


@pytest.mark.parametrize("name", ["normal", "offset", "huge", "float32"])
def test_neighbours_are_those_of_scikit_learn(name):
    values = INPUTS[name]
    index = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(values.astype(np.float64))
    np.testing.assert_array_equal(Space(values).neighbors(K).indices, index.kneighbors(return_distance=False))


@pytest.mark.parametrize("name", ["normal", "offset", "tiny", "copies", "tight labels", "one vector a label"])
def test_silhouettes_are_those_of_scikit_learn(name):
    values = INPUTS[name]
    means, cells = Space(values).mean_distances(LABELS), np.arange(CELLS)
    own = means[cells, LABELS]
    means = means.copy()
    means[cells, LABELS] = np.inf
    nearest = means.min(axis=1)
    found = (nearest - own) / np.maximum(nearest, own)
    true = silhouette_samples(values.astype(np.float64), LABELS)
    np.testing.assert_allclose(found, true, atol=1e-6)


def test_values_too_large_for_squares_are_divided_first():
    looked = Space(NORMAL * 1e25)
    scaled = Space(NORMAL)
    np.testing.assert_allclose(looked.mean_distances(LABELS), scaled.mean_distances(LABELS) * 1e25, rtol=1e-6)
    np.testing.assert_array_equal(looked.neighbors(K).indices, scaled.neighbors(K).indices)


def test_large_integers_keep_their_digits():
    values = np.array([[1 << 40], [(1 << 40) + 1], [(1 << 40) + 3]])
    assert Space(values).neighbors(1).distances.ravel().tolist() == [1, 1, 2]


@pytest.mark.parametrize("groups", [np.arange(CELLS), np.arange(CELLS) // 2, np.zeros(CELLS, int), np.full(CELLS, -1)])
def test_groups_may_be_as_many_as_cells_or_none(groups):
    found, distances = Space(NORMAL[:, :4]).mean_distances(groups), true_distances(NORMAL[:, :4])
    np.testing.assert_allclose(found, true_means(distances, groups), rtol=5e-6)


def test_several_groupings_at_once_are_as_one_by_one():
    groupings = [LABELS, BATCHES, LABELS * 41 + BATCHES + 1, np.arange(CELLS) % 7]
    together = Space(NORMAL)
    together.expect(groups=groupings)
    for one in groupings:
        np.testing.assert_allclose(together.mean_distances(one), Space(NORMAL).mean_distances(one), rtol=1e-6)


def test_what_was_not_expected_takes_another_pass():
    space = Space(NORMAL)
    space.expect(neighbors=5, groups=[LABELS])
    five = space.neighbors(5)
    np.testing.assert_array_equal(space.neighbors(12).indices[:, :5], five.indices)
    assert space.mean_distances(BATCHES).shape == (CELLS, 40)
    assert space.mean_distances(LABELS) is space.mean_distances(LABELS.copy())


def test_groups_that_fit_in_no_memory_are_refused_with_the_size(monkeypatch):
    monkeypatch.setattr(space_module, "MOST_MEANS", 8 * CELLS * 10)
    space = Space(NORMAL)
    space.expect(groups=[LABELS, BATCHES])
    assert space.mean_distances(LABELS).shape == (CELLS, 6)
    with pytest.raises(NotApplicable, match=f"of {CELLS} cells to 40 groups take"):
        space.mean_distances(BATCHES)


def test_groupings_that_do_not_fit_together_are_done_in_turn(monkeypatch):
    whole, parted = Space(NORMAL), Space(NORMAL)
    monkeypatch.setattr(space_module, "AT_ONCE", 1)
    for one in (whole, parted):
        one.expect(neighbors=K, groups=[LABELS, BATCHES])
    np.testing.assert_allclose(whole.mean_distances(BATCHES), parted.mean_distances(BATCHES), rtol=1e-6)
    np.testing.assert_array_equal(whole.neighbors(K).indices, parted.neighbors(K).indices)


def test_some_cells_are_a_space_that_is_kept():
    space, kept = Space(NORMAL), LABELS == 2
    part = space.among(kept)
    assert part is space.among(kept.copy())
    assert space.among(np.ones(CELLS, bool)) is space
    assert len(part) == kept.sum()
    np.testing.assert_array_equal(part.values, NORMAL[kept])
    np.testing.assert_array_equal(part.neighbors(3).indices, Space(NORMAL[kept]).neighbors(3).indices)
    inner = part.among(np.arange(len(part)) < 50)
    np.testing.assert_array_equal(inner.values, NORMAL[kept][:50])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros(3), "has shape"),
        (np.array([[0.0, np.nan]]), "NaN"),
        (np.array([[0.0], [-np.inf]]), "infinite"),
        (np.array([[1e35]]), "divide them"),
    ],
)
def test_what_is_no_embedding_is_refused(values, told):
    with pytest.raises(ValueError, match=told):
        Space(values)


def test_a_sparse_matrix_is_dense_here():
    values = RANDOM.poisson(0.3, size=(50, 6)).astype(np.float32)
    found = Space(scipy.sparse.csr_matrix(values)).neighbors(3)
    np.testing.assert_array_equal(found.indices, Space(values).neighbors(3).indices)


@pytest.mark.parametrize("k", [0, 2, 3])
def test_more_neighbours_than_cells_are_not_applicable(k):
    with pytest.raises(NotApplicable, match="2 cells have no"):
        Space(np.zeros((2, 2))).neighbors(k)


def digest(values, groupings, k):
    space = Space(values)
    space.expect(neighbors=k, groups=groupings)
    told = hashlib.sha256()
    for one in (*space.neighbors(k), *(space.mean_distances(groups) for groups in groupings)):
        told.update(np.ascontiguousarray(one).tobytes())
    return told.hexdigest()


CHILD = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy as np
from test_space import digest
random = np.random.default_rng(3)
print(digest(random.normal(size=(5000, 30)).astype(np.float32), [np.arange(5000) % 7, np.arange(5000) % 3], 15))
"""


def test_the_number_of_threads_changes_no_bit(products):
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.add(digest(INPUTS["float32"], [LABELS, BATCHES], K))
    assert len(found) == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
@pytest.mark.parametrize("products", ["chosen by itself"], indirect=True)
def test_processes_with_other_numbers_of_threads_agree_in_every_bit(products):
    found = set()
    for threads in ("1", "2"):
        given = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        words = [sys.executable, "-c", CHILD, str(Path(__file__).parent)]
        found.add(subprocess.run(words, env=given, check=True, capture_output=True, text=True).stdout)
    assert len(found) == 1


def test_no_more_threads_are_used_than_granted(monkeypatch):
    with threadpool_limits(1):
        assert granted() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert granted() == 1


class TestDevice:
    """The processor as torch's device does what a GPU would."""

    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="torch, an extra that computes on GPUs, is not installed")

    @pytest.mark.parametrize("name", ["normal", "float32", "offset", "tight labels", "copies", "constant", "two cells"])
    def test_a_device_gives_the_same(self, name):
        values = INPUTS[name]
        k, groups = min(K, len(values) - 1), LABELS[: len(values)]
        here, there = Space(values), Space(values, device="cpu")
        for one in (here, there):
            one.expect(neighbors=k, groups=[groups])
        np.testing.assert_array_equal(there.neighbors(k).indices, here.neighbors(k).indices)
        np.testing.assert_allclose(there.neighbors(k).distances, here.neighbors(k).distances, rtol=1e-6)
        np.testing.assert_allclose(there.mean_distances(groups), here.mean_distances(groups), rtol=1e-6)

    def test_a_device_that_is_not_there_is_told(self):
        with pytest.raises(ValueError, match="cannot use device 'nowhere'"):
            Space(NORMAL[:10], device="nowhere").neighbors(2)


def test_a_device_needs_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="pip install torch"):
        Space(NORMAL[:10], device="cuda").neighbors(2)
