"""What a run writes down as it goes, and what others make of it."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cellgauge import events, owner
from cellgauge.errors import StorageError
from cellgauge.evaluate import Advanced, Finished, Scored, Started
from cellgauge.outputs import Progress
from cellgauge.plan import place
from cellgauge.report import document, progress
from cellgauge.score import failed
from cellgauge.specs import Asked, Plan, Run, Skip
from support import a_job, a_scoring, made_record

ONE, TWO = a_job("01" * 10, "d"), a_job("02" * 10, "d", "e", variant="big", seed=2, changed={"k": 5})
SCORING = a_scoring(job_id=ONE.id)
SKIP = Skip(model="m", variant="default", dataset="d", task="u", seed=1, reason="no labels")
PLAN = Plan(
    jobs=(ONE, TWO),
    scorings=(SCORING,),
    skips=(SKIP,),
    models=("m",),
    datasets=("d", "e"),
    tasks=("t", "u"),
)
HERE = owner.me()


def a_run(**fields):
    raw = {"id": "r1", "command": "cellgauge run", "started": "2026-01-01T00:00:00.000+00:00", "engine": "function"}
    return Run(**{**raw, "owner": HERE.token, "plan": PLAN, "cellgauge": "0", **fields})


def happening(folder):
    """All that can happen."""
    yield Started(ONE, folder / "one", ("GPU-1",))
    yield Started(TWO, folder / "two")
    yield Advanced(TWO, Progress("e", 3, 10))
    yield Finished(made_record(job=ONE), reused=False)
    yield Scored(failed(SCORING, "not_applicable", "one label"), reused=True)
    yield Finished(made_record(state="timeout", reason="slow", job=TWO), reused=False)


def write(store, happens, *files, run=None):
    return list(events.record(happens, run or a_run(), [store.run_file("r1", "events.jsonl"), *files]))


class TestLines:
    def test_each_thing_that_happens_is_a_line_and_is_passed_on(self, store, tmp_path):
        passed = write(store, happening(tmp_path), tmp_path / "deep" / "own.jsonl")
        assert passed == list(happening(tmp_path))
        lines = [json.loads(line) for line in (tmp_path / "deep" / "own.jsonl").read_text().splitlines()]
        assert [line.pop("event") for line in lines] == [
            *("run_started", "started", "started", "progress", "finished", "scored", "finished", "run_ended"),
        ]
        assert all(line.pop("run") == "r1" and line.pop("time").endswith("+00:00") for line in lines)
        default = {"job": ONE.id, "model": "m", "variant": "default", "dataset": "d", "seed": 1}
        big = {"job": TWO.id, "model": "m", "variant": "big", "dataset": "d,e", "seed": 2}
        assert lines == [
            {"total": 2},
            {**default, "gpus": ["GPU-1"], "folder": str(tmp_path / "one")},
            {**big, "folder": str(tmp_path / "two")},
            {**big, "done": 3, "total": 10},
            {**default, "state": "ok", "reused": False, "seconds": 1.0},
            {**default, "task": "t", "state": "not_applicable", "reason": "one label", "reused": True, "seconds": 0.0},
            {**big, "state": "timeout", "reason": "slow", "reused": False, "seconds": 1.0},
            {"done": 2, "total": 2, "ok": True},
        ]

    def test_they_come_back_as_they_went(self, store, tmp_path):
        write(store, happening(tmp_path))
        found = events.read(store.run_file("r1", "events.jsonl"))
        assert [one.event for one in found][::7] == ["run_started", "run_ended"]
        assert [one.state for one in found if one.event == "finished"] == ["ok", "timeout"]

    def test_a_line_is_there_as_soon_as_it_happened(self, store, tmp_path):
        path = tmp_path / "own.jsonl"
        following = events.record(happening(tmp_path), a_run(), [path])
        for count in range(2, 5):
            next(following)
            assert len(events.read(path)) == count
        following.close()
        assert events.read(path)[-1].event == "run_ended"

    def test_a_run_that_breaks_off_has_its_end_written_too(self, store, tmp_path):
        def breaks():
            yield Started(ONE, tmp_path)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(store, breaks())
        assert [one.event for one in events.read(store.run_file("r1", "events.jsonl"))] == [
            "run_started",
            "started",
            "run_ended",
        ]

    def test_a_line_cut_in_half_is_left_out(self, tmp_path, store):
        write(store, happening(tmp_path))
        path = store.run_file("r1", "events.jsonl")
        path.write_text(path.read_text() + '{"time": "2026", "event": "fini')
        assert len(events.read(path)) == 8
        assert events.read(tmp_path / "none") == []

    def test_several_runs_follow_each_other_in_one_file(self, store, tmp_path):
        for _ in range(2):
            write(store, happening(tmp_path), tmp_path / "own.jsonl")
        assert len(events.read(tmp_path / "own.jsonl")) == 16

    def test_a_file_that_cannot_be_written_is_named_with_its_option(self, store):
        for path in (Path("/proc/events.jsonl"), Path("/dev/full")):
            with pytest.raises(StorageError, match=str(path)) as caught:
                write(store, iter(()), path)
            assert "--events" in caught.value.hint

    @pytest.mark.parametrize(("state", "ok"), [("ok", True), ("not_applicable", True), ("timeout", False)])
    def test_the_end_tells_whether_every_planned_result_is_there(self, store, state, ok):
        for happens, whole in (([Scored(failed(SCORING, state, ""), reused=False)], ok), ([], False)):
            write(store, happens)
            assert events.read(store.run_file("r1", "events.jsonl"))[-1].ok is whole


class TestStatus:
    def test_a_run_that_goes_on_shows_what_runs_and_how_far_it_is(self, store, tmp_path):
        path = store.run_file("r1", "events.jsonl")
        following = events.record(happening(tmp_path), a_run(), [path])
        for _ in range(4):
            next(following)
        found = progress.look(a_run(), store)
        following.close()
        assert (found.state, found.jobs, found.done, found.failed, found.results, found.scored) == (
            "running",
            2,
            1,
            0,
            2,
            1,
        ), "what does not apply was planned, and is decided"
        (running,) = found.running
        assert (running.job, running.what, running.done, running.total) == (
            TWO.id,
            "m:big k=5 on d, e (seed 2)",
            3,
            10,
        )
        assert 0 <= running.seconds < 60

    @pytest.mark.parametrize("outcome", ["complete", "incomplete", "cancelled"])
    def test_a_run_that_ended_shows_how_and_what_failed(self, store, tmp_path, outcome):
        write(store, happening(tmp_path))
        found = progress.look(a_run(ended="2026-01-01T01:00:00.000+00:00", outcome=outcome), store)
        assert (found.state, found.done, found.failed, found.scored, found.running) == (outcome, 2, 1, 2, ())
        assert found.failures == ("m:big k=5 on d, e (seed 2): timeout: slow",)

    def test_a_run_that_failed_says_why(self, store):
        found = progress.look(a_run(ended="2026", outcome="failed", reason="the \x1b[2Jdisk is full"), store)
        console = Console(file=io.StringIO(), width=200)
        console.print(progress.detail(found))
        assert (found.state, found.reason) == ("failed", "the \x1b[2Jdisk is full")
        assert "the [2Jdisk is full" in console.file.getvalue()

    def test_jobs_that_share_a_start_are_found_by_its_folder_while_they_run(self, store, tmp_path):
        store.keep_run(a_run())
        following = events.record(happening(tmp_path), a_run(), [store.run_file("r1", "events.jsonl")])
        (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
        for _ in range(2):
            next(following)
        assert progress.running(store) == {ONE.id: tmp_path / "one", TWO.id: tmp_path / "two"}
        for _ in range(2):
            next(following)
        assert progress.running(store) == {TWO.id: tmp_path / "two"}
        store.keep_run(a_run(ended="2026"))
        assert progress.running(store) == {}
        following.close()

    @pytest.mark.parametrize("whose", ["", replace(HERE, boot="0" * 8).token])
    def test_a_run_that_was_killed_has_died(self, store, tmp_path, whose):
        write(store, list(happening(tmp_path))[:2])
        found = progress.look(a_run(owner=whose), store)
        assert (found.state, found.running) == ("died", ())

    def test_a_run_of_another_machine_may_go_on(self, store):
        assert progress.look(a_run(owner=replace(HERE, machine="0" * 8, pid=4_000_000).token), store).state == "running"


class TestDocument:
    def test_every_planned_result_has_one_state_and_they_add_up(self, store):
        found = document.collect(a_run(ended="2026"), store)
        assert (found.planned, found.states, found.complete) == (2, {"cancelled": 1, "not_applicable": 1}, False)
        assert [one.reason for one in found.results] == ["the run ended before this", "no labels"]

    def test_what_a_running_run_has_not_done_yet_is_pending(self, store):
        found = document.collect(a_run(), store)
        assert found.states == {"not_applicable": 1, "pending": 1}
        assert found.results[0].reason == "the run goes on"

    def test_what_is_there_is_shown_and_a_damaged_result_is_not(self, store):
        store.keep_result(failed(SCORING, "timeout", "slow"))
        assert document.collect(a_run(), store).results[0].state == "timeout"
        (store.root / "scores" / "cd" / f"{SCORING.id}.json").write_text("{")
        assert document.collect(a_run(), store).results[0].state == "pending"

    def test_a_score_of_an_output_that_was_replaced_is_not_shown(self, store):
        with store.workspace(ONE.id) as folder:
            store.keep(folder, made_record(job=ONE))
        store.keep_result(failed(SCORING, "ok", "").model_copy(update={"output": "of the output before"}))
        (found, _) = document.collect(a_run(), store).results
        assert (found.state, found.reason) == (
            "cancelled",
            "its job was computed again since, and this was not scored again",
        )
        store.keep_result(failed(SCORING, "infrastructure", "the scoring process died"))
        assert document.collect(a_run(), store).results[0].reason == "the scoring process died"

    def test_a_failed_refresh_is_a_failure_until_a_later_run_succeeds(self, store):
        store.keep_result(failed(SCORING, "ok", "").model_copy(update={"run": "r0"}))
        run = a_run(failures={SCORING.id: ("timeout", "slow")}, ended="2026")
        assert document.collect(run, store).results[0].state == "timeout"
        store.keep_result(failed(SCORING, "ok", "").model_copy(update={"run": "r2"}))
        assert document.collect(run, store).results[0].state == "ok"

    @pytest.mark.parametrize("ended", ["", "2026"])
    def test_what_a_retry_was_not_asked_for_says_so(self, store, ended):
        asked = Asked(models=("m",), datasets=("d",), only=(place(TWO),))
        found = document.collect(a_run(asked=asked, ended=ended), store).results[0]
        assert (found.state, found.reason) == (
            "cancelled",
            "it was not to be tried again, and there is no result of it as it is made now",
        )

    def test_a_failure_leaves_it_incomplete_and_so_do_no_scores_at_all(self, store):
        for state in ("timeout", "not_applicable", "ok"):
            store.keep_result(failed(SCORING, state, ""))
            assert document.collect(a_run(ended="2026"), store).complete is (state == "ok")
