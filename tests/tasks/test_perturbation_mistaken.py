"""Logarithms handed in as counts, and counts as logarithms: a wrong scale gives numbers that look like any other."""

import warnings
from dataclasses import replace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cellgauge_tasks import masked_gene_prediction, perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, controls, mistaken, scale
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from screen import counts

score = perturbation_prediction.score


@pytest.fixture(scope="module")
def truth():
    """As deep as cells are, with genes from rare to plenty."""
    random = np.random.default_rng(0)
    base = np.exp(random.normal(-0.5, 1.8, 400))
    depth = random.lognormal(0, 0.3, (160, 1))
    changed = np.ones((160, 400))
    changed[80:120, :30], changed[120:, 20:60] = 3, 0.3
    names = np.repeat(["ctrl", "a", "b"], [80, 40, 40])
    return Perturbed(random.poisson(base * changed * depth), names, "ctrl", [f"g{n}" for n in range(400)])


def said_counts(given):
    return replace(given, scale="counts")


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("total", [1e4, 300.0])
def test_cells_of_logarithms_are_no_counts(truth, total, form):
    logs = said_counts(scale.log1p(replace(truth, matrix=form(truth.matrix)), total))
    for pair, whose in (((logs, truth), "the prediction"), ((truth, logs), "the truth")):
        with pytest.raises(ValueError, match=f"{whose} is said to be counts, but holds logarithms.*say scale='log1p'"):
            score(*pair)


@pytest.mark.parametrize("total", [1e4, 1e3])
def test_means_of_logarithms_are_told_from_means_of_counts(truth, total):
    means = scale.means(scale.log1p(truth, total))[1:]
    logs = Perturbed(means, truth.names, "ctrl", truth.genes, level="means")
    with pytest.warns(UserWarning, match="look like they are not counts"):
        Comparison.of(logs, truth)


def test_logarithms_that_add_up_to_as_much_as_counts_are_told_by_their_profile(truth):
    means = scale.means(scale.log1p(truth, scale.common_total(truth)))[1:]
    means *= 0.5 * truth.matrix[:80].sum(axis=1).mean() / means.sum(axis=1, keepdims=True)
    assert means.max() < mistaken.LOGGED
    with pytest.warns(UserWarning, match=r"correlate by 0\.9\d with the control's mean logarithms, by 0\.[0-8]\d"):
        Comparison.of(Perturbed(means, truth.names, "ctrl", truth.genes, level="means"), truth)


@pytest.mark.parametrize("level", ["cells", "means"])
def test_counts_handed_in_as_logarithms_are_refused(truth, level):
    given = truth.among(truth.codes > 0)
    if level == "means":
        given = Perturbed(scale.means(truth)[1:], truth.names, "ctrl", truth.genes, level="means")
    with pytest.raises(ValueError, match=r"the prediction is said to be log1p, but .*these are counts"):
        score(replace(given, scale="log1p"), truth)
    few = Perturbed(np.minimum(truth.matrix, 4), truth.conditions, "ctrl", truth.genes, scale="log1p")
    with pytest.raises(ValueError, match="all of its values are whole numbers, up to 4: these are counts"):
        score(few, truth)
    with pytest.raises(ValueError, match="the truth is said to be log1p"):
        score(truth, replace(truth, scale="log1p"))


def quietly(prediction, truth):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Comparison.of(prediction, truth)
    return [str(one.message) for one in heard if "counts" in str(one.message)]


@pytest.mark.parametrize("deep", [0.1, 1.0, 10.0])
def test_counts_however_shallow_or_fractional_are_taken_as_they_are(truth, deep):
    random = np.random.default_rng(1)
    cells = Perturbed(random.poisson(truth.matrix * deep), truth.conditions, "ctrl", truth.genes)
    means = Perturbed(scale.means(cells)[1:], cells.names, "ctrl", truth.genes, level="means")
    corrected = replace(cells, matrix=cells.matrix * random.uniform(0.8, 1.2, cells.matrix.shape).astype("f4"))
    same_total = replace(cells, matrix=cells.matrix / (cells.matrix.sum(axis=1, keepdims=True) + 1e-9) * 300 * deep)
    for one in (cells, means, corrected, same_total, controls.no_change(cells), controls.shuffled(cells)):
        assert not quietly(one, cells)


def test_a_model_that_predicts_badly_is_not_called_mistaken(truth):
    random = np.random.default_rng(2)
    noise = Perturbed(random.gamma(1, 1, (2, 400)) * 2, truth.names, "ctrl", truth.genes, level="means")
    flat = replace(noise, matrix=np.full((2, 400), 2.5, dtype="f4"))
    for one in (noise, flat):
        assert not quietly(one, truth)


def test_real_means_of_counts_are_silent_and_their_logarithms_are_not(real_data):
    cells = anndata.read_h5ad(real_data / "thp1_eccite_papalexi.h5ad")
    some = cells[cells.obs["perturbation"].isin(["control", "STAT1", "JAK2", "IRF1"]).to_numpy()]
    truth = Perturbed(some.X, some.obs["perturbation"], "control", some.var_names)
    predicted = truth.among(truth.codes > 0)
    means = Perturbed(scale.means(predicted)[1:], truth.names, "control", truth.genes, level="means")
    assert not quietly(predicted, truth)
    assert not quietly(means, truth)
    logs = scale.log1p(predicted, 1e4)
    with pytest.raises(ValueError, match="holds logarithms"):
        Comparison.of(said_counts(logs), truth)
    with pytest.warns(UserWarning, match="look like they are not counts"):
        Comparison.of(replace(means, matrix=scale.means(logs)[1:]), truth)


def test_the_masked_task_refuses_them_as_well():
    screen = counts(genes=120, wide=16, strength=1.5)
    logs = said_counts(scale.log1p(screen, 1e4))
    with pytest.raises(ValueError, match="holds logarithms"):
        masked_gene_prediction.score(logs, screen)
