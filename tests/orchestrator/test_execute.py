"""How the end of a process becomes a state; the ends themselves are tested for real in tests/system."""

from threading import Event

import pytest

from cellgauge import execute, outputs
from cellgauge.engines import Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError, StorageError
from cellgauge.execute import Limits
from cellgauge.specs import RunRecord
from cellgauge_model import contract
from cellgauge_model.contract import Problem, RunResult
from support import made_job, made_model, write_good_output


@pytest.mark.parametrize(
    ("exit", "result", "fault", "state"),
    [
        (Exit(code=None), None, "the engine went away", "infrastructure"),
        (Exit(code=137, timed_out=True), None, "", "timeout"),
        (Exit(code=137, cancelled=True), None, "", "cancelled"),
        (Exit(code=137, oom_killed=True), None, "", "out_of_memory"),
        (Exit(code=137), None, "", "model_error"),
        (Exit(code=-9), None, "", "model_error"),
        (Exit(code=0), None, "", "contract_violation"),
        (Exit(code=2), None, "", "contract_violation"),
        (Exit(code=3), None, "", "model_error"),
        (Exit(code=4), None, "", "model_error"),
        (Exit(code=5), None, "", "out_of_memory"),
        (Exit(code=99), None, "", "not_applicable"),
        (Exit(code=130), None, "", "cancelled"),
        (Exit(code=143), None, "", "cancelled"),
        (Exit(code=77), None, "", "model_error"),
        (Exit(code=1), RunResult(1, "failed", error=Problem("gpu_out_of_memory", "x")), "", "gpu_out_of_memory"),
        (Exit(code=5), RunResult(1, "failed", error=Problem("out_of_memory", "x")), "", "out_of_memory"),
        (Exit(code=1), RunResult(1, "not_applicable", error=Problem("not_applicable", "x")), "", "not_applicable"),
        # The engine's word counts before the model's.
        (
            Exit(code=137, oom_killed=True),
            RunResult(1, "failed", error=Problem("model_error", "x")),
            "",
            "out_of_memory",
        ),
        (
            Exit(code=137, timed_out=True),
            RunResult(1, "not_applicable", error=Problem("not_applicable", "x")),
            "",
            "timeout",
        ),
    ],
)
def test_every_way_to_end_has_one_state(exit, result, fault, state):
    found, reason = execute.ended(exit, result, fault, 60.0)
    assert found == state
    assert reason


def run(tmp_path, function, cancel=None):
    model, (job, given) = made_model(), made_job(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    return execute.run(job, model, given, folder, FunctionEngine(function), Limits(), cancel or Event()), folder


def test_a_good_job_is_ok(tmp_path):
    record, folder = run(tmp_path, write_good_output)
    assert (record.state, record.items[0].shape, record.exit_code) == ("ok", (3, 2), 0)
    assert set(record.seconds) == {"prepare", "run", "check"}
    assert (folder / "input" / "request.json").exists()


def test_one_bad_item_is_named_and_the_good_one_stays_good(tmp_path):
    def half(launch):
        write_good_output(launch)
        (launch.output / "second" / "embedding.npy").unlink()
        return 0

    record, _ = run(tmp_path, half)
    assert [item.state for item in record.items] == ["ok", "contract_violation"]
    assert record.state == "contract_violation"


def test_a_result_with_numbers_that_json_cannot_hold_is_a_violation_and_a_record(tmp_path):
    def endless(launch):
        write_good_output(launch)
        text = '{"contract": 1, "status": "ok", "timings": {"embed": 1e999}}'
        (launch.output / "first" / "result.json").write_text(text)
        return 0

    record, _ = run(tmp_path, endless)
    assert (record.items[0].state, record.items[1].state) == ("contract_violation", "ok")
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_the_digest_in_a_record_is_ours_and_not_the_models(tmp_path):
    def lie(launch):
        write_good_output(launch)
        output = contract.Output("embedding.npy", [3, 2], "float32", "LIE \x1b[31m")
        told = contract.to_json(contract.RunResult(1, "ok", [output]))
        contract.write_atomically(launch.output / "first" / "result.json", told)
        return 0

    record, folder = run(tmp_path, lie)
    assert record.items[0].sha256 == record.items[1].sha256 == outputs.digest(folder / "output", "first", "embed")


def test_nothing_but_request_output_and_log_is_left(tmp_path):
    def litter(launch):
        (launch.scratch / "cache").write_bytes(b"x" * 1000)
        return write_good_output(launch)

    _, folder = run(tmp_path, litter)
    assert sorted(path.name for path in folder.iterdir()) == ["input", "output"]


def test_an_output_that_was_whole_before_the_crash_counts(tmp_path):
    def crash(launch):
        write_good_output(launch)
        (launch.output / "second" / "result.json").unlink()
        return 139

    record, _ = run(tmp_path, crash)
    assert [(item.state, item.reason) for item in record.items] == [("ok", ""), ("model_error", "killed by SIGSEGV")]


def test_an_engine_that_fails_is_infrastructure(tmp_path):
    def gone(launch):
        raise EngineError("the daemon went away")

    record, _ = run(tmp_path, gone)
    assert (record.state, record.reason, record.exit_code) == ("infrastructure", "the daemon went away", None)


def test_a_job_that_cannot_start_is_infrastructure_and_starts_nothing(tmp_path):
    model, (job, given) = made_model(), made_job(tmp_path)
    (tmp_path / "job").mkdir()
    engine = FunctionEngine(lambda launch: pytest.fail("it began"))
    record = execute.run(job, model, given, tmp_path / "job", engine, Limits(), Event(), "no image")
    assert (record.state, record.reason) == ("infrastructure", "no image")


def test_a_job_that_was_cancelled_before_it_began_never_begins(tmp_path):
    cancel = Event()
    cancel.set()
    record, _ = run(tmp_path, lambda launch: pytest.fail("it began"), cancel)
    assert record.state == "cancelled"


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    model, (job, given) = made_model(), made_job(tmp_path)
    with pytest.raises(StorageError):
        execute.run(job, model, given, tmp_path / "missing", FunctionEngine(write_good_output), Limits(), Event())


def test_limits_come_from_the_manifest_and_may_be_overridden(tmp_path):
    seen = []

    def look(launch):
        seen.append(launch)
        return write_good_output(launch)

    model, (job, given) = (
        made_model(resources={"memory_mb": 100, "memory_mb_per_10k_cells": 10_000, "time_limit": 9}),
        made_job(tmp_path),
    )
    for number, limits in enumerate((Limits(), Limits(threads=3, time_limit=1.5))):
        folder = tmp_path / str(number)
        folder.mkdir()
        execute.run(job, model, given, folder, FunctionEngine(look), limits, Event())
    assert [(launch.memory_mb, launch.time_limit, launch.cpus) for launch in seen] == [(103, 9.0, 1), (103, 1.5, 3)]


def test_a_log_tail_cannot_move_the_cursor(tmp_path):
    (tmp_path / "log").write_bytes(b"one\n\x1b[2Jtwo\r\n\xff\x07three\n\n" + b"x" * 10)
    assert execute.log_tail(tmp_path / "log") == ("one", "[2Jtwo", "\ufffdthree", "x" * 10)
    assert execute.log_tail(tmp_path / "missing") == ()
