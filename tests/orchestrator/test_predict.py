"""The verb `predict`, from the plan to the scores: what models see, what they are asked for, what comes of it."""

import json
import re
from pathlib import Path

import anndata
import numpy as np
import pytest

from cellgauge import offline, pipeline, plan, score, shown
from cellgauge.data import view
from cellgauge.pantry import Pantry
from cellgauge.specs import HeldOut, Plan, Rows, Split
from cellgauge_model import contract
from cellgauge_tasks import Score, Task, find
from knockouts import CONDITIONS, CONTROL, ROLES, make_screen, predict_means, screen, screen_spec, write_prediction
from lab import finished, scored
from support import made_model

TASK = find()["perturbation_prediction"]
ABLE = {"scope": "dataset", "rows": "means", "unseen_targets": True, "combinations": True}


def predictor(name="m", can=(), **fields):
    return made_model(name=name, verbs={"predict": {**ABLE, **dict(can)}}, **fields)


def choice(**fields):
    held = {"conditions": HeldOut(conditions=("G4", "G5"), unseen=("G4",), combined=("G4", "G5"))}
    spec = screen_spec(Path("/screen.h5ad"), **fields)
    return shown.DatasetChoice(spec=spec, sha256="0" * 64, n_cells=250, held_out=held)


def made(model=None, limit=None, task=TASK, data=None):
    model = model or predictor()
    chosen = plan.ModelChoice(spec=model.spec, variant="default", params={}, image="sha256:0")
    return plan.make([chosen], [data or choice()], [task], [1], limit_cells=limit, with_controls=True)


def listening():
    """A task, and what it will have been given."""
    given = []

    def listen(prediction, truth, *, seed, train, test):
        given.append((prediction, truth, train, test))
        return [Score("rows", float(len(prediction)), int(test.sum()))]

    return Task("t", "1", "t", ("perturbation",), listen, {}, "m", verb="predict", split="conditions"), given


class TestPlan:
    def test_a_job_is_told_of_controls_and_training_and_holds_the_rest_back(self):
        (job,) = made().jobs
        (item,) = job.datasets
        split = Split(by="perturbation", fraction=0.2, keep=(CONTROL,))
        assert (job.verb, item.level) == ("predict", "means")
        assert item.view.rows == Rows(
            split=split, only={"perturbation": (CONTROL,)}, columns={"perturbation": "guide_target"}
        )
        assert (item.view.obs, item.training.obs) == ({}, {"condition": "guide_target"})
        assert (item.training.rows.split, item.training.rows.only, item.training.rows.held_out) == (split, {}, False)
        assert (item.held_out.rows.held_out, item.held_out.obs) == (True, {"condition": "guide_target"})

    def test_survives_json_and_names_a_job_by_all_that_could_change_its_output(self):
        first = made()
        assert Plan.model_validate_json(first.model_dump_json()) == first
        others = [
            made(predictor(can={"rows": "cells"})),
            made(limit=100),
            made(data=choice(control="G1")),
            made(data=choice(obs={**ROLES, "target": "guide"})),
            made(data=choice(splits={"conditions": {"by": "perturbation", "test": ["G1"]}})),
        ]
        ids = [one.jobs[0].id for one in (first, *others)]
        assert len({*ids}) == 6
        told = plan.fields_of(first.jobs[0])
        assert told["training of screen.obs.condition"] == "guide_target"
        assert told["held_out of screen.rows.held_out"] == "True"
        assert told["level of screen"] == "means"

    def test_a_limit_keeps_the_share_of_every_condition_and_stands_in_the_score(self):
        found = made(limit=100)
        for one in found.jobs[0].datasets[0].views:
            assert (one.rows.limit, one.rows.stratify) == (100, "perturbation")
        assert found.scorings[0].limit_cells == 100

    def test_roles_that_a_model_asks_for_are_in_what_it_trains_on_too(self):
        (item,) = made(predictor(obs_roles=["batch"])).jobs[0].datasets
        assert item.view.obs == {"batch": "lane"}
        assert item.training.obs == {"batch": "lane", "condition": "guide_target"}

    def test_a_split_of_the_catalogue_keeps_the_control_for_the_model(self):
        split = {"by": "perturbation", "test": ["G1"], "train": ["G2"]}
        (item,) = made(data=choice(splits={"conditions": split})).jobs[0].datasets
        assert item.training.rows.split == Split(by="perturbation", test=("G1",), train=("G2",), keep=(CONTROL,))

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"control": None}, "does not say which value of perturbation means: not perturbed"),
            ({"obs": {"batch": "lane"}, "control": None}, "the task needs perturbation, which the dataset lacks"),
            ({"splits": {"conditions": {"fraction": 0.1}}}, "draws cells, and whole conditions have to be held out"),
            ({"splits": {"conditions": {"by": "perturbation", "test": [CONTROL]}}}, "holds out the control"),
        ],
    )
    def test_a_dataset_that_does_not_do_is_skipped_with_the_reason(self, fields, words):
        found = made(data=choice(**fields))
        assert found.jobs == ()
        assert words in found.skips[0].reason

    @pytest.mark.parametrize(
        ("can", "words"),
        [
            ({"unseen_targets": False}, "targets that it has not seen in training, as 1 of 2 conditions: G4"),
            ({"combinations": False}, "cannot predict combinations of targets, as 2 of 2 conditions: G4, G5"),
        ],
    )
    def test_what_a_model_cannot_predict_is_skipped_before_anything_runs(self, can, words):
        assert words in made(predictor(can=can)).skips[0].reason
        unknown = choice().model_copy(update={"held_out": {}})
        assert len(made(predictor(can=can), data=unknown).jobs) == 1, "as long as nobody has looked"

    def test_controls_of_a_task_are_shared_by_models_that_name_genes_alike(self):
        ids = lambda model: {one.scoring.id for one in made(model).controls}  # noqa: E731
        assert len(ids(predictor())) == 4
        assert ids(predictor()) == ids(predictor("other", can={"rows": "cells"}))
        assert not ids(predictor()) & ids(predictor("ensembl", gene_ids="ensembl"))


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
    _, happened = tried(tasks={"t": task}, limit=60)
    assert [one.state for one in scored(happened)] == ["ok"], lab.reasons()
    ((prediction, truth, train, test),) = given
    assert (train.sum(), test.sum()) == (60, 40)
    assert set(truth.conditions[train]) == {CONTROL, *CONDITIONS} - set(prediction.names)


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
