"""Against SciPy, scanpy, scikit-learn, and what cell-eval said of the same cells (oracles/cell-eval.json)."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.sparse as sp
from scipy import stats
from sklearn import metrics
from sklearn.metrics import pairwise, pairwise_distances

import made
from cellgauge_tasks import perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, agreement, distributions, effects, scale
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from cellgauge_tasks.metrics.perturbation.discrimination import discrimination
from cellgauge_tasks.metrics.perturbation.expression import fold_change, wilcoxon
from cellgauge_tasks.metrics.perturbation.summary import correlation, weighted_median

EXACT = 1e-6
PEER = json.loads((Path(__file__).parent / "oracles" / "cell-eval.json").read_text())
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def both():
    """The made prediction and truth that cell-eval was asked about."""
    cells = made.perturbed()
    assert [made.checksum(one) for one in (cells.truth, cells.predicted)] == PEER["sums"]["perturbed"]
    return tuple(
        Perturbed(one, cells.conditions, made.CONTROL, cells.genes, scale="log1p")
        for one in (cells.predicted, cells.truth)
    )


@pytest.fixture(scope="module")
def scored(both):
    return perturbation_prediction.score(*both)


@pytest.fixture(scope="module")
def compared(both):
    return Comparison.of(*both)


@pytest.fixture(scope="module")
def counts():
    """Cells of a control and five conditions with ties of every kind: zeros, equal values, constants, below zero."""
    values = RANDOM.poisson(1.0, (300, 30)).astype(float)
    values = np.log1p(20 * values / values.sum(axis=1, keepdims=True))
    values[:, 3], values[:, 4] = 0, 1
    values[:, 5] -= 0.5
    values[:150, 6] *= -1
    values[:, 7] = RANDOM.normal(size=300)
    return values.astype(np.float32), RANDOM.integers(-1, 6, 300)


def column(scored, name):
    return scored.details["values"][:, list(scored.details["metrics"]).index(name)]


def peer(metric):
    """What cell-eval says for each condition; None, which is NaN, where it says nothing."""
    said = PEER["values"]["perturbed"]["all"]
    return np.array([said[name][metric] for name in sorted(said)], dtype=float)


SAME = {
    "pearson_delta": "pearson_delta all",
    "mse": "mse all",
    "mse_delta": "mse all",
    "mae": "mae all",
    "mae_delta": "mae all",
    **{f"overlap_at_{k}": f"de_overlap {k} p" for k in (50, 100, 200)},
    **{f"precision_at_{k}": f"de_precision {k} p" for k in (50, 100, 200)},
    "overlap_at_N": "de_overlap significant p",
    "precision_at_N": "de_precision significant p",
    "de_direction_match": "de_direction_match",
    "de_sig_genes_recall": "de_recall",
    "de_spearman_lfc_sig": "de_spearman_change",
}


@pytest.mark.parametrize("name", SAME)
def test_what_cell_eval_defines_alike_is_equal(scored, name):
    assert list(scored.details["conditions"]) == sorted(PEER["values"]["perturbed"]["all"])
    assert column(scored, SAME[name]) == pytest.approx(peer(name), abs=EXACT, nan_ok=True)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_discrimination_differs_from_cell_eval_by_what_it_is_divided_by(scored, distance):
    n = len(scored.details["conditions"])
    theirs = 1 - (1 - column(scored, f"discrimination {distance}")) * (n - 1) / n
    assert theirs == pytest.approx(peer(f"discrimination_score_{distance}"), abs=EXACT)


def test_cell_eval_ranks_by_a_clipped_false_discovery_rate_and_we_by_p(scored, compared):
    significant = compared.true_expression.significant
    clipped = -np.log10(np.clip(compared.predicted_expression.fdr, 1e-10, 1))
    assert agreement.auroc(clipped, significant) == pytest.approx(peer("roc_auc"), abs=EXACT, nan_ok=True)
    assert agreement.auprc(clipped, significant) == pytest.approx(peer("pr_auc"), abs=EXACT, nan_ok=True)
    assert not np.allclose(column(scored, "de_auroc p"), peer("roc_auc"))


def test_what_is_one_number_over_conditions_is_cell_evals(scored, compared):
    found = {score.metric: score.value for score in scored if "over" not in score.params}
    assert found["energy_distance_pearson"] == pytest.approx(peer("pearson_edistance")[0], abs=EXACT)
    assert found["de_counts_spearman"] == pytest.approx(peer("de_spearman_sig")[0], abs=EXACT)
    for ours, theirs in ((compared.true_expression, "real"), (compared.predicted_expression, "pred")):
        assert list(ours.significant.sum(axis=1)) == list(peer(f"de_nsig_counts_{theirs}"))


def test_the_wilcoxon_test_is_scipys(counts):
    values, codes = counts
    found = wilcoxon(values, codes)
    for code in range(1, 6):
        some, control = (values[codes == one].astype(float) for one in (code, 0))
        theirs = stats.mannwhitneyu(some, control, method="asymptotic")
        assert found.u[code - 1] == pytest.approx(theirs.statistic, abs=1e-9)
        assert found.p[code - 1] == pytest.approx(np.nan_to_num(theirs.pvalue, nan=1.0), rel=1e-9)
        assert found.fdr[code - 1] == pytest.approx(stats.false_discovery_control(found.p[code - 1]), rel=1e-9)
    assert list(found.p[:, 3]) == [1] * 5  # all cells are equal


def test_the_wilcoxon_test_is_scanpys(counts):
    values, codes = counts
    kept = codes >= 0
    obs = pd.DataFrame({"condition": pd.Categorical([f"c{code}" for code in codes[kept]])})
    obs.index = [f"cell{number}" for number in range(len(obs))]
    adata = anndata.AnnData(values[kept].copy(), obs=obs)
    adata.uns["log1p"] = {"base": None}
    with np.errstate(invalid="ignore"):  # where all cells are equal
        scanpy.tl.rank_genes_groups(adata, "condition", method="wilcoxon", reference="c0", tie_correct=True)
    found = wilcoxon(values, codes)
    for code in range(1, 6):
        theirs = scanpy.get.rank_genes_groups_df(adata, f"c{code}").set_index("names")["scores"]
        theirs = theirs.loc[[str(gene) for gene in range(30)]].to_numpy()
        assert found.z[code - 1] == pytest.approx(np.nan_to_num(theirs), rel=1e-5, abs=1e-6)


def test_fold_changes_are_scanpys(both):
    _, truth = both
    adata = anndata.AnnData(truth.matrix.copy(), var=pd.DataFrame(index=truth.genes))
    adata.obs["condition"] = pd.Categorical(truth.conditions)
    adata.uns["log1p"] = {"base": None}
    scanpy.tl.rank_genes_groups(adata, "condition", method="wilcoxon", reference=made.CONTROL)
    means = scale.means(truth)
    ours = fold_change(means[1:], means[0], added=1e-9)
    for row, name in enumerate(truth.names):
        theirs = scanpy.get.rank_genes_groups_df(adata, name).set_index("names")["logfoldchanges"].loc[truth.genes]
        assert ours[row] == pytest.approx(theirs.to_numpy(), rel=1e-4, abs=1e-5)  # theirs is computed in float32


def test_a_sparse_matrix_with_stored_zeros_is_tested_alike(counts):
    values, codes = counts
    sparse = sp.csr_matrix(values)
    sparse.data[::7] = 0
    dense, found = wilcoxon(sparse.toarray(), codes), wilcoxon(sparse, codes)
    assert np.array_equal(dense.u, found.u)
    assert np.array_equal(dense.p, found.p)


def test_a_control_that_is_elsewhere_is_tested_alike(counts):
    values, codes = counts
    here = wilcoxon(values, codes)
    for form in (np.asarray, sp.csr_matrix):
        elsewhere = wilcoxon(form(values), codes, form(values[codes == 0]))
        assert np.array_equal(here.p, elsewhere.p)
        assert np.array_equal(here.u, elsewhere.u)


def test_areas_are_scikit_learns_with_ties():
    scores, significant = RANDOM.integers(0, 6, (8, 40)).astype(float), RANDOM.random((8, 40)) < 0.3
    significant[6], significant[7] = False, True
    roc, pr = agreement.auroc(scores, significant), agreement.auprc(scores, significant)
    for row in range(6):
        assert roc[row] == pytest.approx(metrics.roc_auc_score(significant[row], scores[row]), abs=1e-12)
        assert pr[row] == pytest.approx(metrics.average_precision_score(significant[row], scores[row]), abs=1e-12)
    assert np.isnan(roc[6:]).all()
    assert np.isnan(pr[6:]).all()


def test_correlations_are_scipys_also_where_genes_are_left_out():
    a, b = RANDOM.normal(size=(4, 50)).round(1), RANDOM.normal(size=(4, 50)).round(1)
    a[1, :30] = np.nan
    b[1, 40:] = np.nan
    for row in range(4):
        known = ~np.isnan(a[row]) & ~np.isnan(b[row])
        theirs = [function(a[row, known], b[row, known])[0] for function in (stats.pearsonr, stats.spearmanr)]
        ours = [function(a, b)[row] for function in (effects.pearson, effects.spearman)]
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_errors_are_scikit_learns():
    a, b = RANDOM.normal(size=(4, 50)), RANDOM.normal(size=(4, 50))
    squared = [metrics.mean_squared_error(*pair) for pair in zip(a, b, strict=True)]
    absolute = [metrics.mean_absolute_error(*pair) for pair in zip(a, b, strict=True)]
    assert effects.mean_squared_error(a, b) == pytest.approx(squared, abs=1e-12)
    assert effects.mean_absolute_error(a, b) == pytest.approx(absolute, abs=1e-12)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_distances_leave_out_what_each_condition_targets(distance):
    predicted, true = RANDOM.normal(size=(6, 20)), RANDOM.normal(size=(6, 20))
    targeted = [np.array([row, row + 7]) for row in range(5)] + [np.zeros(0, dtype=int)]
    found = discrimination(predicted, true, targeted, distance)
    for row, genes in enumerate(targeted):
        kept = np.setdiff1d(np.arange(20), genes)
        far = pairwise_distances(predicted[row : row + 1, kept], true[:, kept], metric=distance)[0]
        assert found[row] == pytest.approx(1 - (far < far[row]).sum() / 5)


def test_distances_of_distributions_are_their_definitions(both):
    prediction, truth = both
    a, b = prediction.rows(2), truth.rows(2)

    def mean(x, y):
        return pairwise_distances(x.astype(float), y.astype(float)).mean()

    expected = 2 * mean(a, b) - mean(a, a) - mean(b, b)
    assert distributions.energy_distance(a, b) == pytest.approx(expected, abs=EXACT)
    apart = pairwise_distances(b.astype(float))[np.triu_indices(len(b), k=1)]
    width = float(np.median(apart))
    kernels = [pairwise.rbf_kernel(*pair, gamma=0.5 / width**2).mean() for pair in ((a, a), (b, b), (a, b))]
    squared = kernels[0] + kernels[1] - 2 * kernels[2]
    assert distributions.mmd(a, b, width) ** 2 == pytest.approx(squared, abs=EXACT)
    found = distributions.compare([b], [a], truth.rows(0))[0]
    assert found.energy == pytest.approx(expected, abs=EXACT)
    assert found.mmd**2 == pytest.approx(squared, abs=EXACT)


def test_equal_cells_are_at_no_distance():
    cells = 1000 + RANDOM.normal(size=(20, 5)).astype(np.float32)
    assert distributions.energy_distance(cells, np.concatenate([cells, cells])) == 0


def test_weights_count_as_copies():
    values, other = RANDOM.normal(size=9).round(1), RANDOM.normal(size=9).round(1)
    weights = RANDOM.integers(0, 3, (20, 9))
    copies = [(np.repeat(values, one), np.repeat(other, one)) for one in weights]
    assert weighted_median(values, weights) == pytest.approx([np.median(one) for one, _ in copies])
    pearson = [stats.pearsonr(*pair)[0] for pair in copies]
    assert correlation(values, other, weights) == pytest.approx(pearson)
    spearman = [stats.spearmanr(*pair)[0] for pair in copies]
    assert correlation(values, other, weights, ranks=True) == pytest.approx(spearman)
