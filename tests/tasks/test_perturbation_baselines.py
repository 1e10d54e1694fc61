"""Plain predictions, and controls, on made cells and on real screens."""

import warnings

import anndata
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from cellgauge_tasks import NotApplicable, perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed, baselines, controls, scale
from screen import value

UNDEFINED = pytest.mark.filterwarnings("ignore:.*(left out|conditions only):UserWarning")
GENES = [f"g{n}" for n in range(30)]


@pytest.fixture(scope="module")
def training():
    """Two genes perturbed alone, one compound, and a control; effects that add up."""
    random = np.random.default_rng(0)
    means = np.full((4, 30), 4.0)
    means[1, :5] *= 3
    means[2, 5:10] *= 0.3
    means[3, 20:] *= 2
    matrix = random.poisson(np.repeat(means, 200, axis=0))
    labels = np.repeat(["ctrl", "g3", "g7", "drug"], 200)
    return Perturbed(matrix, labels, "ctrl", GENES, {"g3": ["g3"], "g7": ["g7"], "drug": ["drug"]})


@pytest.fixture(scope="module")
def known(training):
    """The training means on the scale of log1p: control, drug, g3, g7."""
    return scale.means(scale.log1p(training, scale.common_total(training)))


def test_each_predicts_means_of_every_condition_that_is_asked(training):
    wanted = {"g5": ["g5"], "g3+g7": ["g3", "g7"]}
    for name, predict in baselines.BASELINES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if name == "additive" else "error")
            found = predict(training, wanted)
        assert (found.level, found.scale, found.matrix.shape) == ("means", "log1p", (2, 30))
        assert list(found.conditions) == list(wanted)


def test_no_change_is_the_control_and_mean_the_mean_of_means(training, known):
    wanted = {"g5": ["g5"], "g3+g7": ["g3", "g7"]}
    assert baselines.no_change(training, wanted).matrix == pytest.approx(np.tile(known[0], (2, 1)), rel=1e-6)
    assert baselines.mean(training, wanted).matrix == pytest.approx(np.tile(known[1:].mean(axis=0), (2, 1)), rel=1e-6)


def test_effects_of_single_targets_add_up(training, known):
    found = baselines.additive(training, {"g3+g7": ["g3", "g7"], "drug+g3": ["drug", "g3"]}).matrix
    control, drug, g3, g7 = known
    assert found[0] == pytest.approx(g3 + g7 - control, rel=1e-6)
    assert found[1] == pytest.approx(drug + g3 - control, rel=1e-6)
    with pytest.warns(UserWarning, match="1 of 2 targets were not seen alone"):
        assert baselines.additive(training, {"g3+g9": ["g3", "g9"]}).matrix[0] == pytest.approx(g3, rel=1e-6)


def test_the_linear_model_is_its_definition():
    random = np.random.default_rng(1)
    labels = np.repeat(["ctrl", *GENES[:12]], 40)
    training = Perturbed(
        random.poisson(random.gamma(2, 2, 30) * np.exp(random.normal(0, 0.3, (520, 30)))), labels, "ctrl", GENES
    )
    means = scale.means(scale.log1p(training, scale.common_total(training)))
    effects = (means[1:] - means[0]).T
    embedded = PCA(5).fit_transform(means.T)
    columns = [GENES.index(name) for name in training.names]
    center = effects.mean(axis=1, keepdims=True)
    # Ridge on both sides is ridge on genes, and then ridge on conditions.
    inner = Ridge(alpha=0.1, fit_intercept=False).fit(embedded, effects - center).coef_
    weights = Ridge(alpha=0.1, fit_intercept=False).fit(embedded[columns], inner).coef_
    expected = means[0] + center[:, 0] + embedded @ weights @ embedded[20]
    found = baselines.linear(training, {"g20": ["g20"], "unheard": ["unheard"]}, n_components=5).matrix
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert found[1] == pytest.approx(means[0] + center[:, 0], rel=1e-5)


def test_without_what_they_learn_from_they_do_not_apply(training):
    with pytest.raises(NotApplicable, match="1 of 2 training conditions target a measured gene"):
        baselines.linear(training.only(["g3", "drug"]), {"g5": ["g5"]})
    with pytest.raises(NotApplicable, match="training has 200 controls and 0 conditions"):
        baselines.mean(training.only([]), {"g5": ["g5"]})


def screen(folder, name, conditions=None):
    data = anndata.read_h5ad(folder / f"{name}.h5ad")
    data = data[:, :: max(1, data.n_vars // 1000)]  # enough of them, and quick
    given = data.obs["perturbation"] if conditions is None else conditions(data.obs)
    return Perturbed(data.X, given.astype(str), "control", data.var_names)


REAL = {
    "thp1_eccite_papalexi": None,
    "jurkat_scifi_datlinger2021": None,
    "pbmc_ifnb_kang_1k": None,
    "gbm_panobinostat_zhao": lambda obs: np.where(
        obs["perturbation"].astype(str) == "control", "control", obs["donor"].astype(str)
    ),
}


@UNDEFINED
@pytest.mark.parametrize("name", REAL)
def test_on_real_screens_controls_are_far_apart(real_data, name):
    truth = screen(real_data, name, REAL[name])
    best, worst = (
        perturbation_prediction.score(perturbation_prediction.TASK.controls[which](truth, 1), truth)
        for which in ("positive", "negative")
    )
    for metric, apart in (("pearson_delta", 0.7), ("de_auroc", 0.2), ("de_direction_match", 0.3), ("de_overlap", 0.3)):
        assert value(best, metric) > value(worst, metric) + apart, metric
    for metric in ("mse", "mae", "energy_distance", "mmd"):
        assert value(best, metric) < value(worst, metric), metric
    if len(truth.names) > 1:
        assert value(best, "discrimination", distance="l1") > 0.95
        assert value(worst, "discrimination", distance="l1") == pytest.approx(0.5, abs=0.2)
        shuffled = perturbation_prediction.score(controls.shuffled(truth, 1), truth)
        assert value(shuffled, "discrimination", distance="l1") < 0.75
        assert value(best, "pearson_delta_perturbed") > value(shuffled, "pearson_delta_perturbed") + 0.3


@UNDEFINED
@pytest.mark.parametrize("name", ["thp1_eccite_papalexi", "jurkat_scifi_datlinger2021"])
def test_on_real_screens_the_mean_of_other_perturbations_is_nearer_than_no_change(real_data, name):
    truth = screen(real_data, name)
    names = truth.names[::4].tolist()
    test = np.isin(truth.conditions, names)
    wanted = {name: [name] for name in names}
    mean, nothing = (
        perturbation_prediction.score(predict(truth.among(~test), wanted), truth, train=~test, test=test)
        for predict in (baselines.mean, baselines.no_change)
    )
    assert value(mean, "mse", genes="all") < value(nothing, "mse", genes="all")
    assert value(mean, "pearson_delta", genes="all") > 0.2
    assert value(mean, "de_auroc") > value(nothing, "de_auroc") == 0.5
    # Whatever is common to all perturbations tells none from another.
    assert value(mean, "discrimination", distance="l1") == value(nothing, "discrimination", distance="l1")
    assert "pearson_delta_perturbed" not in {one.metric for one in mean}
