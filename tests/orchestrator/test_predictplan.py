"""How the prediction of perturbations is planned: what is shown and held out, for whom it applies, what it is named."""

from pathlib import Path

import pytest

from cellgauge import plan, shown
from cellgauge.specs import HeldOut, Plan, Rows, Split
from cellgauge_tasks import find
from knockouts import CONTROL, ROLES, predictor, screen_spec

TASK = find()["perturbation_prediction"]


def choice(**fields):
    held = {"conditions": HeldOut(conditions=("G4", "G5"), unseen=("G4",), combined=("G4", "G5"))}
    spec = screen_spec(Path("/screen.h5ad"), **fields)
    return shown.DatasetChoice(spec=spec, sha256="0" * 64, n_cells=250, held_out=held)


def made(model=None, limit=None, task=TASK, data=None):
    model = model or predictor()
    chosen = plan.ModelChoice(spec=model.spec, variant="default", params={}, image="sha256:0")
    return plan.make([chosen], [data or choice()], [task], [1], limit_cells=limit, with_controls=True)


def test_a_job_is_told_of_controls_and_training_and_holds_the_rest_back():
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


def test_a_plan_survives_json_and_names_a_job_by_all_that_could_change_its_output():
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


def test_a_limit_keeps_the_share_of_every_condition_and_stands_in_the_score():
    found = made(limit=100)
    for one in found.jobs[0].datasets[0].views:
        assert (one.rows.limit, one.rows.stratify) == (100, "perturbation")
    assert found.scorings[0].limit_cells == 100


def test_roles_that_a_model_asks_for_are_in_what_it_trains_on_too():
    (item,) = made(predictor(obs_roles=["batch"])).jobs[0].datasets
    assert item.view.obs == {"batch": "lane"}
    assert item.training.obs == {"batch": "lane", "condition": "guide_target"}


def test_a_split_of_the_catalogue_keeps_the_control_for_the_model():
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
def test_a_dataset_that_does_not_do_is_skipped_with_the_reason(fields, words):
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
def test_what_a_model_cannot_predict_is_skipped_before_anything_runs(can, words):
    assert words in made(predictor(can=can)).skips[0].reason
    unknown = choice().model_copy(update={"held_out": {}})
    assert len(made(predictor(can=can), data=unknown).jobs) == 1, "as long as nobody has looked"


def test_controls_of_a_task_are_shared_by_models_that_name_genes_alike():
    ids = lambda model: {one.scoring.id for one in made(model).controls}  # noqa: E731
    assert len(ids(predictor())) == 4
    assert ids(predictor()) == ids(predictor("other"))
    assert not ids(predictor()) & ids(predictor("cells", can={"rows": "cells"})), "their controls are cells"
    assert not ids(predictor()) & ids(predictor("ensembl", gene_ids="ensembl"))
