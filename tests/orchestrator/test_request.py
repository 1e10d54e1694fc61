"""What a model finds when it starts, and what is left of its folder."""

import json

import pytest

from cellgauge.specs import Changes
from cellgauge_model import contract
from support import run_function, write_good_output


def test_limits_come_from_the_manifest_and_may_be_overridden(tmp_path):
    seen = []

    def look(launch):
        seen.append((launch.limits.memory_mb, launch.limits.time, launch.limits.cpus))
        request = contract.read_request(launch.input)
        assert (request.threads, request.time_limit) == (launch.limits.cpus, launch.limits.time)
        return write_good_output(launch)

    resources = {"memory_mb": 100, "memory_mb_per_10k_cells": 10_000, "time_limit": 9}
    for number, changes in enumerate((Changes(), Changes(cpus=3, time=1.5))):
        run_function(tmp_path, look, resources=resources, changes=changes, folder=str(number))
    assert seen == [(103, 18.0, 1), (103, 3.0, 3)], "two items, so twice the time"


@pytest.mark.parametrize(("gpus", "device"), [((), "cpu"), (("GPU-1",), "cuda")])
def test_the_request_says_what_to_compute_on(tmp_path, gpus, device):
    _, folder = run_function(
        tmp_path, lambda launch: write_good_output(launch) if launch.gpus == gpus else 1, gpus=gpus
    )
    assert json.loads((folder / "input" / "request.json").read_text())["device"] == device


def test_a_failed_job_keeps_its_input_and_a_good_one_does_not(tmp_path):
    for name, code, kept in (("good", 0, []), ("bad", 7, ["first.h5ad", "second.h5ad"])):
        _, folder = run_function(tmp_path, lambda launch, code=code: code or write_good_output(launch), folder=name)
        assert sorted(path.name for path in (folder / "input").glob("*.h5ad")) == kept


def test_nothing_but_request_output_and_log_is_left(tmp_path):
    def litter(launch):
        (launch.scratch / "cache").write_bytes(b"x" * 1000)
        return write_good_output(launch)

    _, folder = run_function(tmp_path, litter)
    assert sorted(path.name for path in folder.iterdir()) == ["input", "output"]
