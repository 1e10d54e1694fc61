from dataclasses import replace

import numpy as np
import pytest

from cellgauge_tasks import NotApplicable, find, masked_gene_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, controls, protocols, scale
from screen import counts, value

TASK, score = masked_gene_prediction.TASK, masked_gene_prediction.score
WIDE = {"genes": 120, "wide": 16, "strength": 1.5}
UNDEFINED = pytest.mark.filterwarnings("ignore:.*(left out|conditions only):UserWarning")


@pytest.fixture(scope="module")
def truth():
    """Cells whose conditions raise sixteen genes each, to different heights."""
    random = np.random.default_rng(4)
    base = random.gamma(2.0, 1.5, 120)
    rows, labels = [random.poisson(base, (120, 120))], ["ctrl"] * 120
    for number in range(4):
        change = np.ones(120)
        change[24 * number : 24 * number + 24] = np.exp(random.choice([-1, 1], 24) * random.uniform(0.8, 2.5, 24))
        rows.append(random.poisson(base * change, (60, 120)))
        labels += [f"g{24 * number}"] * 60
    return Perturbed(np.concatenate(rows), labels, "ctrl", [f"g{n}" for n in range(120)])


def means(given):
    return Perturbed(scale.means(given)[1:], given.names, "ctrl", given.genes, level="means")


def test_the_task_is_there_with_a_rule_of_masking():
    assert find()["masked_gene_prediction"] is TASK
    assert TASK.masked == protocols.RULE
    assert TASK.headline.keys() < {*protocols.METRICS}


@pytest.mark.parametrize("form", [lambda given: given, means], ids=["cells", "means"])
@UNDEFINED
def test_the_truth_drawn_again_scores_high_and_control_cells_low(truth, form):
    best, worst = (score(form(one(truth)), truth) for one in (controls.drawn_again, controls.no_change))
    assert value(best, "masked_genes_spearman") > 0.9
    assert value(best, "masked_genes_direction") > 0.95
    assert abs(value(worst, "masked_genes_spearman")) < 0.4
    assert value(worst, "masked_genes_direction") == pytest.approx(0.5, abs=0.25)


def test_it_is_the_protocol_on_genes_that_no_seed_changes(truth):
    found, again = (score(controls.drawn_again(truth), truth, seed=seed) for seed in (1, 2))
    expected = protocols.masked_genes(controls.drawn_again(truth), truth, protocols.choose_masked(truth), seed=1)
    assert [one.value for one in found] == [one.value for one in again] == [one.value for one in expected]
    for one in found:
        assert (one.interval.unit, one.params["n_genes"], one.params["protocol"]) == ("conditions", 120, "masked genes")


def test_only_masked_genes_count(truth):
    hidden = protocols.choose_masked(truth)
    rows = scale.means(truth)[1:]
    for row, name in zip(rows, truth.names, strict=True):
        row[~np.isin(truth.genes, hidden[name])] = 1.0
    found = score(replace(means(truth), matrix=rows), truth)
    assert value(found, "masked_genes_spearman") == pytest.approx(1)


def test_conditions_without_masked_genes_take_no_part(truth):
    quiet = counts(conditions=1, genes=120, strength=0.0)
    labels = np.concatenate([truth.conditions, np.full((quiet.codes == 1).sum(), "quiet")])
    both = Perturbed(np.concatenate([truth.matrix, truth.rows(0)[:25]]), labels, "ctrl", truth.genes)
    assert "quiet" not in protocols.choose_masked(both)
    for predicted in (both, truth):  # predicted or not
        found = score(predicted, both)
        assert found[0].params["n_conditions"] == 4
        assert value(found, "masked_genes_spearman") == pytest.approx(1)


def test_a_condition_with_masked_genes_has_to_be_predicted(truth):
    with pytest.raises(ValueError, match="'g72' is missing from the prediction"):
        score(truth.only(["g0", "g24", "g48"]), truth)


@UNDEFINED
def test_of_a_masked_gene_that_is_not_predicted_no_change_is_taken_as_predicted(truth):
    hidden = protocols.choose_masked(truth)["g0"]
    there = ~np.isin(truth.genes, hidden)
    fewer = Perturbed(truth.matrix[:, there], truth.conditions, "ctrl", truth.genes[there])
    with pytest.warns(UserWarning, match=f"lacks {len(hidden)} of 120 genes"):
        found = score(fewer, truth)
    whole = score(truth, truth)
    assert value(found, "masked_genes_direction") < value(whole, "masked_genes_direction") == 1


def test_with_a_split_only_what_was_held_out_is_masked_and_scored(truth):
    test = np.isin(truth.conditions, ["g24", "g72"])
    found = score(truth.only(["g24", "g72"]), truth, train=~test, test=test)
    assert found[0].params["n_conditions"] == 2
    assert found[0].n_cells == 120


def test_where_nothing_changes_enough_it_does_not_apply(truth):
    with pytest.raises(NotApplicable, match="none of 4 conditions changes enough genes to mask 5"):
        score(counts(strength=0.0), counts(strength=0.0))
