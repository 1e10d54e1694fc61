from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

import made
from cellgauge_tasks import find, perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, controls, distributions, scale
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from screen import counts, value

TASK = perturbation_prediction.TASK
score = perturbation_prediction.score
UNDEFINED = pytest.mark.filterwarnings("ignore:.*(left out|conditions only):UserWarning")


@pytest.fixture(scope="module")
def truth():
    return counts()


@pytest.fixture(scope="module")
def prediction():
    return counts(seed=1, strength=0.7)


def names(scores):
    return {one.metric for one in scores}


def test_every_metric_has_a_mean_a_median_and_an_interval_over_conditions(truth, prediction):
    scores = score(prediction, truth)
    assert find()["perturbation_prediction"] is TASK
    assert set(TASK.headline) <= names(scores)
    for one in scores:
        assert one.interval.unit == "conditions"
        assert one.interval.n_units == 4
        assert one.interval.low <= one.interval.high
        assert one.n_cells == 100
        assert one.params["scaled_to"] == np.median(truth.matrix[truth.codes == 0].sum(axis=1))
    table = scores.details
    column = list(table["metrics"]).index("pearson_delta all")
    assert value(scores, "pearson_delta", genes="all") == pytest.approx(table["values"][:, column].mean())
    assert value(scores, "pearson_delta", "median", genes="all") == pytest.approx(np.median(table["values"][:, column]))
    assert list(table["conditions"]) == ["g0", "g12", "g4", "g8"]


def test_errors_and_distances_say_that_lower_is_better(truth, prediction):
    lower = {one.metric for one in score(prediction, truth) if one.better == "lower"}
    assert lower == {"mse", "mae", "energy_distance", "mmd"}


def test_the_headline_number_comes_first(truth, prediction):
    for metric in TASK.headline:
        first = next(one for one in score(prediction, truth) if one.metric == metric)
        assert first.params["over"] == "mean"
        assert first.params.get("genes", "all") == "all"
        assert first.params.get("k", "significant") == "significant"


def test_the_mean_is_of_log1p_of_scaled_counts(truth):
    total = np.median(truth.matrix[truth.codes == 0].sum(axis=1))
    scaled = np.log1p(truth.matrix / truth.matrix.sum(axis=1, keepdims=True) * total)
    found = Comparison.of(controls.drawn_again(truth), truth)
    assert found.true_means[1] == pytest.approx(scaled[truth.conditions == "g0"].mean(axis=0), rel=1e-6)
    declared = Perturbed(scaled, truth.conditions, "ctrl", truth.genes, scale="log1p")
    again = Comparison.of(controls.drawn_again(declared), declared)
    assert again.true_effects == pytest.approx(found.true_effects, abs=1e-6)
    assert again.total == pytest.approx(total, rel=1e-6)


def test_depth_is_not_an_effect(truth):
    deeper = Perturbed(truth.matrix * 4, truth.conditions, "ctrl", truth.genes)
    found, expected = score(deeper, truth), score(Perturbed(*fields(truth)), truth)
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=1e-5)


def test_values_that_add_up_to_something_else_than_counts_are_warned_of(truth, prediction):
    logs = np.log1p(prediction.matrix / prediction.matrix.sum(axis=1, keepdims=True))
    with pytest.warns(UserWarning, match=r"add up to 0\.9785 a row .* the control's to 122\.7: these values look like"):
        Comparison.of(replace(prediction, matrix=logs), truth)


def fields(given):
    return given.matrix, given.conditions, given.control, given.genes


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, np.float64, np.float16])
def test_the_form_of_a_matrix_does_not_matter(truth, prediction, form):
    converted = [Perturbed(form(one.matrix), *fields(one)[1:]) for one in (prediction, truth)]
    expected = score(prediction, truth)
    assert [one.value for one in score(*converted)] == pytest.approx([one.value for one in expected], abs=1e-6)


def test_the_order_of_rows_and_genes_does_not_matter(truth, prediction):
    random = np.random.default_rng(0)
    rows, genes = random.permutation(len(prediction)), random.permutation(len(prediction.genes))
    mixed = Perturbed(prediction.matrix[rows][:, genes], prediction.conditions[rows], "ctrl", prediction.genes[genes])
    expected = [one.value for one in score(prediction, truth)]
    assert [one.value for one in score(mixed, truth)] == pytest.approx(expected, abs=1e-9)


def test_names_of_conditions_do_not_matter(truth, prediction):
    def renamed(given):
        labels = np.array([f"x{one}" for one in given.conditions])
        targets = {f"x{name}": [name] for name in given.names}
        return Perturbed(given.matrix, labels, "xctrl", given.genes, targets)

    expected = [one.value for one in score(prediction, truth)]
    assert [one.value for one in score(renamed(prediction), renamed(truth))] == pytest.approx(expected, abs=1e-9)


