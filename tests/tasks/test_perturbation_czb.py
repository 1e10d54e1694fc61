"""What went wrong in cz-benchmarks' two perturbation tasks, each as a test that it does not here."""

import numpy as np
import pytest
import scipy.sparse as sp

from cellgauge_tasks import NotApplicable, perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, protocols, scale

GENES = np.array([f"g{n}" for n in range(60)])


@pytest.fixture(scope="module")
def truth():
    """Cells of a control and three conditions that change twenty genes each, one of which the control has not."""
    random = np.random.default_rng(0)
    base = random.gamma(2.0, 2.0, 60)
    base[0] = 0
    rows, labels = [random.poisson(base, (120, 60))], ["ctrl"] * 120
    for number in range(3):
        mean = base * np.where((np.arange(60) + 5 * number) % 3 == 0, np.exp(random.normal(0, 1.5, 60)), 1)
        mean[0] = 4
        rows.append(random.poisson(mean, (80, 60)))
        labels += [f"c{number}"] * 80
    return Perturbed(np.concatenate(rows), labels, "ctrl", GENES)


@pytest.fixture(scope="module")
def masked(truth):
    return protocols.choose_masked(truth)


def test_genes_in_another_order_are_not_mistaken_for_each_other(truth):
    # There, the control's genes were renamed to the prediction's, whatever their order.
    turned = Perturbed(truth.matrix[:, ::-1], truth.conditions, "ctrl", GENES[::-1])
    expected = perturbation_prediction.score(truth, truth)
    found = perturbation_prediction.score(turned, truth)
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=1e-12)
    assert found[0].value == pytest.approx(1)


def test_fewer_genes_do_not_end_it(truth):
    # There, a model that left genes out crashed the task.
    with pytest.warns(UserWarning, match="lacks 10 of 60 genes"):
        found = perturbation_prediction.score(
            Perturbed(truth.matrix[:, 10:], truth.conditions, "ctrl", GENES[10:]), truth
        )
    assert found[0].value < 1


@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
def test_the_control_itself_has_no_correlation_and_its_median_no_better_one_than_it_deserves(truth):
    # There, the mean of the control gave NaN and the median, less the mean, a number that meant nothing.
    control = scale.log1p(truth, scale.common_total(truth)).rows(0)
    for predicted, defined in ((control.mean(axis=0, dtype=float), False), (np.median(control, axis=0), True)):
        rows = np.tile(predicted, (3, 1))
        given = Perturbed(rows, truth.names, "ctrl", GENES, level="means", scale="log1p")
        metrics = {one.metric: one for one in perturbation_prediction.score(given, truth)}
        assert ("pearson_delta" in metrics) is defined
        assert np.isfinite(metrics["mse"].value)
        assert metrics["discrimination"].value == pytest.approx(0.5)


def test_both_directions_of_change_count(truth):
    # There, only genes that go up were among the top ones.
    less = truth.matrix.copy()
    less[truth.codes > 0, 5] = 0
    table = perturbation_prediction.score(truth, Perturbed(less, truth.conditions, "ctrl", GENES))
    assert next(one.value for one in table if one.metric == "de_overlap") < 1


