"""GPUs by the Container Device Interface, and the command that repeats it."""

import json
import tempfile
from pathlib import Path

import pytest

from cellgauge import disk
from cellgauge.engines import cdi, docker
from cellgauge.engines.docker_replay import flags
from support import as_nobody

YAML = """---
cdiVersion: 0.5.0
containerEdits:
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: GPU-aaaaaaaa-0000
- name: "0"
kind: nvidia.com/gpu
"""


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        disk.remove(Path(name))


def test_the_names_are_those_of_nvidias_devices_in_yaml_and_json(folder):
    (folder / "nvidia.yaml").write_text(YAML)
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": "MIG-b"}, {"name": "all"}]}
    (folder / "nvidia.json").write_text(json.dumps(spec, indent=2))
    (folder / "other.yaml").write_text("kind: vendor.com/net\ndevices:\n- name: eth\n")
    (folder / "readme.txt").write_text(YAML.replace("GPU-aaaaaaaa", "GPU-no"))
    assert cdi.names([folder, folder / "missing"]) == {"GPU-aaaaaaaa-0000", "0", "MIG-b", "all"}


def test_a_file_that_may_not_be_read_knows_none(folder):
    (folder / "nvidia.yaml").write_text(YAML)
    (folder / "nvidia.yaml").chmod(0)
    with as_nobody():
        assert cdi.names([folder]) == frozenset()


def test_it_is_used_only_where_it_knows_every_device_by_its_uuid():
    both = ["GPU-a", "GPU-b"]
    for named in (["GPU-a"], ["0", "1", "all"], []):
        found = docker._devices(both, named)
        assert (found.driver, found.device_ids) == ("", both)
    found = docker._devices(both, ["GPU-b", "GPU-a", "all"])
    assert (found.driver, found.device_ids) == ("cdi", ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"])


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ([], ["--gpus", '"device=GPU-a,GPU-b"']),
        (["GPU-a", "GPU-b"], ["--device", "nvidia.com/gpu=GPU-a", "--device", "nvidia.com/gpu=GPU-b"]),
    ],
)
def test_the_command_that_repeats_it_asks_as_the_engine_was_asked(named, words):
    options = {
        **docker._sealed(memory_mb=100, pids=64, cpus=2, disk_mb=10, shm_mb=1),
        **{"mounts": [], "environment": {}, "network_mode": "none", "working_dir": "/scratch", "read_only": True},
        "device_requests": [docker._devices(["GPU-a", "GPU-b"], named)],
    }
    found = flags(options)
    asked = [at for at, word in enumerate(found) if word in ("--gpus", "--device")]
    assert [word for at in asked for word in found[at : at + 2]] == words