@UNDEFINED
def test_means_are_scored_on_all_but_cells(truth, prediction):
    cells = scale.log1p(prediction, scale.common_total(truth))
    means = Perturbed(scale.means(cells)[1:], cells.names, "ctrl", cells.genes, level="means", scale="log1p")
    whole, found = score(prediction, truth), score(means, truth)
    for metric in ("pearson_delta", "spearman_delta", "mse", "mae", "discrimination", "de_direction_match"):
        assert value(found, metric) == pytest.approx(value(whole, metric), abs=1e-6)
    only_cells = {"de_precision", "de_recall", "energy_distance", "mmd", "energy_distance_pearson"}
    assert names(whole) - names(found) == only_cells | {"de_counts_spearman"}
    assert value(found, "de_auroc", ranked_by="effect") > 0.5


@UNDEFINED
def test_means_of_counts_are_compared_with_pooled_counts(truth):
    perfect = np.stack([truth.rows(code).mean(axis=0, dtype=float) for code in range(1, 5)])
    found = score(Perturbed(perfect, truth.names, "", truth.genes, level="means"), truth)
    assert {one.params["means_of"] for one in found} == {"pooled counts"}
    assert value(found, "pearson_delta", genes="all") == pytest.approx(1)
    assert value(found, "mse", genes="all") == pytest.approx(0, abs=1e-9)


@UNDEFINED
def test_no_change_is_no_effect_and_not_a_correlation_of_rounding_errors(truth):
    truth = replace(truth, targets=dict.fromkeys(truth.names.tolist(), ()))  # so that no gene is left out
    for dtype in (np.float64, np.float32):
        control = truth.rows(0).mean(axis=0, dtype=dtype)
        means = Perturbed(np.tile(control, (4, 1)), truth.names, "ctrl", truth.genes, level="means")
        found = score(means, truth)
        assert not {"pearson_delta", "spearman_delta"} & names(found)
        assert value(found, "discrimination", distance="l1") == pytest.approx(0.5)
        assert value(found, "discrimination", distance="cosine") is None
        assert value(found, "de_overlap") == 0
        assert value(found, "de_auroc") == 0.5
        assert value(found, "de_direction_match") == 0


@UNDEFINED
def test_what_is_undefined_is_counted_and_never_zero(truth, prediction):
    cells = scale.log1p(prediction, scale.common_total(truth))
    means = scale.means(cells)[1:]
    means[1] = scale.means(scale.log1p(truth, scale.common_total(truth)))[0]
    found = score(Perturbed(means, truth.names, "ctrl", truth.genes, level="means", scale="log1p"), truth)
    one = next(one for one in found if one.metric == "pearson_delta")
    assert (one.params["n_conditions"], one.params["undefined_in"]) == (4, 1)
    column = found.details["values"][:, list(found.details["metrics"]).index("pearson_delta all")]
    assert list(np.isnan(column)) == [False, True, False, False]
    assert one.value == pytest.approx(np.nanmean(column))


@UNDEFINED
def test_what_no_condition_has_is_left_out_with_a_reason():
    quiet = counts(strength=0.0)
    with pytest.warns(UserWarning, match="de_overlap .* left out, not defined for any of 4 .* no gene is significant"):
        found = score(counts(strength=0.0, seed=1), quiet)
    assert "de_overlap" not in names(found)
    assert "pearson_delta" in names(found)


def test_genes_that_are_not_predicted_are_predicted_not_to_change(truth, prediction):
    kept = np.arange(40) % 8 > 0
    fewer = Perturbed(prediction.matrix[:, kept], prediction.conditions, "ctrl", prediction.genes[kept])
    with pytest.warns(UserWarning, match="lacks 5 of 40 genes"):
        found = Comparison.of(fewer, truth)
    assert np.abs(found.predicted_effects[:, ~kept]).max() < 0.5
    assert found.predicted_effects[:, kept] == pytest.approx(
        Comparison.of(prediction, truth).predicted_effects[:, kept], abs=0.1
    )
    with pytest.warns(UserWarning, match="lacks"):
        easy = score(fewer, truth)
    assert value(easy, "pearson_delta", genes="all") < value(score(prediction, truth), "pearson_delta", genes="all")
    perfect = scale.pooled(truth, scale.common_total(truth))[1:]
    means = Perturbed(np.expm1(perfect[:, kept]), truth.names, "ctrl", truth.genes[kept], level="means")
    with pytest.warns(UserWarning, match="lacks"):
        found = Comparison.of(means, truth)
    assert np.abs(found.predicted_effects[:, ~kept]).max() < 0.1


def test_held_out_genes_are_scored_alone(truth, prediction):
    found = score(prediction, truth, held_out_genes=["g1", "g5", "g20", "g30"])
    told = Comparison.of(prediction, truth)
    columns = [1, 5, 20, 30]
    squared = ((told.predicted_effects - told.true_effects)[:, columns] ** 2).mean()
    assert value(found, "mse", genes="held out") == pytest.approx(squared)
    with pytest.raises(ValueError, match="only 1 of 2 held-out genes"):
        score(prediction, truth, held_out_genes=["g1", "unheard"])


