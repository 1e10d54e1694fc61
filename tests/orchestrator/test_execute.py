"""How a start of a model becomes records: one of a job, whatever happens."""

import threading
import time

import pytest

from cellgauge import execute, outputs
from cellgauge.engines import Cancel, Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError, StorageError
from cellgauge.request import Terms, Work
from cellgauge.specs import RunRecord
from cellgauge_model import contract
from support import failing, made_model, made_work, run_function, write_good_output

VIOLATION = "contract_violation"


def test_a_good_job_is_ok(tmp_path):
    record, folder = run_function(tmp_path, write_good_output)
    assert (record.state, record.items[0].shape, record.exit_code) == ("ok", (3, 2), 0)
    assert (record.phase, record.attempts, record.together, record.run) == (None, (), (), "r1")
    assert set(record.seconds) == {"prepare", "start", "run", "check"}
    assert (folder / "input" / "request.json").exists()


def test_what_it_ran_on_and_with_is_in_the_record(tmp_path):
    record, _ = run_function(tmp_path, write_good_output, cpus=3)
    assert record.machine.cores >= 1
    assert record.machine.name
    assert record.limits.cpus == 3
    assert len(record.code) == 16
    assert record.sandbox == {"isolation": "none: a function call"}


def test_one_bad_item_is_named_and_the_good_one_stays_good(tmp_path):
    def half(launch):
        write_good_output(launch)
        (launch.output / "second" / "embedding.npy").unlink()
        return 0

    record, _ = run_function(tmp_path, half)
    assert [item.state for item in record.items] == ["ok", "contract_violation"]
    assert record.state == "contract_violation"


def test_a_result_with_numbers_that_json_cannot_hold_is_a_violation_and_a_record(tmp_path):
    def endless(launch):
        write_good_output(launch)
        text = '{"contract": 1, "status": "ok", "timings": {"embed": 1e999}}'
        (launch.output / "first" / "result.json").write_text(text)
        return 0

    record, _ = run_function(tmp_path, endless)
    assert (record.items[0].state, record.items[1].state) == ("contract_violation", "ok")
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_the_digest_in_a_record_is_ours_and_not_the_models(tmp_path):
    def lie(launch):
        write_good_output(launch)
        output = contract.Output("embedding.npy", [3, 2], "float32", "LIE \x1b[31m")
        told = contract.to_json(contract.RunResult(1, "ok", [output]))
        contract.write_atomically(launch.output / "first" / "result.json", told)
        return 0

    record, folder = run_function(tmp_path, lie)
    assert record.items[0].sha256 == record.items[1].sha256 == outputs.digest(folder / "output", "first", "embed")


def test_an_output_that_was_whole_before_the_crash_counts(tmp_path):
    def crash(launch):
        write_good_output(launch)
        (launch.output / "second" / "result.json").unlink()
        return 139

    record, _ = run_function(tmp_path, crash)
    assert [(item.state, item.reason) for item in record.items] == [("ok", ""), ("model_error", "killed by SIGSEGV")]


def test_an_engine_that_fails_is_infrastructure(tmp_path):
    def gone(launch):
        raise EngineError("the daemon went away")

    record, _ = run_function(tmp_path, gone)
    assert (record.state, record.reason, record.exit_code) == ("infrastructure", "the daemon went away", None)
    assert record.phase == "start"


def test_a_job_that_cannot_start_is_infrastructure_and_starts_nothing(tmp_path):
    fault = EngineError("no image", lasting=True, phase="pull")
    record, _ = run_function(tmp_path, lambda launch: pytest.fail("it began"), fault=fault, retries=3)
    assert (record.state, record.reason, record.phase, record.attempts) == ("infrastructure", "no image", "pull", ())


def test_a_job_that_cannot_start_and_has_no_items_yet_names_its_datasets(tmp_path):
    work = [Work(one.job, ()) for one in made_work(tmp_path)]
    record, _ = run_function(tmp_path, write_good_output, work=work, fault=EngineError("no weights", lasting=True))
    assert [(item.name, item.state) for item in record.items] == [
        ("first", "infrastructure"),
        ("second", "infrastructure"),
    ]


def test_a_job_that_was_cancelled_before_it_began_never_begins(tmp_path):
    cancel = Cancel()
    cancel.ask()
    record, _ = run_function(tmp_path, lambda launch: pytest.fail("it began"), cancel=cancel)
    assert record.state == "cancelled"


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        execute.run(
            made_work(tmp_path),
            made_model(),
            tmp_path / "missing",
            FunctionEngine(write_good_output),
            Terms(),
            Cancel(),
        )


