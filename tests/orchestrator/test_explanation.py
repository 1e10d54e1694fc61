import io

import pytest
from rich.console import Console

from cellgauge.pipeline import reusable
from cellgauge.plan import fields_of
from cellgauge.report import explanation
from cellgauge.score import failed
from cellgauge.specs import ItemRecord, Plan, Skip
from support import VIEW, a_job, a_scoring, made_record

JOB = a_job("ab" * 10, "d", params={"k": 1})
SCORING = a_scoring(job_id=JOB.id, roles={"cell_type": "label"})
SKIP = Skip(model="m", variant="default", dataset="d", task="other", seed=1, reason="no labels")


def keep(store, job, state="ok", reason=""):
    record = made_record(state=state, reason=reason, job=job)
    items = tuple(ItemRecord(name=one.name, state=state, reason=reason) for one in job.datasets)
    with store.workspace(job.id) as folder:
        for item in items:
            (folder / "output" / item.name).mkdir(parents=True)
            for name in ("embedding.npy", "cells.txt"):
                (folder / "output" / item.name / name).touch()
        store.keep(folder, record.model_copy(update={"items": items}))


def explain(store, job=JOB, scoring=SCORING, skips=()):
    plan = Plan(jobs=(job,), scorings=(scoring,) if scoring else (), skips=skips)
    found = explanation.make(plan, store, reusable(plan, store))
    console = Console(file=io.StringIO(), width=200)
    console.print(explanation.render(found))
    return found.explained, console.file.getvalue()


def test_what_is_there_is_used_again_and_every_field_agrees(store):
    keep(store, JOB)
    store.keep_result(failed(SCORING, "not_applicable", ""))
    (job, scoring), text = explain(store)
    assert (job.reused, scoring.reused) == (True, True)
    assert {field.name for field in job.fields} == set(fields_of(JOB))
    assert all(field.same for field in job.fields)
    assert "is used again: kept since 2026-01-01" in text
    assert "params.k" in text


def test_where_nothing_is_kept_it_says_so(store):
    (job, scoring), _ = explain(store)
    assert (job.reused, job.reason, job.kept) == (False, "runs: nothing is kept of this model on this data", "")
    assert (scoring.reused, scoring.reason) == (False, "is scored: its job runs")


@pytest.mark.parametrize(
    ("changes", "field", "kept", "now"),
    [
        ({"params": {"k": 2}}, "params.k", "1", "2"),
        ({"image": "sha256:1"}, "image", "sha256:0", "sha256:1"),
        ({"seed": 2}, "seed", "1", "2"),
        ({"variant": "big"}, "variant", "default", "big"),
        ({"model_version": "2"}, "model_version", "1", "2"),
        ({"device": "gpu"}, "device", "cpu", "gpu"),
        ({"weights": "w1"}, "weights", "–", "w1"),
        ({"allow": ("network",)}, "allow", "–", "network"),
        ({"contract": 2}, "contract", "1", "2"),
    ],
)
def test_the_one_field_that_differs_is_named_with_both_values(store, changes, field, kept, now):
    keep(store, JOB)
    (job,), text = explain(store, JOB.model_copy(update={"id": "ff" * 10, **changes}), None)
    assert (job.reused, job.kept) == (False, JOB.id)
    assert [(one.name, one.kept, one.now) for one in job.fields if not one.same] == [(field, kept, now)]
    assert job.reason == f"runs: the nearest that is kept differs in {field}"
    assert field in text


def test_another_file_and_another_view_of_the_dataset_are_named(store):
    keep(store, JOB)
    shown = VIEW.model_copy(update={"sha256": "1" * 64, "obs": {"batch": "lane"}})
    datasets = (JOB.datasets[0].model_copy(update={"view": shown}),)
    (job,), _ = explain(store, JOB.model_copy(update={"id": "ff" * 10, "datasets": datasets}), None)
    assert {one.name for one in job.fields if not one.same} == {"dataset d.sha256", "dataset d.obs.batch"}


def test_of_several_it_is_compared_with_the_nearest(store):
    keep(store, JOB.model_copy(update={"id": "01" * 10, "seed": 7, "image": "sha256:9"}))
    keep(store, JOB.model_copy(update={"id": "02" * 10, "seed": 7}))
    keep(store, a_job("03" * 10, "another", params={"k": 1}))
    (job,), _ = explain(store, scoring=None)
    assert (job.kept, [one.name for one in job.fields if not one.same]) == ("02" * 10, ["seed"])


def test_what_failed_runs_again_and_the_reason_is_told(store):
    for reason in ("slow", "slow again"):
        keep(store, JOB, "timeout", reason)
    (job, _), _ = explain(store)
    assert (job.reused, job.reason) == (False, "runs again: it ended as timeout (slow again), after 2 tries")


def test_an_output_that_was_deleted_is_named(store):
    keep(store, JOB)
    store.keep_result(failed(SCORING, "not_applicable", ""))
    (store.job_folder(JOB.id) / "output" / "d" / "embedding.npy").unlink()
    (job, scoring), _ = explain(store)
    assert (job.reused, job.reason) == (False, "runs again: its output was deleted")
    assert (scoring.reused, scoring.reason) == (False, "is scored: its job runs")


def test_a_damaged_record_is_named(store):
    keep(store, JOB)
    (store.job_folder(JOB.id) / "record.json").write_text("{")
    assert explain(store)[0][0].reason == "runs: its record is damaged"


def test_a_score_is_made_again_for_another_version_of_its_task(store):
    keep(store, JOB)
    assert explain(store)[0][1].reason == "is scored: no such score is kept"
    store.keep_result(failed(SCORING, "not_applicable", ""))
    other = SCORING.model_copy(update={"id": "ef" * 10, "task_version": "2"})
    (_, scoring), _ = explain(store, scoring=other)
    assert not scoring.reused
    assert [(one.name, one.kept, one.now) for one in scoring.fields if not one.same] == [("task_version", "1", "2")]


def test_a_score_that_failed_is_made_again(store):
    keep(store, JOB)
    store.keep_result(failed(SCORING, "infrastructure", "the task failed: oh"))
    reason = explain(store)[0][1].reason
    assert reason == "is scored again: it ended as infrastructure (the task failed: oh)"


def test_a_score_of_an_output_that_is_gone_is_made_again_as_the_plan_says(store):
    keep(store, JOB)
    store.keep_result(failed(SCORING, "ok", "").model_copy(update={"output": "of the output before"}))
    (job, scoring), _ = explain(store)
    assert (job.reused, scoring.reused) == (True, False)
    assert scoring.reason == "is scored again: its job was computed again since, and this is of the output before"


def test_two_jobs_of_a_sweep_have_two_names(store):
    sweep = [JOB.model_copy(update={"id": f"0{k}" * 10, "params": {"k": k}, "changed": {"k": k}}) for k in (1, 2)]
    assert [explain(store, job, None)[0][0].what for job in sweep] == ["m k=1 on d (seed 1)", "m k=2 on d (seed 1)"]


def test_what_does_not_apply_says_why(store):
    assert "other does not apply: no labels" in explain(store, skips=(SKIP,))[1]


def test_what_a_model_wrote_cannot_move_the_cursor(store):
    keep(store, JOB, "model_error", "oh \x1b[2J\x1b]0;title\x07 no")
    assert "\x1b" not in explain(store)[1]
