"""What is there is scored without starting a model."""

import os
from dataclasses import replace

import numpy as np
import pytest

from cellgauge import offline, pipeline, plan, score
from cellgauge.engines import Cancel
from cellgauge.report import document
from cellgauge.scorers import Here, Scorers
from cellgauge.specs import Run
from cellgauge_tasks import Score, Task
from lab import task
from support import checked


def size(embedding, obs, *, seed):
    return [Score("size", float(np.abs(np.asarray(embedding)).sum()), len(embedding))]


def mean(embedding, obs, *, seed):
    return [Score("mean", float(np.asarray(embedding).mean()), len(embedding))]


def kill_itself(embedding, obs, *, seed):
    os._exit(9)


def ones(obs, seed):
    return np.ones((len(obs), 2), dtype="float32")


def noise(obs, seed):
    return np.random.default_rng(seed).normal(size=(len(obs), 2)).astype("float32")


CONTROLS = {"positive": ones, "negative": noise}
MEAN = Task("mean", "1", "t", ("cell_type",), mean, {"mean": "mean"}, "m", controls=CONTROLS)


def again(lab, prepared, tasks, *, controls=False, run="r2", scorers=None, refresh=False, spec=None):
    """Score the outputs of a plan with these tasks, and give the results, and the document of the new run."""
    data = {"d": checked(spec or lab.dataset("d"))}
    choices = {name: plan.DatasetChoice.of(one) for name, one in data.items()}
    made = offline.again(prepared.plan.jobs, prepared.plan.scorings, choices, tasks, {}, controls=controls)
    reuse = pipeline.reusable(made, lab.store)
    bench = offline.Bench(data, tasks, lab.store, run)
    todo = offline.of_jobs(made, pipeline.Reuse(reuse.jobs) if refresh else reuse, bench)
    todo += offline.of_controls(made.controls, bench, refresh=refresh)
    found = list(offline.fill(todo, scorers or Here(), lab.store, run, Cancel()))
    raw = {"id": run, "command": "", "started": "", "engine": "function", "ended": "2026", "cellgauge": "0"}
    return found, document.collect(Run(plan=made, **raw), lab.store, tasks)


def test_other_tasks_score_a_kept_output_and_what_is_scored_is_used_again(lab):
    prepared = lab.prepare()
    lab.run(prepared)
    tasks = {"size": task("size", size), "mean": MEAN}
    found, shown = again(lab, prepared, tasks)
    assert {one.scoring.task: one.state for one in found} == {"size": "ok", "mean": "ok"}
    assert shown.complete
    assert len(lab.records()) == 1, "nothing ran"
    assert again(lab, prepared, tasks)[0] == []
    assert len(again(lab, prepared, tasks, refresh=True)[0]) == 2
    newer = {"size": replace(tasks["size"], version="2")}
    assert [one.scoring.task_version for one in again(lab, prepared, newer)[0]] == ["2"]


def test_a_job_that_failed_or_is_gone_is_not_passed_over(lab):
    prepared = lab.prepare()
    lab.run(prepared, lambda launch: 7)
    (result,), shown = again(lab, prepared, {"size": task("size", size)})
    assert (result.state, shown.complete) == ("model_error", False)
    lab.run(prepared)
    (path,) = (lab.store.root / "jobs").rglob("cells.txt")
    path.unlink()
    (result,), shown = again(lab, prepared, {"size": task("size", size)})
    assert (result.state, result.reason) == ("cancelled", "there is no output of it that is whole: run it again")
    assert shown.results[0].state == "cancelled"


class TestUnfit:
    def reasons(self, lab, prepared, one, **fields):
        _, shown = again(lab, prepared, {one.name: one}, spec=lab.dataset("d", **fields))
        return [entry.reason for entry in shown.results if entry.state == "not_applicable"]

    def test_what_a_task_needs_and_what_the_model_saw_hold_as_in_a_run(self, lab):
        prepared = lab.prepare(obs_roles=["donor"])
        lab.run(prepared)
        plain = task("t", size)
        assert self.reasons(lab, prepared, plain) == []
        assert "needs batch" in self.reasons(lab, prepared, replace(plain, roles=("batch",)))[0]
        donor = replace(plain, roles=("donor",))
        assert self.reasons(lab, prepared, donor) == ["the model sees donor, which the task scores"]
        assert self.reasons(lab, prepared, replace(donor, shown=("donor",))) == []
        assert "another split" in self.reasons(lab, prepared, replace(plain, split="half"))[0]
        assert "scores 'predict'" in self.reasons(lab, prepared, replace(plain, verb="predict", split="x"))[0]
        other = {"cell_type": "donor", "donor": "label"}
        assert (
            "the model saw donor, which the catalogue says otherwise"
            in self.reasons(lab, prepared, plain, obs=other)[0]
        )

    def test_a_dataset_that_is_another_file_now(self, lab):
        prepared = lab.prepare()
        lab.run(prepared)
        path = lab.folder / "d.h5ad"
        path.rename(lab.folder / "old.h5ad")
        lab.dataset("e")
        (lab.folder / "e.h5ad").rename(path)
        assert "another file now" in self.reasons(lab, prepared, task("t", size))[0]