class TestMaskedGenes:
    """Spearman's correlation of predicted and true log fold changes of masked genes."""

    def test_a_perfect_predictor_is_right_although_the_control_lacks_a_gene(self, truth, masked):
        # There, it fell from 1.0 to 0.54, since one mean of 0 turned all ratios of the condition into differences.
        assert truth.matrix[truth.codes == 0, 0].sum() == 0
        every = dict.fromkeys(truth.names.tolist(), GENES)
        for genes in (masked, every):
            found = protocols.masked_genes(truth, truth, genes)
            assert [one.metric for one in found[::2]] == [*protocols.METRICS]
            assert [one.value for one in found] == [pytest.approx(1.0)] * 6
            assert found[0].params["protocol"] == "masked genes"

    def test_perfect_means_of_counts_are_right_too(self, truth, masked):
        rows = np.stack([truth.rows(code).mean(axis=0, dtype=float) for code in range(1, 4)])
        found = protocols.masked_genes(Perturbed(rows, truth.names, "ctrl", GENES, level="means"), truth, masked)
        assert [one.value for one in found] == [pytest.approx(1.0)] * 6
        assert found[0].params["means_of"] == "pooled counts"

    def test_a_constant_prediction_has_no_value(self, truth, masked):
        # There, NaN became 0.
        means = scale.means(scale.log1p(truth, scale.common_total(truth)))
        rows = np.stack([means[0], *means[2:]])
        given = Perturbed(rows, truth.names, "ctrl", GENES, level="means", scale="log1p")
        with pytest.warns(UserWarning, match="masked_genes_spearman: over 2 of 3 conditions only"):
            found = protocols.masked_genes(given, truth, masked)
        assert found[0].params["undefined_in"] == 1
        assert found[0].value == pytest.approx(1)
        assert np.isnan(found.details["values"][0, 0])

    def test_nothing_is_skipped(self, truth, masked):
        # There, conditions and genes that were not predicted were left out silently.
        with pytest.raises(ValueError, match=r"the prediction has no condition 'c2' \(1 of 3 are missing\)"):
            protocols.masked_genes(truth.only(["c0", "c1"]), truth, masked)
        hidden = masked["c1"][0] != GENES
        fewer = Perturbed(truth.matrix[:, hidden], truth.conditions, "ctrl", GENES[hidden])
        with pytest.raises(ValueError, match=f"'{masked['c1'][0]}' is not predicted for"):
            protocols.masked_genes(fewer, truth, masked)

    def test_masked_genes_are_masked(self, truth, masked):
        # There, they were chosen, and stayed in what the model got.
        sparse = Perturbed(sp.csr_matrix(truth.matrix), truth.conditions, "ctrl", GENES)
        for given in (truth, sparse):
            shown = protocols.mask(given, masked)
            for code, name in enumerate(truth.names, start=1):
                hidden = np.isin(GENES, masked[name])
                assert not shown.rows(code)[:, hidden].any()
                assert np.array_equal(shown.rows(code)[:, ~hidden], truth.rows(code)[:, ~hidden])
            assert np.array_equal(shown.rows(0), truth.rows(0))

    def test_what_a_model_is_shown_does_not_answer(self, truth, masked):
        with pytest.warns(UserWarning, match="masked_genes_spearman .* left out"):
            found = protocols.masked_genes(filled(truth, masked), truth, masked)
        assert {(one.metric, one.value) for one in found} == {("masked_genes_direction", 0.0)}

    def test_the_choice_is_seeded_and_leaves_quiet_conditions_out(self, truth, masked):
        again, other = protocols.choose_masked(truth), protocols.choose_masked(truth, seed=1)
        assert all(np.array_equal(again[name], masked[name]) for name in masked)
        assert any(not np.array_equal(other[name], masked[name]) for name in masked)
        assert set(protocols.choose_masked(truth, share=1.0)["c0"]) > set(masked["c0"])
        with pytest.raises(NotApplicable, match="none of 3 conditions"):
            protocols.choose_masked(truth, change=50.0)

    def test_true_changes_may_be_infinite(self, truth):
        found = protocols.masked_genes(truth, truth, {"c0": GENES[:6]})
        assert found[0].value == pytest.approx(1)
        assert found[0].interval is None


def filled(truth, masked):
    """What was shown, where masked genes, which are 0 in every cell, have the control's mean."""
    shown = protocols.mask(truth, masked)
    means = scale.means(scale.log1p(shown, scale.common_total(truth)))[1:]
    control = scale.means(scale.log1p(truth, scale.common_total(truth)))[0]
    rows = np.where(means == 0, control, means)
    return Perturbed(rows, truth.names, "ctrl", GENES, level="means", scale="log1p")
