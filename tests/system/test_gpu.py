"""GPUs from the command line down to the container, with an engine that accepts requests and devices that a file lists.

There is no GPU where these tests run as a rule: the engine's hook does nothing, so a container sees its devices by name
alone. Leases, requests and records are real.
"""

import json
import subprocess
from datetime import datetime
from itertools import pairwise

import pytest
import yaml

import quick
from place import Place, until
from support import entry

DEVICES = [
    {"index": "0", "uuid": "GPU-aaaaaaaa-0000", "name": "Made GPU", "memory_mb": 40_000, "driver": "550.1"},
    {"index": "1", "uuid": "GPU-bbbbbbbb-1111", "name": "Made GPU", "memory_mb": 40_000, "driver": "550.1"},
]


@pytest.fixture
def here(tmp_path, made_dataset, monkeypatch):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    models = tmp_path / "models"
    quick.write(models, made_dataset, name="must", more=", gpu: required, gpu_memory_mb: 10000")
    quick.write(models, made_dataset, name="may", more=", gpu: optional, gpu_memory_mb: 10000")
    quick.write(models, made_dataset, name="both", more=", gpu: required, gpus: 2")
    quick.write(models, made_dataset, name="quick")
    (tmp_path / "gpus.json").write_text(json.dumps(DEVICES))
    monkeypatch.setenv("CELLGAUGE_GPU_INVENTORY", str(tmp_path / "gpus.json"))
    monkeypatch.setenv("CELLGAUGE_GPU_LOCKS", str(tmp_path / "locks"))
    return Place(tmp_path, models, catalog)


def records(place, results=None):
    found = (results or place.results).glob("jobs/[!.]*/*/record.json")
    logs = ((path, path.with_name("log.txt")) for path in found)
    return [(json.loads(path.read_text()), log.read_text() if log.exists() else "") for path, log in logs]


@pytest.mark.docker
def test_a_container_gets_its_leased_device_and_no_other_and_the_record_says_which(here):
    done = here.run("-m", "must,quick", "--json")
    assert done.returncode == 0, done.stderr
    told = {record["job"]["model"]: (record, log) for record, log in records(here)}
    record, log = told["must"]
    (gpu,) = record["gpus"]
    assert gpu["uuid"] in {one["uuid"] for one in DEVICES}
    assert f"devices: {gpu['uuid']}\n" in log
    assert (gpu["name"], gpu["driver"], record["job"]["device"]) == ("Made GPU", "550.1", "gpu")
    assert record["sandbox"]["gpus"] == gpu["uuid"]
    record, log = told["quick"]
    assert "devices: void\n" in log, "an image of NVIDIA's would otherwise get every device where theirs is the runtime"
    assert (record["gpus"], record["job"]["device"]) == ([], "cpu")


@pytest.mark.docker
def test_eight_jobs_on_two_devices_in_four_processes_never_share_one(here):
    running = []
    for number in range(4):
        words = ["-m", "must", "-s", f"{number}1,{number}2", "--set", "must.wait=0.7", "-j", "2"]
        running.append((number, here.start(*words, "--results", str(here.folder / str(number)))))
    for _, process in running:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    found = [record for number, _ in running for record, _ in records(here, here.folder / str(number))]
    assert len(found) == 8
    assert {record["gpus"][0]["uuid"] for record in found} == {one["uuid"] for one in DEVICES}
    for device in DEVICES:
        spans = sorted((one["started"], one["seconds"]) for one in found if one["gpus"][0]["uuid"] == device["uuid"])
        for (one, seconds), (other, _) in pairwise(spans):
            assert span(one, other) >= seconds["prepare"] + seconds["start"] + seconds["run"] - 0.01


def span(one, other):
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()


@pytest.mark.docker
def test_a_model_that_needs_two_devices_gets_two_and_does_not_starve(here):
    done = here.run("-m", "must,both", "-s", "1,2,3", "-j", "3", "--set", "must.wait=0.3", "--json")
    assert done.returncode == 0, done.stderr
    both = [record["gpus"] for record, _ in records(here) if record["job"]["model"] == "both"]
    assert [len(gpus) for gpus in both] == [2, 2, 2]


@pytest.mark.docker
def test_a_killed_run_gives_its_device_back(here):
    process = here.start("-m", "must", "--set", "must.wait=60", "--gpus", "0")
    until(lambda: list(here.results.glob("jobs/.*~*/log.txt")))
    until(lambda: "devices: GPU-aaaaaaaa-0000" in next(here.results.glob("jobs/.*~*/log.txt")).read_text())
    process.kill()
    process.communicate()
    done = here.run("-m", "must", "--set", "must.wait=0", "--gpus", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert "removed, left by a run that was killed: container" in done.stderr, "it would still use the device"
    here.nothing_is_left()


@pytest.mark.parametrize("engine", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_without_a_gpu_nothing_runs_on_the_cpu_in_silence(here, engine, monkeypatch):
    monkeypatch.delenv("CELLGAUGE_GPU_INVENTORY")
    here.common[-1] = engine
    done = here.run("-m", "may,must,quick", "--json")
    assert done.returncode == 1
    found = {one["model"]: (one["state"], one["reason"]) for one in json.loads(done.stdout)["results"]}
    assert found["quick"] == ("ok", "")
    assert found["may"][0] == found["must"][0] == "infrastructure"
    assert "it uses a GPU, and the NVIDIA driver is not installed" in found["may"][1]
    assert "`--gpus none` runs it on the CPU" in found["may"][1]

    asked = here.run("-m", "may,must,quick", "--gpus", "none", "--json")
    assert asked.returncode == 0, asked.stderr
    found = {one["model"]: (one["state"], one["reason"]) for one in json.loads(asked.stdout)["results"]}
    assert found["may"] == found["quick"] == ("ok", "")
    assert found["must"] == ("not_applicable", "the model needs a GPU, and it was asked to run without one")
    devices = {
        record["job"]["model"]: record["job"]["device"] for record, _ in records(here) if record["state"] == "ok"
    }
    assert devices == {"may": "cpu", "quick": "cpu"}


def test_a_device_that_is_not_there_is_an_error_with_what_there_is(here):
    here.common[-1] = "local"
    done = here.run("-m", "must", "--gpus", "5")
    assert done.returncode == 2
    assert "no GPU '5'" in done.stderr
    too_large = here.folder / "models" / "must" / "model.yaml"
    too_large.write_text(too_large.read_text().replace("gpu_memory_mb: 10000", "gpu_memory_mb: 99000"))
    done = here.run("-m", "must")
    assert done.returncode == 1
    assert "99,000 MB needed" in done.stderr.replace("\n", " ")


def test_a_process_sees_its_device_alone(here):
    here.common[-1] = "local"
    script = here.folder / "models" / "must" / "model.sh"
    script.write_text(script.read_text().replace("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))
    assert here.run("-m", "must", "--gpus", "1").returncode == 0
    ((_, log),) = records(here)
    assert "devices: GPU-bbbbbbbb-1111\n" in log


@pytest.mark.docker
def test_an_engine_that_cannot_give_gpus_says_what_is_missing_and_is_not_asked_twice(here, own_engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    done = here.run("-m", "must", "--json")
    assert done.returncode == 1
    (result,) = json.loads(done.stdout)["results"]
    assert result["state"] == "infrastructure"
    assert "the engine cannot give a GPU: could not select device driver" in result["reason"]
    ((record, _),) = records(here)
    assert (record["attempts"], record["phase"]) == ([], "start")
    assert subprocess.run(["docker", "-H", own_engine.host, "ps", "-aq"], capture_output=True, check=True).stdout == b""
