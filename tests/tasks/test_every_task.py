"""What holds for every task that scores embeddings, whoever wrote it."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import made
from cellgauge_tasks import Caveat, NotApplicable, Space, find
from cellgauge_tasks.metrics.classification import forest

TASKS = {name: task for name, task in find().items() if task.verb == "embed"}
CELLS = made.cells()
OBS = CELLS.obs.assign(donor=[f"d{n % 6}" for n in range(600)], organism=np.where(np.arange(600) % 2, "human", "mouse"))
POINTS = CELLS.points
FEW = 240
"""Cells where the score itself is of no interest."""


def score(task, points=POINTS, obs=OBS, **more):
    """Score, with what is left out and why, and what is to be known of noise; no other warning may be there."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = task.score(points, obs, **more)
    others = [str(one.message) for one in heard if one.category is not Caveat and "left out" not in str(one.message)]
    assert others == []
    return found


def is_sound(task, points, obs):
    """Tell whether there is a value that is defined, or a reason why there is none."""
    try:
        found = score(task, points, obs)
    except NotApplicable as reason:
        return bool(str(reason))
    return bool(found) and bool(np.isfinite([one.value for one in found]).all())


def table(scores):
    return {(one.metric, *sorted(map(str, one.params.items()))): one.value for one in scores}


@pytest.fixture
def few_trees(monkeypatch):
    """Forests are most of the time, and none of these rules hangs on how many trees there are."""
    monkeypatch.setattr(forest, "TREES", 5)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
class TestEveryTask:
    def test_the_truth_scores_high_and_chance_low(self, task):
        best, worst = (
            score(task, control(OBS, 0), OBS) for control in map(task.controls.get, ("positive", "negative"))
        )
        for metric in task.headline:
            one, other = (np.mean([each.value for each in found if each.metric == metric]) for found in (best, worst))
            assert one > other + 0.2, metric
            assert one > 0.8, metric

    def test_names_of_labels_do_not_matter(self, task):
        renamed = OBS.assign(cell_type=OBS["cell_type"].map({f"t{n}": f"{n} x" for n in range(5)}))
        before, after = table(score(task, POINTS[:FEW], OBS[:FEW])), table(score(task, POINTS[:FEW], renamed[:FEW]))
        assert list(before.values()) == pytest.approx(list(after.values()), abs=1e-9)

    def test_the_same_input_gives_the_same_numbers(self, task):
        one, other = (score(task, POINTS[:FEW], OBS[:FEW], seed=3) for _ in range(2))
        assert one == other
        for name, array in one.details.items():
            assert np.array_equal(array, other.details[name], equal_nan=array.dtype.kind == "f")

    def test_a_space_that_others_have_used_gives_them_too(self, task):
        space = Space(POINTS[:FEW])
        space.expect(neighbors=200)
        space.neighbors(150)
        assert table(score(task, space, OBS[:FEW])) == table(score(task, POINTS[:FEW], OBS[:FEW]))

    def test_every_score_has_an_interval_that_holds_it(self, task):
        for one in score(task):
            assert one.interval is not None, one.metric
            low, high = one.interval.low, one.interval.high
            drawn = np.clip(one.interval.replicates, -1, 1)  # they are moved with the value, and may lie beyond
            # The ends are moved to hold the value, so that they do says nothing: what can be wrong is their width.
            assert low < high or one.value in (0, 1), one
            assert high - low < 0.6, one
            assert np.mean((drawn >= low - 1e-6) & (drawn <= high + 1e-6)) > 0.8, one

    def test_cells_without_a_label_take_no_part(self, task):
        holed = OBS[:FEW].copy()
        holed.loc[holed.index[::7], list(task.roles)] = None
        kept = np.arange(FEW) % 7 != 0
        assert table(score(task, POINTS[:FEW], holed)) == table(score(task, POINTS[:FEW][kept], OBS[:FEW][kept]))

    def test_the_callers_arrays_are_left_alone(self, task):
        points, before = POINTS[:FEW].copy(), OBS[:FEW].copy()
        score(task, points, before)
        assert (points == POINTS[:FEW]).all()
        pd.testing.assert_frame_equal(before, OBS[:FEW])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_value_that_is_no_number_is_refused(self, task, value):
        broken = POINTS.copy()
        broken[3, 3] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            task.score(broken, OBS)

    def test_one_label_alone_does_not_apply(self, task):
        with pytest.raises(NotApplicable, match=r"1 distinct|fewer than 2|1 class|1 organism|1 batch"):
            score(task, POINTS, OBS.assign(**dict.fromkeys(task.roles, "1")))

    def test_a_missing_column_is_named(self, task):
        with pytest.raises(ValueError, match=f"obs has no column '{task.roles[0]}'; name yours so"):
            task.score(POINTS, OBS.rename(columns={task.roles[0]: "mine"}))

    def test_a_sparse_matrix_and_other_kinds_of_number_are_understood(self, task):
        expected = table(score(task, POINTS[:FEW], OBS[:FEW]))
        assert table(score(task, sp.csr_matrix(POINTS[:FEW]), OBS[:FEW])) == expected
        halves = POINTS[:FEW].astype(np.float16)
        found = table(score(task, halves, OBS[:FEW]))
        assert found == table(score(task, halves.astype(np.float32), OBS[:FEW]))
        doubles = list(table(score(task, POINTS[:FEW].astype(np.float64), OBS[:FEW])).values())
        assert doubles == pytest.approx(list(expected.values()), abs=1e-6)

    def test_lengths_that_differ_are_refused(self, task):
        with pytest.raises(ValueError, match="does not fit"):
            task.score(POINTS[:-1], OBS)

    def test_values_are_finite_and_within_bounds(self, task):
        for one in score(task):
            assert -1 <= one.value <= 1, one
            assert 0 < one.n_cells <= 600, one

    @pytest.mark.parametrize("points", [np.ones((600, 4)), np.repeat(POINTS[:60], 10, axis=0)], ids=["one", "copies"])
    def test_cells_in_one_place_have_a_defined_score_or_a_reason(self, task, points):
        assert is_sound(task, points, OBS)

    @pytest.mark.parametrize("n", [1, 2, 9])
    def test_very_few_cells_have_a_defined_score_or_a_reason(self, task, n):
        assert is_sound(task, POINTS[:n], OBS[:n])


def test_scores_are_the_same_to_the_last_bit_whatever_the_number_of_threads(tmp_path):
    program = tmp_path / "scores.py"
    program.write_text(
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np, made\n"
        "from cellgauge_tasks import Space, find\n"
        "if __name__ == '__main__':\n"
        "    cells = made.mixture(1200, 32)\n"
        "    obs = cells.obs.assign(organism=np.where(np.arange(1200) % 2, 'human', 'mouse'))\n"
        "    space = Space(cells.points)\n"
        "    for name, task in find().items():\n"
        "        for one in task.score(space, obs) if task.verb == 'embed' else ():\n"
        "            print(name, one.metric, dict(one.params), one.value.hex(), one.interval)\n"
    )
    told = []
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        command = [sys.executable, str(program), str(made.__file__).rsplit("/", 1)[0]]
        done = subprocess.run(
            command, env={**os.environ, **dict.fromkeys(names, threads)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines())
    assert len(told[0]) > 40
    assert told[0] == told[1]