class TestRetries:
    def test_an_infrastructure_fault_is_tried_again_and_every_attempt_is_kept(self, tmp_path):
        model = failing(EngineError("first", phase="start"), EngineError("second", phase="run"))
        record, folder = run_function(tmp_path, model, retries=2)
        assert record.state == "ok"
        told = [(one.state, one.phase, one.reason, one.run, one.log) for one in record.attempts]
        assert told == [
            ("infrastructure", "start", "first", "r1", "attempts/r1-1.txt"),
            ("infrastructure", "run", "second", "r1", "attempts/r1-2.txt"),
        ]
        assert [(folder / one.log).read_text() for one in record.attempts] == [
            "said before: first\n",
            "said before: second\n",
        ]
        assert RunRecord.model_validate_json(record.model_dump_json()) == record

    def test_only_the_last_attempt_counts_as_run_and_no_pause(self, tmp_path):
        def slow(launch):
            time.sleep(0.2)
            return write_good_output(launch)

        def away(launch):
            time.sleep(0.5)
            raise EngineError("away")

        ends = [away, away, slow]
        record, _ = run_function(tmp_path, lambda launch: ends.pop(0)(launch), retries=2, pause=0.3)
        assert 0.2 <= record.seconds["run"] < 0.45
        assert [one.seconds["run"] >= 0.5 for one in record.attempts] == [True, True]

    def test_a_fault_after_the_output_was_whole_is_no_phase_of_a_good_job(self, tmp_path):
        def gone(launch):
            write_good_output(launch)
            raise EngineError("the engine went away", lasting=True, phase="run")

        record, _ = run_function(tmp_path, gone)
        assert (record.state, record.reason, record.phase) == ("ok", "", None)

    def test_a_broken_output_before_a_fault_was_found_in_the_check(self, tmp_path):
        def gone(launch):
            write_good_output(launch)
            (launch.output / "first" / "embedding.npy").write_text("x")
            raise EngineError("the engine went away", lasting=True, phase="run")

        record, _ = run_function(tmp_path, gone)
        assert (record.state, record.phase) == (VIOLATION, "check")

    def test_what_does_not_apply_went_wrong_in_no_phase(self, tmp_path):
        record, _ = run_function(tmp_path, lambda launch: Exit(code=99))
        assert (record.state, record.phase) == ("not_applicable", None)

    def test_an_attempt_without_a_log_does_not_name_one(self, tmp_path):
        def away(launch):
            raise EngineError("the engine is away")

        record, folder = run_function(tmp_path, away, retries=1)
        assert [one.log for one in record.attempts] == [""]
        assert not (folder / "attempts").exists()

    def test_there_is_an_end_to_it_and_the_last_log_stays_in_its_place(self, tmp_path):
        faults = [EngineError(f"fault {number}") for number in range(9)]
        record, folder = run_function(tmp_path, failing(*faults), retries=2)
        assert (record.state, record.reason) == ("infrastructure", "fault 2")
        assert [one.reason for one in record.attempts] == ["fault 0", "fault 1"]
        assert (folder / "log.txt").read_text() == "said before: fault 2\n"
        assert record.log_tail == ("said before: fault 2",)

    def test_a_lasting_fault_is_not_tried_again(self, tmp_path):
        record, _ = run_function(tmp_path, failing(EngineError("no such image", lasting=True)), retries=5)
        assert (record.state, record.reason, record.attempts) == ("infrastructure", "no such image", ())

    @pytest.mark.parametrize(
        ("exit", "state"),
        [
            (Exit(code=1), "model_error"),
            (Exit(code=0), VIOLATION),
            (Exit(code=137, oom_killed=True), "out_of_memory"),
            (Exit(code=143, timed_out=True), "timeout"),
            (Exit(code=99), "not_applicable"),
        ],
    )
    def test_what_the_model_did_is_never_tried_again(self, tmp_path, exit, state):
        calls = []
        record, _ = run_function(tmp_path, lambda launch: calls.append(launch) or exit, retries=5)
        assert (record.state, len(calls), record.attempts) == (state, 1, ())

    def test_whoever_cancels_during_the_pause_does_not_wait_for_its_end(self, tmp_path):
        cancel, began = Cancel(), time.monotonic()
        timer = threading.Timer(0.3, cancel.ask)

        def gone(launch):
            timer.start() if not timer.is_alive() else None
            raise EngineError("away")

        record, _ = run_function(tmp_path, gone, retries=50, pause=600.0, cancel=cancel)
        assert record.state == "cancelled"
        assert time.monotonic() - began < 10

    def test_a_fault_that_comes_of_the_wish_to_stop_is_no_fault(self, tmp_path):
        cancel = Cancel()

        def gone(launch):
            cancel.ask()
            raise EngineError("away")

        record, _ = run_function(tmp_path, gone, retries=5, cancel=cancel)
        assert (record.state, record.attempts) == ("cancelled", ())

    def test_a_lasting_fault_stays_one_when_somebody_stops_the_run(self, tmp_path):
        cancel = Cancel()

        def gone(launch):
            cancel.ask()
            raise EngineError("no such image", lasting=True)

        record, _ = run_function(tmp_path, gone, cancel=cancel)
        assert (record.state, record.reason) == ("infrastructure", "no such image")