@UNDEFINED
def test_with_a_split_the_test_conditions_are_scored_and_the_training_ones_are_the_reference(truth, prediction):
    test = np.isin(truth.conditions, ["g0", "g4"])
    found = score(prediction.only(["g0", "g4"]), truth, train=~test, test=test)
    assert list(found.details["conditions"]) == ["g0", "g4"]
    assert found[0].n_cells == 50
    total = scale.common_total(truth)
    reference = scale.means(scale.log1p(truth.among(~test), total))[1:].mean(axis=0)
    told = Comparison.of(prediction.only(["g0", "g4"]), truth.only(["g0", "g4"]), training=truth.among(~test))
    assert told.reference == pytest.approx(reference)
    rows = [one - reference for one in (told.predicted_means, told.true_means[1:])]
    expected = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(*rows, strict=True)])
    assert value(found, "pearson_delta_perturbed", genes="all") == pytest.approx(expected, abs=1e-6)


class TestControls:
    """The truth's own cells at one end, cells that were not perturbed at the other."""

    @UNDEFINED
    def test_they_bracket_a_model(self, truth, prediction):
        best, worst = (TASK.controls[name](truth, 1) for name in ("positive", "negative"))
        best, worst, model = (score(one, truth) for one in (best, worst, prediction))
        for metric in ("pearson_delta", "pearson_delta_perturbed", "discrimination", "de_auroc", "de_direction_match"):
            assert value(worst, metric) < value(model, metric) <= value(best, metric) + 0.1, metric
        for metric in ("mse", "mae", "energy_distance"):
            assert value(worst, metric) > value(model, metric) > value(best, metric), metric
        assert value(worst, "discrimination") == pytest.approx(0.5, abs=0.35)

    def test_other_conditions_cells_have_what_is_common_and_nothing_else(self, truth):
        wrong = controls.shuffled(truth, 3)
        assert wrong.counts.sum() == 100
        found = score(wrong, truth)
        assert value(found, "discrimination", distance="l1") < 0.7
        assert value(found, "pearson_delta") > value(found, "pearson_delta_perturbed")

    def test_cells_drawn_again_are_as_many_and_as_far_as_the_population_would_be(self):
        cells = np.random.default_rng(0).normal(size=(201, 100, 5))
        labels = np.repeat([f"c{n:03}" for n in range(201)], 100)
        given = Perturbed(cells.reshape(-1, 5), labels, "c000", list("abcde"), scale="log1p")
        drawn = controls.drawn_again(given)
        assert drawn.counts.tolist() == [0, *given.counts[1:]]
        whole = scale.means(given)[1:]
        assert ((scale.means(drawn)[1:] - whole) ** 2).mean() == pytest.approx((whole**2).mean(), rel=0.1)

    @UNDEFINED
    def test_another_sample_of_the_same_cells_finds_no_more_genes_than_the_positive_one(self):
        truth, fresh = (counts(each=40, controls=120, strength=0.5, seed=seed) for seed in (0, 7))
        best, model = (value(score(one, truth), "de_recall") for one in (controls.drawn_again(truth), fresh))
        assert model <= best

    def test_the_same_seed_gives_the_same(self, truth):
        for control in (controls.drawn_again, controls.no_change, controls.shuffled):
            one, same, other = control(truth, 1), control(truth, 1), control(truth, 2)
            assert np.array_equal(one.matrix, same.matrix)
            assert not np.array_equal(one.conditions, other.conditions) or not np.array_equal(one.matrix, other.matrix)


def test_every_bit_is_the_same_with_one_thread_and_two(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cells = made.perturbed(6, 150, 700, controls=1000)
    given = [
        Perturbed(one, cells.conditions, made.CONTROL, cells.genes, scale="log1p")
        for one in (cells.predicted, cells.truth)
    ]
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(score(*given))
    for one, other in zip(*found, strict=True):
        assert (one.metric, one.value.hex()) == (other.metric, other.value.hex())
        assert one.interval.replicates.tobytes() == other.interval.replicates.tobytes()


def test_of_very_many_cells_a_seeded_part_is_compared():
    random = np.random.default_rng(0)
    cells, control = random.normal(size=(1500, 8)).astype("f4"), random.normal(0.3, 1, (2500, 8)).astype("f4")
    assert len(distributions.drawn(cells, 1)) == distributions.MOST
    assert np.array_equal(distributions.drawn(cells, 1), distributions.drawn(cells, 1))
    whole = distributions.energy_distance(cells, control)
    found = distributions.compare([cells], [cells], control)[0]
    assert found.energy == 0
    assert found.true_to_control == pytest.approx(whole, rel=0.25)
