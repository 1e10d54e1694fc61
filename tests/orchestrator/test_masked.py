"""Genes that are masked in what a model is shown: chosen on this side, hidden from it, and scored."""

import json
import re

import anndata
import numpy as np
import pytest

from cellgauge import plan, score, shown
from cellgauge.data import masked
from cellgauge.pantry import Pantry
from cellgauge_model import contract
from cellgauge_tasks import find
from cellgauge_tasks.metrics.perturbation import Perturbed, protocols
from knockouts import CONDITIONS, CONTROL, ROLES, make_screen, predict_means, predictor, screen_spec, write_prediction
from lab import finished, scored

TASK, PLAIN = find()["masked_gene_prediction"], find()["perturbation_prediction"]
LOOKS = {"masked_genes": True}


def wide_screen(**fields):
    """A screen in which every knock-out changes enough genes, and obs tells what each cell's counts add up to."""
    adata = make_screen(**{"each": 40, "controls": 80, "genes": 200, **fields})
    totals = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["depth"] = [f"depth{int(total) // 40}" for total in totals]
    return adata


def predict_truth(launch, source):
    """A model that knows the answer: the mean counts of each condition that is asked for."""
    for item in contract.read_request(launch.input).items:
        rows = [
            np.asarray(source[source.obs["guide_target"] == one.id].X.mean(axis=0)).ravel() for one in item.conditions
        ]
        write_prediction(launch.output, item, np.array(rows), source.var_names)
    return 0


@pytest.fixture
def tried(lab):
    """Run predictors on a wide screen; give the plan, what happened, and what each start was given."""

    def run(adata, models=None, function=predict_means, tasks=(TASK,), limit=None, **changes):
        adata.write_h5ad(lab.folder / "screen.h5ad")
        given = []

        def look(launch):
            views = {one.name: anndata.read_h5ad(one) for one in launch.input.glob("*.h5ad")}
            files = {one.name: one.read_bytes() for one in launch.input.iterdir()}
            given.append((contract.read_request(launch.input).items[0], views, files))
            return function(launch)

        spec = screen_spec(lab.folder / "screen.h5ad", **changes)
        named = {task.name: task for task in tasks}
        models = models or (predictor(can=LOOKS),)
        prepared = lab.prepare(
            models=models, datasets=(spec,), tasks=named, how={"controls": True, "limit_cells": limit}
        )
        return prepared, lab.run(prepared, look), given

    return run


def test_a_model_is_shown_the_cells_held_out_but_for_the_masked_genes(lab, tried):
    source = wide_screen()
    _, happened, given = tried(source)
    assert [one.state for one in finished(happened)] == ["ok"], lab.reasons()
    ((item, views, _),) = given
    cells = views["screen+masked.h5ad"]
    assert item.masked == "screen+masked.h5ad"
    assert len(item.conditions) == 2
    assert set(cells.obs["condition"]) == {one.id for one in item.conditions}
    for one in item.conditions:
        hidden = cells.var_names.isin(one.masked)
        assert hidden.sum() == len(one.masked) >= 5
        mine = cells[(cells.obs["condition"] == one.id).to_numpy()].X.toarray()
        theirs = source[source.obs["guide_target"] == one.id].X.toarray()
        assert theirs[:, hidden].any()
        assert not mine[:, hidden].any()
        theirs[:, hidden] = 0
        assert np.array_equal(np.unique(mine, axis=0), np.unique(theirs, axis=0)), "all others are as they were"
    assert not set(views["screen+training.h5ad"].obs["condition"]) & {one.id for one in item.conditions}


