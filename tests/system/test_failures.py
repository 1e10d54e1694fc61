"""What goes wrong in a model is a record with a name and a reason, under every engine."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest

from cellgauge.engines import Cancel
from support import pick_engine

VIOLATION = "contract_violation"


@pytest.mark.parametrize(
    ("how", "state", "words"),
    [
        ("crash", "model_error", "exited with 1: RuntimeError: a bug in the model"),
        ("killed", "model_error", "killed by SIGSEGV"),
        ("few_rows", VIOLATION, "2 of 60 cells have no row"),
        ("nan", VIOLATION, "NaN or infinite values in 1 of 60 rows"),
        ("float64", VIOLATION, "holds float64, not float32"),
        ("three_dimensions", VIOLATION, r"shape \(60, 3, 1\)"),
        ("pickled", VIOLATION, "holds object, not float32"),
        ("huge_header", VIOLATION, "its header promises"),
        ("repeated_cell", VIOLATION, "repeats the cell"),
        ("unknown_cell", VIOLATION, "1 of 60 cells have no row"),
        ("no_result", VIOLATION, r"wrote no result\.json"),
        ("no_embedding", VIOLATION, r"embedding\.npy: No such file"),
        ("bad_result", VIOLATION, "unknown status 'fine'"),
        ("link", VIOLATION, "symbolic links"),
        ("fifo", VIOLATION, "not a plain file"),
        ("not_applicable", "not_applicable", "not meant for this input"),
        ("bad_request", VIOLATION, "refused the request"),
    ],
)
def test_a_failure_is_a_record_with_a_reason_and_the_log(models, engine, run_job, how, state, words):
    record, folder = run_job(models["misbehave"], engine, params={"how": how})
    assert record.state == state
    assert re.search(words, record.reason), record.reason
    assert f"this model will do: {how}" in record.log_tail
    assert (folder / "input" / "item0.h5ad").exists(), "a failed job can be replayed"


@pytest.mark.parametrize("how", ["hang", "stubborn"])
def test_a_job_past_its_limit_is_stopped_and_gone(models, engine, run_job, how):
    began = time.monotonic()
    record, folder = run_job(models["misbehave"], engine, params={"how": how}, time=3)
    assert (record.state, record.reason) == ("timeout", "stopped after its limit of 3 s")
    assert time.monotonic() - began < 20
    assert f"this model will do: {how}" in record.log_tail
    assert not left_over(engine, record.job.id, folder)


def test_a_job_is_cancelled_within_seconds(models, engine, run_job):
    cancel = Cancel()
    timer = Timer(2, cancel.ask)
    timer.start()
    began = time.monotonic()
    record, folder = run_job(models["misbehave"], engine, params={"how": "hang"}, cancel=cancel)
    timer.join()
    assert record.state == "cancelled"
    assert time.monotonic() - began < 15
    assert not left_over(engine, record.job.id, folder)


def test_a_process_too_gets_its_seed_its_threads_and_a_home(models, run_job):
    record, folder = run_job(models["misbehave"], pick_engine("local"), params={"how": "whoami"}, cpus=2)
    told = {"uid": str(os.getuid()), "home": str(folder / "scratch"), "threads": "2", "seed": "7"}
    assert record.items[0].versions == told


def left_over(engine, job, folder):
    if engine.name == "docker":
        import docker

        return docker.from_env().containers.list(all=True, filters={"label": f"org.cellgauge.job={job}"})
    found = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            found += [process] if f"CELLGAUGE_SCRATCH={folder}/".encode() in process.read_bytes() else []
    return found


@pytest.mark.docker
class TestSandbox:
    @pytest.fixture
    def engine(self):
        return pick_engine("docker")

    @pytest.mark.parametrize(
        ("how", "said"),
        [("network", "Network is unreachable"), ("write_input", "Read-only"), ("write_root", "Read-only")],
    )
    def test_what_a_model_may_not_do_is_refused(self, models, engine, run_job, how, said):
        record, _ = run_job(models["misbehave"], engine, params={"how": how})
        assert record.exit_code == 17, record.log_tail
        assert said in record.log_tail[-1]

    def test_a_model_that_takes_too_much_memory_is_out_of_memory(self, models, engine, run_job):
        record, _ = run_job(models["misbehave"], engine, params={"how": "memory"})
        assert (record.state, record.exit_code) == ("out_of_memory", 137)

    def test_a_model_runs_as_the_caller_with_a_home_and_its_share_of_threads(self, models, engine, run_job):
        record, folder = run_job(models["misbehave"], engine, params={"how": "whoami"}, cpus=2)
        told = {"uid": str(os.getuid()), "home": "/scratch", "threads": "2", "seed": "7"}
        assert record.items[0].versions == told
        assert (folder / "output" / "item0" / "result.json").stat().st_uid == os.getuid()
