"""What is decided before anything runs."""

import threading

import pytest

from cellgauge import plan
from cellgauge.data import fetch, weights
from cellgauge.errors import DatasetError
from cellgauge.images import Runnable
from cellgauge.pipeline import Reuse, Site, Wanted, prepare, reusable
from cellgauge.score import failed
from cellgauge.specs import Plan
from lab import task
from servers import Web
from shelf import edit
from support import a_job, a_scoring, embed_view, made_model, made_record

JOB = a_job("ab" * 10, "d")
SCORING = a_scoring(job_id=JOB.id)
PLAN = Plan(jobs=(JOB,), scorings=(SCORING,))


def keep(store, state="ok", **fields):
    with store.workspace(JOB.id) as folder:
        (folder / "output" / "d").mkdir(parents=True)
        for name in ("embedding.npy", "cells.txt"):
            (folder / "output" / "d" / name).touch()
        return store.keep(folder, made_record(state=state, job=JOB, **fields))


def test_bad_data_stops_no_other_and_is_an_error_where_there_is_no_other(lab):
    good, bad = lab.dataset("d"), [lab.dataset(name, obs={"cell_type": "nothing"}) for name in ("e", "f")]
    unusable = lab.prepare(datasets=(good, *bad)).unusable
    assert [(name, "obs has no column 'nothing'" in one.message) for name, one in unusable.items()] == [
        ("e", True),
        ("f", True),
    ]
    with pytest.raises(DatasetError) as caught:
        lab.prepare(datasets=bad)
    assert caught.value.message.count("obs has no column 'nothing'") == 2


def test_a_plan_pulls_nothing_though_what_is_here_is_damaged(lab):
    near, far, gone = lab.dataset("d"), lab.dataset("e"), lab.dataset("f", source="file:///no/such.h5ad")
    web = Web()
    far = far.model_copy(update={"source": web.put("e.h5ad", (lab.folder / "e.h5ad").read_bytes())})
    edit(fetch.fetch(far, lab.cache)[0])
    web.asked.clear()
    prepared = lab.prepare(datasets=(near, far, gone), how={"pulling": None})
    web.close()
    assert web.asked == []
    told = {name: problem.message for name, problem in prepared.unusable.items()}
    assert told == {"e": "dataset 'e' is not here yet", "f": "dataset 'f': /no/such.h5ad: No such file or directory"}
    assert lab.prepare(datasets=(gone,), how={"pulling": None}).datasets == {}


def test_the_limits_of_the_sandbox_that_were_lifted_are_part_of_the_identity(lab):
    lifted = lab.prepare(site=Site(allow=("network",)))
    assert lifted.plan.jobs[0].allow == ("network",)
    assert lifted.plan.jobs[0].id != lab.prepare().plan.jobs[0].id
    seen = []
    lab.run(lifted, lambda launch: seen.append(launch.allow) or embed_view(launch))
    assert seen == [("network",)]


def test_a_model_that_nothing_asks_for_is_not_made(lab):
    asked = []

    def image_of(model):
        asked.append(model.spec.name)
        return Runnable("sha256:1", model.folder)

    models = (made_model(name="foreign", organisms=["Mus musculus"]), made_model(name="m"))
    assert len(lab.prepare(models=models, image_of=image_of).plan.skips) == 1
    assert asked == ["m"]


def test_each_variant_is_known_by_its_own_weights(lab):
    files = {name: {"path": "w", "source": "/w", "sha256": name * 64} for name in "01"}
    model = made_model(variants={"default": {"weights": [files["0"]]}, "big": {"weights": [files["1"]]}})
    wanted = [Wanted(model, name, {}) for name in model.spec.variants]
    image_of = lambda model: Runnable("sha256:1", model.folder)  # noqa: E731
    made = prepare(wanted, [lab.dataset("d")], {"t": task()}, (1,), image_of, Site(), lab.cache)
    told = [weights.digest(weights.of(model, name)) for name in model.spec.variants]
    assert [job.weights for job in made.plan.jobs] == told
    assert len({*told, ""}) == 3


def test_images_are_made_side_by_side_and_each_once(lab):
    both, asked = threading.Barrier(2, timeout=20), []

    def image_of(model):
        both.wait()
        asked.append(model.spec.name)
        return Runnable(f"sha256:{model.spec.name}", model.folder)

    prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"), seeds=(1, 2, 3), image_of=image_of)
    assert sorted(asked) == ["m", "n"]
    assert len(prepared.plan.jobs) == 12


def test_the_plan_needs_nothing_but_choices():
    assert plan.make([], [], [], [1]).jobs == ()


class TestReuse:
    def test_what_is_whole_is_used_again(self, store):
        assert reusable(PLAN, store) == Reuse()
        keep(store)
        assert reusable(PLAN, store) == Reuse(jobs=frozenset([JOB.id]))
        store.keep_result(failed(SCORING, "not_applicable", "so it is"))
        assert reusable(PLAN, store) == Reuse(frozenset([JOB.id]), frozenset([SCORING.id]))

    @pytest.mark.parametrize("state", ["timeout", "infrastructure", "cancelled", "model_error", "contract_violation"])
    def test_what_failed_is_done_again(self, store, state):
        keep(store, state)
        assert reusable(PLAN, store) == Reuse()

    def test_what_never_applies_is_not(self, store):
        keep(store, "not_applicable")
        assert reusable(PLAN, store).jobs == {JOB.id}

    def test_a_score_that_failed_is_made_again(self, store):
        keep(store)
        store.keep_result(failed(SCORING, "infrastructure", "the task failed"))
        assert reusable(PLAN, store) == Reuse(jobs=frozenset([JOB.id]))

    def test_a_score_whose_job_runs_again_is_made_again(self, store):
        keep(store)
        store.keep_result(failed(SCORING, "not_applicable", ""))
        (store.job_folder(JOB.id) / "output" / "d" / "embedding.npy").unlink()
        assert reusable(PLAN, store) == Reuse()

    @pytest.mark.parametrize("content", ["", "{", '{"state": "ok"}', "\0" * 100], ids=range(4))
    def test_what_is_damaged_is_computed_again_and_replaced(self, store, content):
        keep(store)
        store.keep_result(failed(SCORING, "not_applicable", ""))
        (store.root / "scores" / SCORING.id[:2] / f"{SCORING.id}.json").write_text(content)
        assert reusable(PLAN, store) == Reuse(jobs=frozenset([JOB.id]))
        assert list(store.results()) == []
        (store.job_folder(JOB.id) / "record.json").write_text(content)
        assert reusable(PLAN, store) == Reuse()
        assert keep(store, run="r2").run == "r2"
        assert reusable(PLAN, store).jobs == {JOB.id}