def test_nothing_tells_of_what_is_masked(lab, tried):
    """Not the values, the totals, a column of obs, nor the order of cells; not even that a value was stored."""
    source = wide_screen()
    roles = {**ROLES, "depth": "depth"}
    _, happened, given = tried(source, (predictor(can=LOOKS, obs_roles=["depth"]),), obs=roles)
    assert [one.state for one in finished(happened)] == ["ok"], lab.reasons()
    ((item, views, files),) = given
    cells = views["screen+masked.h5ad"]
    assert list(views["screen.h5ad"].obs) == ["depth"], "which a model may see elsewhere"
    assert (list(cells.obs), cells.uns, cells.layers.keys() | cells.obsm.keys()) == (["condition"], {}, set())
    assert list(cells.obs_names) == sorted(cells.obs_names)
    assert cells.X.data.all(), "no zero is stored"
    for one in item.conditions:
        hidden = source.var_names.isin(one.masked)
        rows = source[source.obs["guide_target"] == one.id].X.toarray()
        given_rows = cells[(cells.obs["condition"] == one.id).to_numpy()].X.toarray()
        assert sorted(given_rows.sum(axis=1)) == sorted(rows[:, ~hidden].sum(axis=1))
    words = {one.decode() for one in re.findall(rb"[\x20-\x7e]{5,}", files["screen+masked.h5ad"])}
    assert not [one for one in words if "depth" in one or "barcode" in one or "lane" in one]
    request = json.loads(files["request.json"])["items"][0]
    assert {*request["conditions"][0]} == {*contract.Condition.__dataclass_fields__}


def test_the_genes_are_those_that_the_score_is_of(lab, tried):
    source = wide_screen()
    prepared, happened, given = tried(source, function=lambda launch: predict_truth(launch, source))
    (result,) = scored(happened)
    assert result.state == "ok", result.reason
    values = {one.metric: one.value for one in reversed(result.scores)}
    assert values["masked_genes_spearman"] == pytest.approx(1)
    assert values["masked_genes_direction"] == 1
    asked = {one.id: one.masked for one in given[0][0].conditions}
    (item,) = finished(happened)[0].job.datasets
    assert masked.choose(prepared.datasets["screen"], item, lab.cache) == asked
    named = source.obs["guide_target"].isin([CONTROL, *asked]).to_numpy()
    truth = Perturbed(source[named].X, source[named].obs["guide_target"], CONTROL, source.var_names)
    alone = protocols.choose_masked(truth)
    assert {name: genes.tolist() for name, genes in alone.items()} == asked


@pytest.mark.parametrize("fields", [{"limit": 300}, {"gene_ids": "ensembl"}], ids=["fewer cells", "other names"])
def test_what_was_masked_is_found_again_whatever_the_cells_and_names(lab, tried, fields):
    models = (predictor(can=LOOKS, gene_ids=fields.pop("gene_ids", "any")),)
    _, happened, given = tried(wide_screen(), models, **fields)
    (result,) = scored(happened)
    assert (result.state, result.reason) == ("ok", "")
    item, views, _ = given[0]
    assert {gene for one in item.conditions for gene in one.masked} <= {*views["screen+masked.h5ad"].var_names}


def test_a_model_that_does_not_look_at_cells_is_scored_too_and_runs_once_for_both_tasks(lab, tried):
    prepared, happened, given = tried(wide_screen(), (predictor(),), tasks=(TASK, PLAIN))
    assert len(prepared.plan.jobs) == 1
    ((item, views, files),) = given
    assert (item.masked, {*views}) == (None, {"screen.h5ad", "screen+training.h5ad"})
    assert "masked" not in files["request.json"].decode(), "an older copy of the contract would not know the word"
    assert {one.scoring.task: one.state for one in scored(happened)} == {TASK.name: "ok", PLAIN.name: "ok"}