class TestControls:
    def test_they_are_scored_once_for_all_models_and_runs_and_scale_the_scores(self, lab):
        prepared = lab.prepare(models=("m", "n"))
        lab.run(prepared)
        found, shown = again(lab, prepared, {"mean": MEAN}, controls=True)
        kinds = sorted((one.scoring.control or "", one.scoring.control_seed) for one in found if one.scoring.control)
        assert kinds == [("negative", 1), ("negative", 2), ("negative", 3), ("positive", 1)]
        values = [one.scores[0].value for one in shown.controls if one.control == "negative"]
        score_shown = shown.results[0].scores[0]
        chance = sum(values) / 3
        assert len({*values}) == 3
        assert score_shown.scaled == pytest.approx((score_shown.value - chance) / (1 - chance))
        assert score_shown.flags == ("above_controls",)
        assert again(lab, prepared, {"mean": MEAN}, controls=True, run="r3")[0] == []
        lonely = lab.prepare(models=("o",))
        lab.run(lonely)
        found, _ = again(lab, lonely, {"mean": MEAN}, controls=True, run="r4")
        assert [one.scoring.model for one in found] == ["o"], "another model shares them"

    def test_other_cells_are_other_controls(self, lab):
        whole, few = lab.prepare(), lab.prepare(how={"limit_cells": 30})
        ids = []
        for prepared in (whole, few):
            lab.run(prepared)
            found, shown = again(lab, prepared, {"mean": MEAN}, controls=True)
            ids.append({one.scoring.id for one in found if one.scoring.control})
            assert {one.scores[0].n_cells for one in shown.controls} == {60 if prepared is whole else 30}
        assert not ids[0] & ids[1]

    def test_one_that_breaks_is_said_and_scales_nothing(self, lab):
        def broken(obs, seed):
            raise KeyError("oh")

        prepared = lab.prepare()
        lab.run(prepared)
        tasks = {"mean": replace(MEAN, controls={"positive": broken, "negative": noise})}
        _, shown = again(lab, prepared, tasks, controls=True)
        assert [one.state for one in shown.controls].count("task_error") == 1
        assert any("failed: KeyError: 'oh' (traceback: " in one.reason for one in shown.controls)
        assert shown.results[0].scores[0].scaled is None
        assert shown.complete, "a control is no result that was asked for"

    def test_a_run_lays_them_out_where_it_is_asked_to(self, lab):
        assert lab.prepare(tasks={"mean": MEAN}).plan.controls == ()
        both = lab.prepare(tasks={"mean": MEAN, "t": task()}, models=("m", "n"), how={"controls": True}).plan
        assert len(both.controls) == 4
        assert {one.scoring.task for one in both.controls} == {"mean"}


def test_a_task_that_kills_its_process_takes_no_other_with_it(lab):
    prepared = lab.prepare()
    lab.run(prepared)
    tasks = {"size": task("size", size), "die": task("die", kill_itself), "u": task("u", size)}
    found, _ = again(lab, prepared, tasks, scorers=Scorers(1))
    states = {one.scoring.task: one.state for one in found}
    assert states == {"size": "ok", "die": "infrastructure", "u": "ok"}


def test_nothing_more_is_scored_once_somebody_wishes_to_stop(lab):
    prepared = lab.prepare()
    lab.run(prepared)
    cancel = Cancel()
    cancel.ask()
    one = offline.Todo(tuple(prepared.plan.scorings), lambda scorings: lambda: [score.failed(scorings[0], "ok", "")])
    assert list(offline.fill([one], Here(), lab.store, "r2", cancel)) == []
