"""The plain baselines of perturbation prediction: through the command line, and against another implementation."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge_model import NotApplicable
from cellgauge_model.contract import Condition
from cellgauge_tasks.metrics.perturbation import Perturbed, baselines, scale
from support import ROOT

MODELS = ("no_change", "mean_effect", "linear_effect")
DATASET = "thp1_eccite_papalexi"


def predict(name, cells, asked, controls, params=None, masked=None):
    """Let a shipped model predict, in this process."""
    path = ROOT / "model-images" / name / "model.py"
    found = importlib.util.spec_from_file_location(f"shipped_{name}", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    said = []
    context = SimpleNamespace(
        params=params or {"n_components": 10, "ridge": 0.1},
        conditions=asked,
        training=cells,
        masked=masked,
        warn=said.append,
    )
    given = anndata.AnnData(cells.X[controls], cells.obs[[]][controls], cells.var)
    return module.predict(None, given, context), said


def even_cells(conditions, genes=40, total=4000, seed=0):
    """One cell a condition, each with the same total: then a mean of logarithms is the logarithm of the mean."""
    random = np.random.default_rng(seed)
    base = random.gamma(1.0, 1.0, genes)
    counts = np.array(
        [random.multinomial(total, p / p.sum()) for p in base * random.gamma(4, 0.25, (len(conditions), genes))]
    )
    names = [f"G{n}" for n in range(genes)]
    var = pd.DataFrame({"gene_symbol": names, "ensembl_id": "", "feature_name": names}, index=names)
    obs = pd.DataFrame({"condition": conditions}, index=[f"cell{n}" for n in range(len(conditions))])
    return anndata.AnnData(sp.csr_matrix(counts.astype("float32")), obs, var)


def uneven_cells(genes=40, seed=0):
    """Many cells a condition, of many depths."""
    random = np.random.default_rng(seed)
    conditions = np.repeat(["control", "G1", "G2", "G3"], [30, 10, 20, 15])
    base = random.gamma(1.0, 1.0, genes)
    change = {one: np.exp(random.normal(0, 0.7, genes)) for one in ("control", "G1", "G2", "G3")}
    depth = random.lognormal(0, 0.6, len(conditions))
    counts = random.poisson([base * change[one] * 20 * each for one, each in zip(conditions, depth, strict=True)])
    cells = even_cells(list(conditions), genes)
    cells.X = sp.csr_matrix(counts.astype("float32"))
    return cells, conditions == "control"


SEEN = ["control", *(f"G{n}" for n in range(1, 13)), "G3+G4", "ctrl+G13", "COMPOUND"]
ASKED = {"G20": ["G20"], "G1+G21": ["G1", "G21"], "unmeasured": ["X1"], "G2+G13": ["G2", "G13"]}
TARGETS = {"G3+G4": ["G3", "G4"], "ctrl+G13": ["G13"]}


@pytest.mark.parametrize(
    ("name", "other", "told"),
    [
        ("no_change", "no_change", []),
        ("mean_effect", "mean", []),
        ("additive_effect", "additive", ["3 of 6 targets were not seen alone and add nothing: G20, …"]),
        ("linear_effect", "linear", ["1 of 4 conditions target no gene that is measured and get the mean effect"]),
    ],
)
@pytest.mark.filterwarnings("ignore:3 of 6 targets were not seen alone")
def test_a_baseline_predicts_what_another_implementation_predicts(name, other, told):
    cells = even_cells(SEEN)
    asked = [Condition(one, targets) for one, targets in ASKED.items()]
    found, said = predict(name, cells, asked, np.arange(len(SEEN)) == 0)
    training = Perturbed(cells.X, SEEN, "control", cells.var_names, TARGETS)
    expected = baselines.BASELINES[other](training, ASKED)
    expected = scale.counts(replace(expected, matrix=np.maximum(expected.matrix, 0)))
    totals = scale.log1p(expected, float(cells.X[0].sum()))
    assert list(found.obs["condition"]) == list(ASKED)
    assert np.log1p(found.X) == pytest.approx(totals.matrix, rel=1e-5, abs=1e-5)
    assert said == told


@pytest.mark.parametrize("name", [*MODELS, "additive_effect", "fitted_effect"])
def test_what_a_baseline_predicts_is_what_is_scored(name):
    """Its counts have the total to which scoring scales them, of uneven cells too; or another number is scored."""
    cells, controls = uneven_cells()
    total = cells.X[controls].sum() / controls.sum()
    found, _ = predict(name, cells, [Condition("a", ["G1"]), Condition("b", ["G1", "G2"])], controls)
    assert found.X.sum(axis=1) == pytest.approx([total] * 2)
    made = Perturbed(found.X, ["a", "b"], "control", cells.var_names, level="means")
    assert scale.pooled(made, float(total))[1:] == pytest.approx(np.log1p(found.X), abs=1e-5)


def test_the_mean_effect_of_uneven_cells_is_the_mean_of_pooled_logarithms():
    cells, controls = uneven_cells()
    total = float(cells.X[controls].sum() / controls.sum())
    found, _ = predict("mean_effect", cells, [Condition("a")], controls)
    truth = Perturbed(cells.X, cells.obs["condition"], "control", cells.var_names)
    mean = np.expm1(scale.pooled(truth, total)[1:].mean(axis=0))
    assert mean.sum() < 0.995 * total, "else this tells nothing"
    assert found.X[0] == pytest.approx(mean * (total / mean.sum()), rel=1e-5)


@pytest.mark.parametrize("name", ["additive_effect", "linear_effect"])
@pytest.mark.parametrize("names", [("DMSO", "G1+DMSO", "DMSO + G2"), ("G30", "G1 + G30", "G30+G2")])
def test_the_control_of_a_dataset_is_no_target_whatever_it_is_called(name, names):
    asked = [Condition("G1+G2", ["G1", "G2"])]
    plain = even_cells(["ctrl", "G1", "G2", "G3", "G4+G5"])
    controls = np.arange(5) == 0
    expected, said = predict(name, plain, asked, controls)
    other = plain.copy()
    other.obs["condition"] = [*names, "G3", "G4+G5"]
    found, told = predict(name, other, asked, controls)
    assert np.allclose(found.X, expected.X)
    assert said == told == []


def test_targets_are_found_by_either_kind_of_id_and_in_a_column_of_their_own():
    cells = even_cells(SEEN)
    control = np.arange(len(SEEN)) == 0
    plain, _ = predict("linear_effect", cells, [Condition("a", ["G20"])], control)
    other = cells.copy()
    other.var_names = [f"ENSG{n:011d}" for n in range(cells.n_vars)]
    other.obs["condition"] = [f"guide {n}" for n in range(len(SEEN))]
    other.obs["target"] = [*SEEN[:-1], None]
    renamed, _ = predict("linear_effect", other, [Condition("a", ["ENSG00000000020"])], control)
    assert np.allclose(renamed.X, plain.X, rtol=1e-5)


def test_without_targets_that_are_measured_the_linear_model_is_the_mean_effect():
    cells = even_cells(["control", "x1", "x2"])
    linear, said = predict("linear_effect", cells, [Condition("x3", ["x3"])], np.array([True, False, False]))
    mean, _ = predict("mean_effect", cells, [Condition("x3", ["x3"])], np.array([True, False, False]))
    assert np.allclose(linear.X, mean.X, rtol=1e-5)
    assert "fewer than 2 training conditions" in said[0]


@pytest.mark.parametrize("name", [*MODELS[1:], "fitted_effect"])
def test_without_conditions_to_learn_from_it_does_not_apply(name):
    cells = even_cells(["control", "control"])
    with pytest.raises(NotApplicable, match="no condition but the control"):
        predict(name, cells, [Condition("a")], np.array([True, True]))


def test_the_mix_that_fits_the_genes_not_masked_says_what_the_masked_ones_do():
    random = np.random.default_rng(0)
    base, programs = random.gamma(2.0, 20.0, 80), random.normal(0, 0.8, (3, 80))
    seen = [f"t{n}" for n in range(12)]
    mixes = random.normal(size=(14, 3))
    profiles = np.array([base, *(base * np.exp(mix @ programs) for mix in mixes)])
    names = [f"G{n}" for n in range(80)]
    var = pd.DataFrame(index=names)
    obs = pd.DataFrame({"condition": ["control", *seen, "a", "b"]}, index=[f"cell{n}" for n in range(15)])
    cells = anndata.AnnData(sp.csr_matrix(profiles.astype("float32")), obs, var)
    hidden = {"a": names[:20], "b": names[10:40]}
    shown = cells[13:].copy()
    shown.X = np.array(
        [np.where(np.isin(names, hidden[one]), 0, row) for one, row in zip("ab", profiles[13:], strict=True)]
    )
    asked = [Condition(one, masked=hidden[one]) for one in "ab"]
    given = (cells[:13], asked, np.arange(13) == 0)
    found, _ = predict("fitted_effect", *given, params={"ridge": 0.001}, masked=shown)
    blind, _ = predict("fitted_effect", *given)
    mean, _ = predict("mean_effect", *given)
    assert np.allclose(blind.X, mean.X, rtol=1e-5), "of what it sees no cell of it knows no more than others"
    for row, one in enumerate("ab"):
        where = np.isin(names, hidden[one])
        true, guess = (np.log1p(some[where]) - np.log1p(base[where]) for some in (profiles[13 + row], found.X[row]))
        assert np.corrcoef(true, guess)[0, 1] > 0.9
        assert np.corrcoef(true, np.log1p(blind.X[row, where]) - np.log1p(base[where]))[0, 1] < 0.8


def test_the_model_of_the_how_to_predicts(monkeypatch):
    page = (ROOT / "docs" / "how-to" / "perturbations.md").read_text()
    (text,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    served = {}
    monkeypatch.setattr("cellgauge_model.serve", lambda **verbs: served.update(verbs))
    exec(compile(text, "perturbations.md", "exec"), {})
    cells = even_cells(SEEN)
    context = SimpleNamespace(training=cells, conditions=[Condition("a"), Condition("b")])
    found = served["predict"](None, cells[:1], context)
    assert list(found.obs["condition"]) == ["a", "b"]
    assert found.X[0] == pytest.approx(np.asarray(cells.X.mean(axis=0)).ravel())


@pytest.fixture
def cellgauge(tmp_path):
    def call(*words):
        command = [sys.executable, "-m", "cellgauge", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize(
    "engine_name", [pytest.param("local", marks=pytest.mark.slow), pytest.param("docker", marks=pytest.mark.docker)]
)
def test_the_baselines_of_perturbation_prediction_run_and_are_told_apart(cellgauge, real_catalog, engine_name):
    arguments = ["-m", ",".join(MODELS), "-d", DATASET, "-t", "perturbation_prediction", "--catalog", str(real_catalog)]
    done = cellgauge("run", *arguments, "--engine", engine_name, "--json")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["results"]
    assert {one["state"] for one in cells} == {"ok"}
    values = {}
    for cell in cells:
        for one in reversed(cell["scores"]):  # the mean over all genes comes first
            values[cell["model"], one["metric"]] = one["value"]
    assert values["mean_effect", "pearson_delta"] == pytest.approx(0.404615, abs=1e-5)
    assert values["mean_effect", "mse"] < values["no_change", "mse"]
    assert ("no_change", "pearson_delta") not in values, "no effect at all correlates with nothing"
    (job,) = {cell["job"] for cell in cells if cell["model"] == "linear_effect"}
    shown = cellgauge("show", job, "--json")
    assert shown.returncode == 0, shown.stderr
    assert "target no gene that is measured" in shown.stdout
    if engine_name == "docker":
        return  # the rest is the same with either
    again = cellgauge("reproduce", job, "--catalog", str(real_catalog), "--engine", engine_name)
    assert (again.returncode, "byte for byte" in " ".join(again.stdout.split())) == (0, True), again.stderr
    plan = cellgauge("plan", *arguments, "--engine", engine_name)
    assert "jobs to run: 0" in " ".join(plan.stdout.split()), plan.stdout
