"""A run from plan to results: every planned one ends in one state, and is kept the moment it exists."""

import os
import threading
from collections import Counter

import pytest

from cellgauge import plan
from cellgauge.data.cache import uses
from cellgauge.engines import Cancel, Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError, ImageError
from cellgauge.evaluate import Finished, Scored, evaluate
from cellgauge.images import Runnable
from cellgauge.pipeline import Reuse, Site
from cellgauge.scorers import Scorers
from cellgauge_tasks import find
from lab import finished, scored, task
from support import embed_view, made_model


class TestLedger:
    def test_every_planned_result_ends_in_exactly_one_state(self, lab):
        """Eight models that each do something else, on three datasets of which one has no labels."""
        ends = {
            "fine": None,
            "crash": Exit(code=1),
            "oom": Exit(code=137, oom_killed=True),
            "slow": Exit(code=143, timed_out=True),
            "silent": Exit(code=0),
            "unfit": Exit(code=99),
            "away": EngineError("the engine is away"),
        }

        def act(launch):
            end = ends[launch.model]
            if isinstance(end, Exception):
                raise end
            return end or embed_view(launch)

        def image_of(model):
            if model.spec.name == "lost":
                raise ImageError("there is no such image")
            return Runnable(f"sha256:{model.spec.name}", model.folder)

        datasets = ("d", "e", lab.dataset("f", obs={"donor": "donor"}))
        prepared = lab.prepare(models=(*ends, "lost"), datasets=datasets, seeds=(1, 2), image_of=image_of)
        happened = lab.run(prepared, act, slots=3, terms={"retries": 1})
        found = lab.document(prepared)
        assert (found.planned, found.complete) == (48, False)
        each = {
            **{"ok": 4, "model_error": 4, "out_of_memory": 4, "timeout": 4, "contract_violation": 4},
            **{"infrastructure": 8, "not_applicable": 4 + 16},
        }
        assert found.states == each
        assert sum(found.states.values()) == found.planned
        assert all(one.reason for one in found.results if one.state != "ok")
        assert Counter(one.scoring.id for one in scored(happened)) == Counter(one.id for one in prepared.plan.scorings)
        assert Counter(one.job.id for one in finished(happened)) == Counter(one.id for one in prepared.plan.jobs)
        assert {len(one.attempts) for one in lab.records() if one.job.model == "away"} == {1}
        assert {len(one.attempts) for one in lab.records() if one.job.model != "away"} == {0}

    def test_a_complete_run_is_complete_and_the_next_one_does_nothing(self, lab):
        prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"))
        happened = lab.run(prepared)
        assert lab.document(prepared).complete
        assert {score.value for one in scored(happened) for score in one.scores} == {60.0}
        again = lab.run(prepared, lambda launch: pytest.fail("it began"))
        assert all(one.reused for one in again)
        assert finished(again) == [lab.store.record(job.id) for job in prepared.plan.jobs]
        assert len(scored(again)) == 4

    def test_what_is_missing_is_done_and_nothing_else(self, lab):
        first = lab.prepare(datasets=("d",))
        lab.run(first)
        begun = []
        both = lab.prepare(datasets=("d", "e"), tasks={"t": task(), "u": task("u")})
        happened = lab.run(both, lambda launch: begun.append(launch) or embed_view(launch))
        assert len(begun) == 1
        assert [one.reused for one in happened if isinstance(one, Finished)] == [True, False]
        assert sorted((one.result.scoring.dataset, one.reused) for one in happened if isinstance(one, Scored)) == [
            ("d", False),
            ("d", True),
            ("e", False),
            ("e", False),
        ]

    def test_a_refused_image_is_infrastructure_with_its_reason_and_the_others_go_on(self, lab):
        def image_of(model):
            if model.spec.name == "lost":
                raise ImageError("the registry says no", phase="pull")
            return Runnable("sha256:1", model.folder)

        prepared = lab.prepare(models=("lost", "m"), image_of=image_of)
        assert {name: one.message for name, one in prepared.unavailable.items()} == {"lost": "the registry says no"}
        lab.run(prepared, lambda launch: embed_view(launch) if launch.model == "m" else pytest.fail("it began"))
        found = {one.model: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found == {"lost": ("infrastructure", "the registry says no"), "m": ("ok", "")}
        assert {one.phase for one in lab.records() if one.job.model == "lost"} == {"pull"}

    def test_a_processor_that_lacks_something_is_named_before_anything_starts(self, lab):
        site = Site(flags=frozenset({"sse2"}))
        prepared = lab.prepare(resources={"cpu_features": ["sse2", "avx512f"]}, site=site)
        lab.run(prepared, lambda launch: pytest.fail("it began"), site=site)
        (found,) = lab.document(prepared).results
        assert found.reason == "it needs a processor with avx512f, which this one lacks"

    def test_a_view_that_cannot_be_made_is_the_failure_of_that_dataset_alone(self, lab):
        datasets = ("d", lab.dataset("e", matrix={"kind": "log1p"}), "f")
        prepared = lab.prepare(datasets=datasets)
        lab.run(prepared)
        found = {one.dataset: one.state for one in lab.document(prepared).results}
        assert found == {"d": "ok", "e": "infrastructure", "f": "ok"}
        (record,) = [one for one in lab.records() if one.state != "ok"]
        assert (record.phase, "no integer counts come out" in record.reason) == ("prepare", True)

    def test_weights_that_are_not_there_are_the_failure_of_that_model_alone(self, lab):
        weight = {"path": "w.bin", "source": "/no/such/w.bin", "sha256": "0" * 64}
        models = (made_model(name="heavy", variants={"default": {"weights": [weight]}}), made_model(name="m"))
        prepared = lab.prepare(models=models)
        lab.run(prepared)
        found = {one.model: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found["m"] == ("ok", "")
        assert found["heavy"][0] == "infrastructure"
        assert "/no/such/w.bin: No such file" in found["heavy"][1]

    def test_results_are_kept_the_moment_they_exist(self, lab):
        prepared = lab.prepare(datasets=("d", "e", "f"))
        reuse, kit = Reuse(), lab.kit(slots=1)
        following = evaluate(prepared, reuse, kit, Cancel())
        for one in following:
            if isinstance(one, Finished):
                assert lab.store.record(one.record.job.id) == one.record
            if isinstance(one, Scored):
                assert lab.store.result(one.result.scoring.id) == one.result

    def test_a_record_says_which_run_and_engine_and_what_is_installed(self, lab):
        class Telling(FunctionEngine):
            asked = []

            def packages(self, image, cancel):
                self.asked.append(image)
                return ("numpy==2.0",)

        engine = Telling(embed_view)
        prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"), seeds=(1, 2))
        lab.run(prepared, engine=engine, engine_version="function 1", slots=4)
        assert sorted(engine.asked) == ["sha256:m", "sha256:n"], "each image is asked once"
        (known,) = {(one.run, one.engine_version, one.packages) for one in lab.records()}
        assert known[:2] == ("r1", "function 1")
        assert (lab.store.root / "environments" / f"{known[2]}.txt").read_text() == "numpy==2.0\n"

    def test_how_long_a_good_job_took_is_noted(self, lab):
        prepared = lab.prepare(models=("m", "bad"))
        lab.run(prepared, lambda launch: embed_view(launch) if launch.model == "m" else 1)
        assert list(lab.store.history().last) == [("m:default", "d", "cpu")]

    def test_a_run_goes_on_to_say_what_it_uses(self, lab, monkeypatch):
        monkeypatch.setattr(uses, "AGAIN", -1.0)
        lab.cache.use("files", "ab12")
        (mark,) = (lab.cache.root / "uses" / "files" / "ab12").iterdir()
        os.utime(mark, (0, 0))
        lab.run(lab.prepare())
        assert mark.stat().st_mtime > 0


class TestOnlyAndRefresh:
    def test_only_the_jobs_that_are_named_run(self, lab):
        prepared = lab.prepare(datasets=("d", "e", "f"))
        chosen = prepared.plan.jobs[1]
        happened = lab.run(prepared, only=frozenset([plan.place(chosen)]))
        assert [one.job for one in finished(happened)] == [chosen]
        assert lab.document(prepared).states == {"cancelled": 2, "ok": 1}

    def test_refresh_does_everything_again(self, lab):
        prepared = lab.prepare(datasets=("d", "e"))
        lab.run(prepared)
        begun = []
        happened = lab.run(
            prepared, lambda launch: begun.append(launch) or embed_view(launch), refresh=True, terms={"run": "r2"}
        )
        assert len(begun) == 2
        assert not any(one.reused for one in happened if isinstance(one, Finished | Scored))
        assert {one.run for one in lab.records()} == {"r2"}
        assert {one.run for one in scored(happened)} == {"r2"}

    def test_a_refresh_that_fails_says_so_and_takes_nothing_good_away(self, lab):
        prepared = lab.prepare(datasets=("d",))
        lab.run(prepared)
        happened = lab.run(prepared, lambda launch: 1, refresh=True, terms={"run": "r2"})
        assert [one.state for one in finished(happened)] == ["model_error"]
        assert [one.state for one in scored(happened)] == ["model_error"]
        assert [(one.state, one.run) for one in lab.records()] == [("ok", "r1")]
        kept = lab.store.result(prepared.plan.scorings[0].id)
        assert (kept.state, kept.run) == ("ok", "r1")

    def test_what_a_refresh_failed_at_is_tried_again_though_a_good_one_is_there(self, lab):
        prepared = lab.prepare(datasets=("d", "e"))
        lab.run(prepared)
        lab.run(prepared, lambda launch: 1, refresh=True, terms={"run": "r2"})
        chosen = prepared.plan.jobs[0]
        only = frozenset([plan.place(chosen)])
        happened = lab.run(prepared, lambda launch: 1, only=only, terms={"run": "r3"})
        tried = [one for one in happened if isinstance(one, Finished) and not one.reused]
        assert [(one.record.job, one.record.state) for one in tried] == [(chosen, "model_error")]
        happened = lab.run(prepared, only=only, terms={"run": "r4"})
        assert [one.record.run for one in happened if isinstance(one, Finished) and not one.reused] == ["r4"]
        assert {one.job.id: (one.run, one.state) for one in lab.records()} == {
            chosen.id: ("r4", "ok"),
            prepared.plan.jobs[1].id: ("r1", "ok"),
        }
        fresh = [one.result for one in happened if isinstance(one, Scored) and not one.reused]
        assert [(one.scoring.job, one.run, one.state) for one in fresh] == [(chosen.id, "r4", "ok")]

    def test_a_job_of_which_only_a_score_failed_does_not_run_again(self, lab):
        def breaks(embedding, obs, *, seed):
            raise ValueError("no")

        lab.run(lab.prepare(tasks={"t": task(score=breaks)}))
        prepared = lab.prepare()
        only = frozenset([plan.place(prepared.plan.jobs[0])])
        happened = lab.run(prepared, lambda launch: pytest.fail("it began"), only=only)
        assert [one.state for one in scored(happened)] == ["ok"]

    def test_what_failed_before_comes_with_its_attempts_and_their_logs(self, lab):
        def fails(launch):
            launch.log.write_text(f"log of {launch.run}\n")
            return 1

        prepared = lab.prepare()
        for run in ("r1", "r2"):
            lab.run(prepared, fails, terms={"run": run})
        lab.run(prepared, terms={"run": "r3"})
        (record,) = lab.records()
        assert (record.state, [(one.run, one.state) for one in record.attempts]) == (
            "ok",
            [("r1", "model_error"), ("r2", "model_error")],
        )
        place = lab.store.job_folder(record.job.id)
        assert [(place / one.log).read_text() for one in record.attempts] == ["log of r1\n", "log of r2\n"]

    def test_a_damaged_record_is_computed_again(self, lab):
        prepared = lab.prepare()
        lab.run(prepared)
        (job,) = prepared.plan.jobs
        (lab.store.job_folder(job.id) / "record.json").write_text("{")
        happened = lab.run(prepared)
        assert [one.reused for one in happened if isinstance(one, Finished)] == [False]
        assert lab.document(prepared).complete


class TestScoring:
    def test_it_overlaps_execution(self, lab):
        """The first score is not made before the second job has begun, with one slot: so nothing waits for it."""
        second = threading.Event()
        begun = []

        def act(launch):
            begun.append(launch)
            if len(begun) > 1:
                second.set()
            return embed_view(launch)

        class Waiting(Scorers):
            def __init__(self):
                super().__init__(1)

            def submit(self, function, then):
                threading.Thread(target=lambda: then(function() if second.wait(20) else None, "")).start()

        prepared = lab.prepare(datasets=("d", "e", "f"))
        happened = lab.run(prepared, act, slots=1, scorers=Waiting())
        assert len(scored(happened)) == 3
        assert {one.state for one in scored(happened)} == {"ok"}

    def test_in_processes_with_the_shipped_tasks(self, lab):
        prepared = lab.prepare(models=("m", "n"), tasks={"embedding": find()["embedding"]})
        happened = lab.run(prepared, scorers=Scorers(1))
        assert [one.state for one in scored(happened)] == ["ok", "ok"]
        assert {one.run for one in scored(happened)} == {"r1"}
        assert lab.store.result(prepared.plan.scorings[0].id).scores

    def test_a_scoring_process_that_dies_is_a_reason_for_each_of_its_scores(self, lab):
        class Dying(Scorers):
            def __init__(self):
                super().__init__(1)

            def submit(self, function, then):
                then(None, "the scoring process died")

        prepared = lab.prepare(tasks={"t": task(), "u": task("u")})
        lab.run(prepared, scorers=Dying())
        found = [(one.state, one.reason) for one in lab.document(prepared).results]
        assert found == [("infrastructure", "the scoring process died")] * 2

    def test_an_output_that_was_changed_since_is_not_scored(self, lab):
        prepared = lab.prepare()
        lab.run(prepared)
        (path,) = (lab.store.root / "jobs").rglob("cells.txt")
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
        both = lab.prepare(tasks={"u": task("u")})
        lab.run(both)
        (found,) = lab.document(both).results
        assert (found.state, "was changed since it was checked" in found.reason) == ("infrastructure", True)