def test_a_model_that_looks_at_cells_runs_apart_for_each_task_and_one_output_is_not_scored_as_the_other(lab, tried):
    prepared, happened, _ = tried(wide_screen(), tasks=(TASK, PLAIN))
    assert [one.state for one in scored(happened)] == ["ok", "ok"]
    by_task = {one.task: one.job for one in prepared.plan.scorings}
    assert len({*by_task.values()}) == 2
    jobs = {job.id: job for job in prepared.plan.jobs}
    assert len({plan.place(job) for job in jobs.values()}) == 2
    choice = shown.DatasetChoice.of(prepared.datasets["screen"])
    assert "but for some genes" in shown.unfit(jobs[by_task[TASK.name]], choice, PLAIN)
    assert shown.unfit(jobs[by_task[TASK.name]], choice, TASK) == ""
    assert plan.fields_of(jobs[by_task[TASK.name]])["masked genes of screen"] == protocols.RULE


def test_where_other_genes_were_masked_than_would_be_now_there_is_no_score(lab, tried):
    prepared, happened, _ = tried(wide_screen())
    (result,), (record,) = scored(happened), finished(happened)
    path = lab.store.job_folder(record.job.id) / "input" / "request.json"
    raw = json.loads(path.read_text())
    raw["items"][0]["conditions"][0]["masked"][0] = "G0"
    path.write_text(json.dumps(raw))
    fresh = result.scoring.model_copy(update={"id": "ef" * 10})
    (found,) = score.all_of([(fresh, TASK)], record, prepared.datasets["screen"], lab.store)
    assert (found.state, "other genes were masked when this ran" in found.reason) == ("infrastructure", True)


def test_where_no_condition_changes_enough_genes_the_task_does_not_apply(lab, tried):
    _, happened, given = tried(make_screen())
    assert given[0][0].masked is None
    (result,) = scored(happened)
    assert (result.state, "changes enough genes" in result.reason) == ("not_applicable", True)


@pytest.mark.parametrize("rows", ["means", "cells"])
def test_scores_are_scaled_between_controls_of_the_same_kind(lab, tried, rows):
    source = wide_screen()

    def predict(launch):
        for item in contract.read_request(launch.input).items:
            names = [one.id for one in item.conditions for _ in range(one.n_cells)]
            means = {one: np.asarray(source[source.obs["guide_target"] == one].X.mean(axis=0)).ravel() for one in names}
            drawn = np.random.default_rng(0).poisson([means[one] for one in names])
            write_prediction(launch.output, item, drawn, source.var_names, names)
        return 0

    models = (predictor(can={"rows": rows}),)
    prepared, happened, _ = tried(source, models, predict, tasks=(TASK, PLAIN))
    assert {one.state for one in scored(happened)} == {"ok"}, lab.reasons()
    tasks = {task.name: task for task in (TASK, PLAIN)}
    for one in prepared.plan.controls:
        (found,) = score.control(one, tasks[one.scoring.task], prepared.datasets["screen"], lab.store)
        assert found.state == "ok", found.reason
        assert {made.params.get("prediction", rows) for made in found.scores} == {rows}
    for entry in lab.document(prepared, tasks).results:
        table = {made.metric: made.scaled for made in reversed(entry.scores)}
        for metric in tasks[entry.task].headline:
            assert table[metric] is not None, metric
        assert table[next(iter(tasks[entry.task].headline))] > 0.3


def test_memory_is_for_the_masked_cells_too(lab, tried):
    prepared, _, given = tried(wide_screen())
    engine = lab.kit().engine
    pantry = Pantry(prepared.plan.jobs, prepared.models, prepared.datasets, engine, lab.store, lab.cache)
    ((one,),) = ([*pantry.given(job)] for job in prepared.plan.jobs)
    _, views, _ = given[0]
    cells = {name.removesuffix(".h5ad"): view.n_obs for name, view in views.items()}
    assert one.n_training == cells["screen+training"] + cells["screen+masked"] == 80 + 8 * 40 + 2 * 40
    (path,) = (path for name, path in one.files.items() if "masked" in name)
    assert path.exists()
    pantry.close()
    assert not path.exists(), "they are made for one run"


def test_conditions_that_are_asked_for_are_among_those_held_out(tried):
    _, _, given = tried(wide_screen())
    assert {one.id for one in given[0][0].conditions} < {*CONDITIONS}
