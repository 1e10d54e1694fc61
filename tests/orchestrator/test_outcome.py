"""How the end of a process becomes a state; the ends themselves are tested for real in tests/system."""

import pytest

from cellgauge.engines import Exit
from cellgauge.outcome import ended, log_tail
from cellgauge.specs import Changes, Limits
from cellgauge_model.contract import Problem, RunResult
from support import made_model

VIOLATION = "contract_violation"
NOT_MEANT = RunResult(1, "not_applicable", error=Problem("not_applicable", "x"))
LIMITS = Limits.of(made_model().spec.resources, [], Changes(time=60), 1)


@pytest.mark.parametrize(
    ("exit", "result", "fault", "state"),
    [
        (Exit(code=None), None, "the engine went away", "infrastructure"),
        (Exit(code=137, timed_out=True), None, "", "timeout"),
        (Exit(code=137, cancelled=True), None, "", "cancelled"),
        (Exit(code=137, oom_killed=True), None, "", "out_of_memory"),
        (Exit(code=143, disk_full=True), None, "", VIOLATION),
        (Exit(code=137), None, "", "model_error"),
        (Exit(code=-9), None, "", "model_error"),
        (Exit(code=0), None, "", VIOLATION),
        (Exit(code=2), None, "", VIOLATION),
        (Exit(code=3), None, "", "model_error"),
        (Exit(code=4), None, "", "model_error"),
        (Exit(code=5), None, "", "out_of_memory"),
        (Exit(code=99), None, "", "not_applicable"),
        (Exit(code=130), None, "", "cancelled"),
        (Exit(code=143), None, "", "cancelled"),
        (Exit(code=77), None, "", "model_error"),
        (Exit(code=1), RunResult(1, "failed", error=Problem("gpu_out_of_memory", "x")), "", "gpu_out_of_memory"),
        (Exit(code=5), RunResult(1, "failed", error=Problem("out_of_memory", "x")), "", "out_of_memory"),
        (Exit(code=1), NOT_MEANT, "", "not_applicable"),
        # The engine's word counts before the model's.
        (
            Exit(code=137, oom_killed=True),
            RunResult(1, "failed", error=Problem("model_error", "x")),
            "",
            "out_of_memory",
        ),
        (Exit(code=137, timed_out=True), NOT_MEANT, "", "timeout"),
        (Exit(code=1, disk_full=True), NOT_MEANT, "", VIOLATION),
        (Exit(code=1, cancelled=True), NOT_MEANT, "", "cancelled"),
    ],
)
def test_every_way_to_end_has_one_state(exit, result, fault, state):
    found, reason = ended(exit, result, fault, LIMITS)
    assert found == state
    assert reason


@pytest.mark.parametrize(
    ("exit", "words"),
    [
        (Exit(code=137, timed_out=True), "its limit of 60 s"),
        (Exit(code=137, oom_killed=True), "its limit of 2048 MiB"),
        (Exit(code=143, disk_full=True), "its limit of 8192 MiB to output and scratch"),
        (Exit(code=-4), "killed by SIGILL: it uses CPU instructions that this machine lacks"),
        (Exit(code=153), "killed by SIGXFSZ: a file grew beyond its limit"),
        (Exit(code=1), "exited with 1: ValueError: no"),
    ],
)
def test_a_reason_names_the_limit_or_the_cause(exit, words):
    assert words in ended(exit, None, "", LIMITS, ["Traceback", "ValueError: no", "bye"])[1]


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "RuntimeError: CUDA_ERROR_OUT_OF_MEMORY",
        "jaxlib.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory",
    ],
)
def test_a_full_gpu_is_told_by_the_log_and_by_what_the_model_says(line):
    assert ended(Exit(code=1), None, "", LIMITS, [line])[0] == "gpu_out_of_memory"
    said = RunResult(1, "failed", error=Problem("model_error", line))
    assert ended(Exit(code=1), said, "", LIMITS)[0] == "gpu_out_of_memory"
    assert ended(Exit(code=0), None, "", LIMITS, [line])[0] == VIOLATION, "it ended well, so it was not that"


def test_a_log_tail_cannot_move_the_cursor(tmp_path):
    (tmp_path / "log").write_bytes(b"one\n\x1b[2Jtwo\r\n\xff\x07three\n\n" + b"x" * 10)
    assert log_tail(tmp_path / "log") == ("one", "[2Jtwo", "\ufffdthree", "x" * 10)
    assert log_tail(tmp_path / "missing") == ()
