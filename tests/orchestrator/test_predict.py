"""The verb `predict`, from views to scores: what models see, what they are asked for, what comes of it."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest

from cellgauge import offline, pipeline, score, shown
from cellgauge.data import view
from cellgauge.pantry import Pantry
from cellgauge.specs import Split
from cellgauge_model import contract
from cellgauge_tasks import Score, Task, find
from knockouts import (
    CONDITIONS,
    CONTROL,
    ROLES,
    make_screen,
    predict_means,
    predictor,
    screen,
    screen_spec,
    write_prediction,
)
from lab import finished, scored

TASK = find()["perturbation_prediction"]


def listening():
    """A task, and what it will have been given."""
    given = []

    def listen(prediction, truth, *, seed, train, test):
        given.append((prediction, truth, train, test))
        return [Score("rows", float(len(prediction)), int(test.sum()))]

    return Task("t", "1", "t", ("perturbation",), listen, {}, "m", verb="predict", split="conditions"), given


@pytest.fixture
def tried(lab):
    """Run predictors on the made screen; give what happened, and what a start of the last one was given."""

    def run(function=predict_means, tasks=None, adata=None, models=None, limit=None, **changes):
        (make_screen() if adata is None else adata).write_h5ad(lab.folder / "screen.h5ad")
        spec = screen_spec(lab.folder / "screen.h5ad", **changes)
        tasks = tasks or {TASK.name: TASK}
        prepared = lab.prepare(
            models=models or (predictor(),), datasets=(spec,), tasks=tasks, how={"limit_cells": limit, "controls": True}
        )
        return prepared, lab.run(prepared, function)

    return run


def test_a_prediction_is_scored_against_the_cells_held_out(lab, tried):
    task, given = listening()
    _, happened = tried(tasks={"t": task})
    assert [one.state for one in finished(happened)] == ["ok"], lab.reasons()
    assert [one.state for one in scored(happened)] == ["ok"], scored(happened)[0].reason
    source = anndata.read_h5ad(lab.folder / "screen.h5ad")
    ((prediction, truth, train, test),) = given
    held = set(prediction.names)
    assert len(held) == 2
    assert held == set(truth.conditions[test]) == set(CONDITIONS) - set(truth.conditions[train])
    assert (truth.control, prediction.level, prediction.scale) == (CONTROL, "means", "counts")
    assert (train.sum(), test.sum(), (train ^ test).all()) == (210, 40, True)
    assert set(truth.conditions[train]) == {CONTROL, *CONDITIONS} - held
    for name in held:
        mine = np.sort(truth.rows(list(truth.names).index(name) + 1).sum(axis=1))
        theirs = np.sort(source[source.obs["guide_target"] == name].X.toarray().sum(axis=1))
        assert (mine == theirs).all()
    trained = np.asarray(truth.matrix[train].mean(axis=0)).ravel()
    assert np.allclose(prediction.matrix, trained)
    assert [truth.genes[truth.targeted(name)].tolist() for name in truth.names if name in held] == [
        [name] for name in sorted(held)
    ]


@pytest.mark.parametrize("values", [[0, 1, 2, 10], [0.0, 0.1, 2.5, 1e-7], pd.Categorical([0, 1, 2, 10])])
def test_conditions_may_be_numbers(lab, tried, values):
    """A model meets them as the words that it is asked for, and each is scored against its own cells."""
    seen, (task, given) = [], listening()

    def look(launch):
        for item in contract.read_request(launch.input).items:
            seen.append((anndata.read_h5ad(launch.input / item.training).obs["condition"], item.conditions))
        return predict_means(launch)

    adata = make_screen(conditions=("G1", "G2", "G3"))
    codes = adata.obs["guide_target"].astype(str).replace({CONTROL: "G0"}).str[1:].astype(int).to_numpy()
    adata.obs["guide_target"] = pd.Series(values).iloc[codes].set_axis(adata.obs_names)
    words = [str(one) for one in values]
    _, happened = tried(look, {"t": task}, adata, control=words[0])
    assert [one.state for one in finished(happened)] == ["ok"], lab.reasons()
    assert [one.state for one in scored(happened)] == ["ok"], scored(happened)[0].reason
    ((prediction, truth, train, test),) = given
    ((shown, asked),) = seen
    assert [one.id for one in asked] == [*prediction.names] == [*{*truth.conditions[test]}]
    assert {*shown} == {*truth.conditions[train]} == {*words} - {*prediction.names}
    assert (train.sum(), test.sum()) == (90, 20)
    place = words.index(asked[0].id)
    assert truth.among(test).matrix.sum() == adata.X[codes == place].sum()


def test_the_shipped_task_gives_numbers_and_they_are_used_again(lab, tried):
    prepared, happened = tried()
    (result,) = scored(happened)
    assert (result.state, result.repeated) == ("ok", None), result.reason
    assert {one.metric for one in result.scores} >= {*TASK.headline}
    assert result.output == finished(happened)[0].items[0].sha256
    assert [(type(one).__name__, one.reused) for one in lab.run(prepared)] == [("Finished", True), ("Scored", True)]
    again = score.all_of([(result.scoring, TASK)], finished(happened)[0], prepared.datasets["screen"], lab.store)
    assert [one.value for one in again[0].scores] == [one.value for one in result.scores]


def test_genes_that_the_model_names_otherwise_are_those_of_the_truth(lab, tried):
    task, given = listening()
    _, happened = tried(tasks={"t": task}, models=(predictor(gene_ids="ensembl"),))
    assert [one.state for one in scored(happened)] == ["ok"], lab.reasons()
    ((prediction, truth, _, _),) = given
    assert list(truth.genes[:2]) == list(prediction.genes[:2]) == ["ENSG00000000000", "ENSG00000000001"]
    (name, *_) = prediction.names
    assert truth.genes[truth.targeted(name)].tolist() == [f"ENSG{int(name[1:]):011d}"]


def test_limited_cells_are_limited_on_both_sides(lab, tried):
    task, given = listening()
    prepared, happened = tried(tasks={"t": task}, limit=60)
    assert [one.state for one in scored(happened)] == ["ok"], lab.reasons()
    ((prediction, truth, train, test),) = given
    assert (train.sum(), test.sum()) == (60, 40)
    assert set(truth.conditions[train]) == {CONTROL, *CONDITIONS} - set(prediction.names)
    (item,), dataset = finished(happened)[0].job.datasets, prepared.datasets["screen"]
    trained = view.annotations(dataset, item.training, item.training.obs)
    controls = trained.index[trained["condition"] == CONTROL]
    assert set(view.cells(dataset, item.view)) == set(controls), "by their ids a model tells controls from others"
    assert 5 < len(controls) < 50


def test_held_out_cells_reach_no_model_by_any_way(lab, tried):
    """Not their ids, their counts, their barcodes, nor what else is known of them; only the name of the condition."""
    looked = []
    source = make_screen()
    source.obs["effect"] = [f"phenotype-of-{name}" for name in source.obs["guide_target"]]

    def look(launch):
        request = (launch.input / "request.json").read_text()
        there = {one.name: one.read_bytes() for one in launch.input.iterdir()}
        views = {one.name: anndata.read_h5ad(one) for one in launch.input.glob("*.h5ad")}
        looked.append((request, there, views))
        return predict_means(launch)

    _, happened = tried(look, adata=source)
    (record,) = finished(happened)
    assert record.state == "ok", lab.reasons()
    ((request, there, views),) = looked
    asked = [one["id"] for one in json.loads(request)["items"][0]["conditions"]]
    assert (len(asked), {*there}) == (2, {"request.json", "screen.h5ad", "screen+training.h5ad"})
    out = source.obs["guide_target"].isin(asked).to_numpy()
    item = record.job.datasets[0]
    hidden = set(view.cells(screen(lab.folder, source), item.held_out))
    assert len(hidden) == out.sum() == 40
    counts = {row.tobytes() for row in source.X.toarray()[out]}
    for found in views.values():
        assert not hidden & set(found.obs_names)
        assert not counts & {row.tobytes() for row in found.X.toarray()}
        assert list(found.obs_names) == sorted(found.obs_names)
    controls, trained = views["screen.h5ad"], views["screen+training.h5ad"]
    assert (controls.n_obs, list(controls.obs)) == (50, [])
    assert set(controls.obs_names) == set(trained.obs_names[trained.obs["condition"] == CONTROL])
    assert set(trained.obs["condition"].cat.categories) == {CONTROL, *CONDITIONS} - set(asked)
    genes = set(source.var_names)
    for name, content in there.items():
        words = {one.decode() for one in re.findall(rb"[\x20-\x7e]{6,}", content)}
        for secret in ("barcode", "phenotype", "lane", "guide_target", *(f"sg{one}" for one in CONDITIONS)):
            assert not [one for one in words if secret in one and one not in genes], (name, secret)
    assert "held" not in request


def test_conditions_are_asked_for_with_all_that_the_catalogue_knows(lab, tried):
    asked = []
    adata = make_screen()
    adata.obs["gene"] = [f"{name}+{name}x" for name in adata.obs["guide_target"]]
    adata.obs["hours"], adata.obs["amount"] = 24, "2 uM"

    def look(launch):
        asked.extend(contract.read_request(launch.input).items)
        return predict_means(launch)

    obs = {"perturbation": "guide_target", "target": "gene", "time": "hours", "dose": "amount"}
    _, happened = tried(look, adata=adata, obs=obs, models=(predictor(can={"rows": "cells"}),))
    assert [one.state for one in finished(happened)] == ["ok"], lab.reasons()
    for one in asked[0].conditions:
        assert one.targets == [one.id, f"{one.id}x"]
        assert (one.time, one.dose, one.unit, one.context, one.n_cells) == (24.0, 2.0, "uM", None, 20)


def test_memory_is_for_all_cells_that_are_read_or_written(lab, tried):
    prepared, _ = tried(models=(predictor(can={"rows": "cells"}),))
    engine = lab.kit().engine
    pantry = Pantry(prepared.plan.jobs, prepared.models, prepared.datasets, engine, lab.store, lab.cache)
    ((given,),) = ([*pantry.given(job)] for job in prepared.plan.jobs)
    pantry.close()
    assert (len(given.cells), given.n_training, given.n_cells) == (50, 210, 50 + 210 + 40)
    assert (given.level, len(given.genes), given.coverage.kept) == ("cells", 30, 30)


def test_two_means_of_a_condition_break_the_contract(lab, tried):
    def twice(launch):
        (item,) = contract.read_request(launch.input).items
        names = [one.id for one in item.conditions] + [item.conditions[0].id]
        write_prediction(launch.output, item, np.ones((3, 30)), [f"G{n}" for n in range(30)], names)
        return 0

    _, happened = tried(twice)
    assert finished(happened)[0].state == "contract_violation"
    assert "has several rows" in finished(happened)[0].reason


def test_logarithms_in_the_place_of_counts_break_the_contract(tried):
    def logged(launch):
        (item,) = contract.read_request(launch.input).items
        training = anndata.read_h5ad(launch.input / item.training)
        cells = training.X.toarray()[:80]
        rows = np.log1p(cells / cells.sum(axis=1, keepdims=True) * 1e4)
        names = [one.id for one in item.conditions for _ in range(one.n_cells)]
        write_prediction(launch.output, item, rows[: len(names)], training.var_names, names)
        return 0

    _, happened = tried(logged, models=(predictor(can={"rows": "cells"}),))
    (result,) = scored(happened)
    assert (result.state, result.scores) == ("contract_violation", ())
    assert "X holds logarithms, and counts are asked for: expm1 of every row adds up to 1e+04" in result.reason


def test_a_prediction_that_was_changed_since_is_not_scored(lab, tried):
    prepared, happened = tried()
    (result,), (record,) = scored(happened), finished(happened)
    path = lab.store.job_folder(record.job.id) / "output" / "screen" / "prediction.h5ad"
    path.write_bytes(path.read_bytes() + b"\0")
    fresh = result.scoring.model_copy(update={"id": "ef" * 10})
    (found,) = score.all_of([(fresh, TASK)], record, prepared.datasets["screen"], lab.store)
    assert (found.state, "was changed since it was checked" in found.reason) == ("infrastructure", True)


def test_a_dataset_with_one_condition_is_not_applicable(tried):
    prepared, happened = tried(adata=make_screen(conditions=("G1",)))
    assert happened == []
    assert "holding it out leaves nothing to train on" in prepared.plan.skips[0].reason


def test_the_controls_of_the_task_are_scored_without_a_model(lab, tried):
    prepared, _ = tried()
    (best, *worst) = sorted(prepared.plan.controls, key=lambda one: one.scoring.model != "positive")
    assert len(worst) == 3
    values = []
    for one in (best, worst[0]):
        (found,) = score.control(one, TASK, prepared.datasets["screen"], lab.store)
        assert found.state == "ok", found.reason
        values.append({made.metric: made.value for made in reversed(found.scores)})
    assert values[0]["pearson_delta"] > 0.9
    assert values[0]["mse"] < values[1]["mse"]


def test_a_kept_prediction_is_scored_again_where_it_fits_and_only_there(lab, tried):
    prepared, happened = tried()
    (record,) = finished(happened)
    data = shown.DatasetChoice.of(prepared.datasets["screen"])
    assert shown.unfit(record.job, data, TASK) == ""
    found = offline.again([record.job], prepared.plan.scorings, {"screen": data}, {TASK.name: TASK}, score.versions())
    assert [one.id for one in found.scorings] == [one.id for one in prepared.plan.scorings]
    other = data.spec.model_copy(update={"splits": {"conditions": Split(by="perturbation", test=("G1",))}})
    assert "of another split" in shown.unfit(record.job, data.model_copy(update={"spec": other}), TASK)
    renamed = data.spec.model_copy(update={"obs": {**ROLES, "dose": "lane"}})
    assert "the catalogue says otherwise now" in shown.unfit(
        record.job, data.model_copy(update={"spec": renamed}), TASK
    )
    assert "'embed'" in shown.unfit(record.job, data, find()["clustering"])
    assert pipeline.reusable(found, lab.store).scorings == {one.id for one in found.scorings}


def test_every_task_that_scores_predictions_holds_conditions_out_and_shows_the_others():
    for task in (one for one in find().values() if one.verb == "predict"):
        assert task.split
        assert "perturbation" in {*task.roles} & {*task.shown}
