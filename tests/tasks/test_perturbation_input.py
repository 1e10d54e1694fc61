"""Wrong input: a wrong number is worse than none."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge_tasks import NotApplicable, perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, scale
from screen import counts

score = perturbation_prediction.score
UNDEFINED = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")


@pytest.fixture(scope="module")
def truth():
    return counts()


@pytest.fixture(scope="module")
def prediction():
    return counts(seed=1, strength=0.7)


def test_a_missing_condition_is_an_error(truth, prediction):
    with pytest.raises(ValueError, match=r"'g12' is missing from the prediction.*1 such, of 4"):
        score(prediction.only(["g0", "g4", "g8"]), truth)
    with pytest.raises(ValueError, match="'g12' is predicted, but not in the truth"):
        score(prediction, truth.only(["g0", "g4", "g8"]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_values_have_to_be_finite(truth, bad, form):
    matrix = truth.matrix.copy()
    matrix[3, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        Perturbed(form(matrix), truth.conditions, "ctrl", truth.genes)


def test_shapes_have_to_fit(truth):
    with pytest.raises(ValueError, match="does not fit"):
        Perturbed(truth.matrix, truth.conditions[1:], "ctrl", truth.genes)
    with pytest.raises(ValueError, match="rows and genes"):
        Perturbed(truth.matrix[0], truth.conditions, "ctrl", truth.genes)
    with pytest.raises(ValueError, match="some gene twice"):
        Perturbed(truth.matrix, truth.conditions, "ctrl", ["g0"] * 40)
    with pytest.raises(ValueError, match="'ctrl' has 60 means"):
        Perturbed(truth.matrix, truth.conditions, "ctrl", truth.genes, level="means")


def test_no_shared_gene_is_an_error_and_unknown_ones_are_told(truth, prediction):
    with pytest.raises(ValueError, match="no gene of the prediction"):
        score(Perturbed(prediction.matrix, prediction.conditions, "ctrl", [f"x{n}" for n in range(40)]), truth)
    more = np.concatenate([prediction.matrix, prediction.matrix[:, :1]], axis=1)
    with pytest.warns(UserWarning, match="1 predicted genes are not in the truth"):
        score(Perturbed(more, prediction.conditions, "ctrl", [*prediction.genes, "new"]), truth)


def test_without_conditions_or_control_nothing_can_be_scored(truth, prediction):
    with pytest.raises(NotApplicable, match="no control rows"):
        score(prediction, truth.among(truth.codes > 0))
    with pytest.raises(NotApplicable, match="no conditions"):
        score(prediction, truth.among(truth.codes == 0))


def test_rows_without_a_label_take_no_part(truth, prediction):
    labels = truth.conditions.astype(object)
    labels[[0, 70]] = None, np.nan
    kept = np.ones(len(truth), dtype=bool)
    kept[[0, 70]] = False
    one = score(prediction, Perturbed(truth.matrix, pd.Series(labels), "ctrl", truth.genes))
    other = score(prediction, truth.among(kept))
    assert [score.value for score in one] == [score.value for score in other]


def test_counts_below_zero_are_told(truth, prediction):
    matrix = prediction.matrix.copy()
    matrix[70, :3] = -1
    with pytest.warns(UserWarning, match="3 of 4000 counts are below 0"):
        score(Perturbed(matrix, prediction.conditions, "ctrl", prediction.genes), truth)


def test_another_scale_is_told(truth, prediction):
    cells = scale.log1p(prediction, 1e4)
    with pytest.warns(UserWarning, match="adds up to .* scale='log1p'"):
        score(cells, truth)


@UNDEFINED
def test_one_cell_a_condition_is_enough_for_a_value(truth, prediction):
    first = np.unique(prediction.conditions, return_index=True)[1]
    found = score(prediction.among(np.isin(np.arange(len(prediction)), first)), truth)
    assert np.isfinite([one.value for one in found]).all()
    alone = truth.among((truth.codes <= 1) & (np.arange(len(truth)) < 61))
    found = score(prediction.only(["g0"]), alone)
    assert np.isfinite([one.value for one in found]).all()
    assert {one.interval for one in found} == {None}


@UNDEFINED
@pytest.mark.filterwarnings("ignore:4 of 4 conditions are predicted to have no counts:UserWarning")
@pytest.mark.parametrize("constant", [0, 3])
def test_constant_cells_give_numbers_or_none(truth, constant):
    matrix = np.full_like(truth.matrix, constant)
    found = score(Perturbed(matrix, truth.conditions, "ctrl", truth.genes), truth)
    assert np.isfinite([one.value for one in found]).all()
    with pytest.warns(UserWarning, match="left out"):
        found = score(truth, Perturbed(matrix + 1, truth.conditions, "ctrl", truth.genes))
    assert np.isfinite([one.value for one in found]).all()
    with pytest.raises(NotApplicable, match="no counts"):
        score(truth, Perturbed(matrix * 0, truth.conditions, "ctrl", truth.genes))


@UNDEFINED
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_nothing_that_is_given_is_changed(truth, prediction, form):
    given = []
    for one in (prediction, truth):
        matrix = form(one.matrix)
        if form is sp.csr_matrix:  # columns of each row from last to first
            order = np.concatenate([np.arange(*pair)[::-1] for pair in pairwise(matrix.indptr.tolist())])
            matrix = sp.csr_matrix((matrix.data[order], matrix.indices[order], matrix.indptr), shape=matrix.shape)
            for part in (matrix.data, matrix.indices, matrix.indptr):
                part.setflags(write=False)
        else:
            matrix.setflags(write=False)
        given.append(Perturbed(matrix, one.conditions, "ctrl", one.genes))
    expected = [one.value for one in score(prediction, truth)]
    assert [one.value for one in score(*given)] == pytest.approx(expected, abs=1e-9)
