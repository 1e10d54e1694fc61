import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

import made
from cellgauge_tasks.metrics.agreement import (
    Crossing,
    adjusted_rand_index,
    best_f1,
    mutual_information,
    normalized_mutual_info,
    rand_index,
)

RANDOM = np.random.default_rng(0)
PAIRS = {
    "random": (RANDOM.integers(0, 5, 300), RANDOM.integers(0, 9, 300)),
    "alike": (np.arange(300) % 7, np.where(np.arange(300) % 11, np.arange(300) % 7, 0)),
    "the same by other names": (np.arange(30) % 3, 2 - np.arange(30) % 3),
    "one group each": (np.zeros(5, int), np.zeros(5, int)),
    "all alone": (np.arange(5), np.arange(5)),
    "alone against one group": (np.arange(5), np.zeros(5, int)),
    "one cell": (np.zeros(1, int), np.zeros(1, int)),
    "two cells apart": (np.arange(2), np.zeros(2, int)),
    "words": (np.array(["b", "a", "a", "b"]), np.array(["x", "x", "y", "y"])),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_both_are_scikit_learns(pair):
    assert adjusted_rand_index(*pair) == pytest.approx(adjusted_rand_score(*pair), abs=1e-12)
    assert normalized_mutual_info(*pair) == pytest.approx(normalized_mutual_info_score(*pair), abs=1e-12)


def test_a_cell_that_weighs_nothing_is_not_there():
    one, other = PAIRS["random"]
    kept = np.arange(300) % 3 > 0
    table, without = Crossing(one, other).table(kept.astype(np.float32)), Crossing(one[kept], other[kept]).table()
    assert rand_index(table) == pytest.approx(rand_index(without), abs=1e-12)
    assert mutual_information(table) == pytest.approx(mutual_information(without), abs=1e-12)


def test_copies_of_a_cell_are_no_pair_that_agrees():
    """Twice the same cells: the pairs of different cells agree as before, where copies would raise the index."""
    one, other = PAIRS["random"]
    twice = Crossing(one, other).table(np.full(300, 2, dtype=np.float32))
    assert rand_index(twice) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)
    assert adjusted_rand_score(np.tile(one, 2), np.tile(other, 2)) > adjusted_rand_score(one, other) + 1e-3


def test_the_best_cluster_is_the_one_that_scikit_learn_likes_best():
    labels, clusters = made.cells().obs["cell_type"].to_numpy(), PAIRS["random"][1]
    members = labels[:300] == "t2"
    expected = [f1_score(members, clusters == number) for number in range(clusters.max() + 1)]
    assert best_f1(members, clusters) == (pytest.approx(max(expected), abs=1e-12), int(np.argmax(expected)))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="4 and 3 cells"):
        adjusted_rand_index(["a"] * 4, ["a"] * 3)
