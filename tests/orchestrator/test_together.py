"""One start of a model for several jobs: each gets a record and a folder as if it had been done alone."""

import pytest

from cellgauge import outputs
from cellgauge.engines import Exit
from cellgauge.errors import EngineError
from cellgauge_model import contract
from cellgauge_model.contract import Problem, RunResult
from support import begin_item, failing, made_work, start_function, write_good_output, write_item

VIOLATION = "contract_violation"


def test_each_job_gets_a_record_and_a_folder_as_if_it_had_been_done_alone(tmp_path):
    work, seen = made_work(tmp_path, ("a",), ("b",), ("c",)), []

    def look(launch):
        seen.append(launch)
        launch.log.write_text("one log\n")
        return write_good_output(launch)

    done, left = start_function(tmp_path, look, work=work)
    assert (len(seen), left) == (1, [])
    assert seen[0].jobs == tuple(one.job.id for one in work)
    for one, name, asked in zip(done, "abc", work, strict=True):
        assert (one.record.job, one.record.state) == (asked.job, "ok")
        assert [item.name for item in one.record.items] == [name]
        assert one.record.together == seen[0].jobs
        request = contract.read_request(one.folder / "input")
        assert (request.job, [item.name for item in request.items]) == (asked.job.id, [name])
        assert [path.name for path in (one.folder / "output").iterdir()] == [name]
        assert (one.folder / "log.txt").read_text() == "one log\n"
        assert outputs.embedding(one.folder / "output", name, ["c", "b", "a"])[:, 0].tolist() == [4, 2, 0]
    assert len({one.folder for one in done}) == 3


def test_one_bad_item_does_not_lose_the_rest(tmp_path):
    def one_bad(launch):
        write_good_output(launch, only=("a", "c"))
        (launch.output / "b").mkdir()
        told = RunResult(1, "failed", error=Problem("model_error", "b is strange"))
        contract.write_atomically(launch.output / "b" / "result.json", contract.to_json(told))
        return 1

    done, left = start_function(tmp_path, one_bad, work=made_work(tmp_path, ("a",), ("b",), ("c",)))
    assert [(one.record.state, one.record.reason) for one in done] == [
        ("ok", ""),
        ("model_error", "b is strange"),
        ("ok", ""),
    ]
    assert left == []
    assert (done[1].folder / "input" / "b.h5ad").exists(), "a failed job can be replayed"


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize(
    ("exit", "state"),
    [
        (Exit(code=139), "model_error"),
        (Exit(code=137, oom_killed=True), "out_of_memory"),
        (Exit(code=143, timed_out=True), "timeout"),
        (Exit(code=143, disk_full=True), VIOLATION),
    ],
)
def test_who_was_not_reached_when_the_model_broke_down_is_left(tmp_path, tells, exit, state):
    """Item 2 of 4: told by the model's progress, or taken to be the first without a result."""

    def breaks(launch):
        write_item(launch.output, "a", ["a", "b", "c"])
        if tells:
            begin_item(launch.output, "b")
        return exit

    work = made_work(tmp_path, ("a",), ("b",), ("c",), ("d",))
    done, left = start_function(tmp_path, breaks, work=work)
    assert [one.record.state for one in done] == ["ok", state]
    assert left == work[2:]


def test_the_one_it_broke_down_at_need_not_be_the_first_without_a_result(tmp_path):
    def breaks(launch):
        begin_item(launch.output, "c")
        return 139

    work = made_work(tmp_path, ("a",), ("b",), ("c",))
    done, left = start_function(tmp_path, breaks, work=work)
    assert [(one.record.job, one.record.state) for one in done] == [(work[2].job, "model_error")]
    assert left == work[:2]


def test_whoever_ends_well_and_says_nothing_of_a_job_breaks_the_contract_there(tmp_path):
    work = made_work(tmp_path, ("a",), ("b",), ("c",))
    done, left = start_function(tmp_path, lambda launch: write_good_output(launch, only=("b",)), work=work)
    assert ([one.record.state for one in done], left) == ([VIOLATION, "ok", VIOLATION], [])


def test_a_fault_of_the_engine_is_that_of_every_job_and_each_keeps_the_attempts(tmp_path):
    work = made_work(tmp_path, ("a",), ("b",))
    done, left = start_function(tmp_path, failing(EngineError("one"), EngineError("two")), work=work, retries=1)
    assert left == []
    for one in done:
        assert (one.record.state, one.record.reason) == ("infrastructure", "two")
        assert (one.folder / one.record.attempts[0].log).read_text() == "said before: one\n"
        assert (one.folder / "log.txt").read_text() == "said before: two\n"


def test_whoever_cancels_leaves_nothing_to_be_started_again(tmp_path):
    def stopped(launch):
        write_item(launch.output, "a", ["a", "b", "c"])
        return Exit(code=143, cancelled=True)

    done, left = start_function(tmp_path, stopped, work=made_work(tmp_path, ("a",), ("b",), ("c",)))
    assert ([one.record.state for one in done], left) == (["ok", "cancelled", "cancelled"], [])
