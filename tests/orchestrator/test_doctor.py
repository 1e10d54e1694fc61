import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from cellgauge import doctor, machine
from cellgauge.cli.doctor import doctor as command
from cellgauge.doctor import Asked, engine, gpu, host
from cellgauge.doctor.finding import Finding, FindingName, ok, softened
from cellgauge.engines import docker_info
from cellgauge.engines.docker_info import parse
from cellgauge.errors import EngineError
from cellgauge.gpus import Device
from support import ROOT

VERSION = {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]}
INFO = {
    "Name": "here", "OperatingSystem": "Debian GNU/Linux 12 (bookworm)", "MemTotal": 2**34, "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]], "DockerRootDir": "/var/lib/docker", "CgroupVersion": "2",
    "CgroupDriver": "systemd", "MemoryLimit": True, "SwapLimit": True, "CpuCfsQuota": True, "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=default"], "SystemTime": "2026-11-21T11:46:16.499905454Z",
}  # fmt: skip
CARD = Device(index="0", uuid="GPU-1a2b", name="NVIDIA A100", memory_mb=81920, free_mb=81000, driver="550.54.15")
DRIVER = gpu.Driver(devices=(CARD,), cuda="12.4")
NO_DRIVER = gpu.Driver(error="the driver is not installed", hint="Install it.")
ETC = Path("/etc/cdi")
SPECS = {ETC / "nvidia.yaml": "kind: nvidia.com/gpu\n- name: GPU-1a2b\n  hostPath: /usr/lib/libcuda.so.550.54.15"}
DOOR = engine.Door(group="docker", member=False, others=())


def info(version="20.10.24", product="Engine", **changes):
    return parse({**VERSION, "Version": version, "Components": [{"Name": product}]}, {**INFO, **changes})


def security(*options):
    return info(SecurityOptions=["name=seccomp,profile=default", *options])


def way_in(*engine_reads, driver=CARD.driver, **toolkit):
    card = CARD.model_copy(update={"driver": driver})
    return gpu.way_in(gpu.Driver(devices=(card,)), gpu.Toolkit(**toolkit), engine_reads)


def disk(free, inodes=0.5):
    return host.Disk(path=Path("/data"), free=int(free * 1e9), total=10**12, inodes=inodes)


def at(year):
    return datetime(year, 5, 1, tzinfo=UTC)


JUDGED = {
    "an engine": (engine.reachable("auto", info()), "ok", "Docker 20.10.24, API 1.41, overlay2"),
    "a new engine": (engine.reachable("auto", info("29.1.0")), "ok", "29.1.0"),
    "an old engine": (engine.reachable("auto", info("19.3.5")), "warning", "19.3.5"),
    "Podman": (engine.reachable("auto", info("5.2.0", "Podman Engine")), "warning", "Podman"),
    "copies": (engine.reachable("auto", info(Driver="vfs")), "warning", "vfs"),
    "no socket": (engine.unreachable("auto", "", FileNotFoundError(), DOOR), "problem", "no such socket; until"),
    "insisting": (engine.unreachable("auto", "unix:///x", FileNotFoundError(), DOOR), "problem", "/x: no such socket"),
    "denied": (engine.unreachable("auto", "", PermissionError(), DOOR), "problem", "usermod -aG docker"),
    "joined": (
        engine.unreachable("auto", "", PermissionError(), DOOR.model_copy(update={"member": True})),
        "problem",
        "log in again",
    ),
    "refused": (engine.unreachable("docker", "", ConnectionRefusedError(), DOOR), "problem", "systemctl start"),
    "hangs": (engine.unreachable("docker", "", TimeoutError(), DOOR), "problem", "systemctl restart"),
    "no TLS": (engine.unreachable("docker", "tcp://x", EngineError("bad", "Try."), DOOR), "problem", "Try."),
    "here": (engine.address("", info(), "here"), "ok", "not set"),
    "loopback": (engine.address("tcp://127.0.0.1:2375", info(), "here"), "ok", "127"),
    "by ssh": (engine.address("ssh://me@there", None, "here"), "problem", "another machine"),
    "by network": (engine.address("tcp://there:2376", info(), "here"), "problem", "another machine"),
    "in a container": (engine.address("", info(), "3f2a"), "warning", "'3f2a'"),
    "rootful": (engine.shared(info(), 1000), "ok", "1000"),
    "rootless": (engine.shared(security("name=rootless"), 1000), "warning", "rootless"),
    "userns": (engine.shared(security("name=userns"), 1000), "warning", "userns-remap"),
    "SELinux": (engine.shared(security("name=selinux"), 1000), "warning", "SELinux"),
    "Desktop": (engine.shared(info(OperatingSystem="Docker Desktop"), 1000), "warning", "virtual machine"),
    "snap": (engine.shared(info(DockerRootDir="/var/snap/docker/1/x"), 1000), "warning", "snap"),
    "limits": (engine.limits(info())[0], "ok", "version 2, systemd"),
    "no pids": (engine.limits(info(PidsLimit=False, MemoryLimit=False))[0], "problem", "memory, pids"),
    "swap": (engine.limits(info())[1], "ok", "swap"),
    "no swap": (engine.limits(info(SwapLimit=False))[1], "warning", "swapaccount=1"),
    "filtered": (engine.seccomp(info()), "ok", "filtered"),
    "unfiltered": (engine.seccomp(info(SecurityOptions=None)), "warning", "seccomp"),
    "unconfined": (engine.seccomp(info(SecurityOptions=["name=seccomp,profile=unconfined"])), "warning", "unconfined"),
    "no GPU": (gpu.devices(False, NO_DRIVER), "ok", "no NVIDIA GPU"),
    "no driver": (gpu.devices(True, NO_DRIVER), "problem", "not installed"),
    "GPU": (gpu.devices(True, DRIVER), "ok", "driver 550.54.15, CUDA up to 12.4: NVIDIA A100 (80.0 GiB)"),
    "hook": (way_in(tools=(gpu.HOOK,)), "ok", "hook"),
    "CDI": (way_in(ETC, specs=SPECS), "ok", "nvidia.yaml"),
    "CDI off": (way_in(specs=SPECS), "problem", "nvidia-container-runtime-hook"),
    "no CDI": (way_in(ETC, tools=("nvidia-ctk",)), "problem", "cdi generate --output=/etc/cdi/nvidia.yaml"),
    "CDI by number": (way_in(ETC, specs={ETC / "x.yaml": "name: '0'"}), "problem", "name the GPU GPU-1a2b"),
    "old CDI": (way_in(ETC, specs=SPECS, driver="570.1"), "problem", "driver 550.54.15, not 570.1"),
    "no toolkit": (way_in(), "problem", "Install"),
    "links": (gpu.links(True, "2", "systemd"), "ok", ""),
    "no links": (gpu.links(False, "2", "systemd"), "warning", "create-dev-char-symlinks"),
    "no need": (gpu.links(False, "1", "cgroupfs"), "ok", ""),
    "space": (host.space("results disk", disk(50), 20, 2, "Free."), "ok", "50.0 GB free"),
    "little": (host.space("results disk", disk(10), 20, 2, "Free."), "warning", "10.0 GB"),
    "full": (host.space("results disk", disk(1), 20, 2, "Free."), "problem", "1.0 GB"),
    "inodes": (host.space("results disk", disk(50, 0.01), 20, 2, "Free."), "warning", "1% of inodes"),
    "btrfs": (host.space("results disk", disk(50, None), 20, 2, "Free."), "ok", "50.0"),
    "time": (host.clock(at(2026), 0.2), "ok", "0.2 s ahead"),
    "behind": (host.clock(at(2026), -20), "warning", "20.0 s behind"),
    "off": (host.clock(at(2026), 4000), "problem", "timedatectl"),
    "1970": (host.clock(at(1970), None), "problem", "past"),
    "flags": (host.processor(frozenset({"avx2"}), {"pca": ("avx2",), "hvg": ()}), "ok", "2 models"),
    "no AVX": (host.processor(frozenset(), {"big": ("avx2", "avx512f")}), "warning", "big needs avx2, avx512f"),
    "files": (host.files(1024), "ok", "1024"),
    "any": (host.files(-1), "ok", "any number"),
    "few files": (host.files(256), "warning", "ulimit"),
    "stays": (host.logout({}, "ana", False), "ok", "outlive"),
    "ends": (host.logout({"KillUserProcesses": "yes"}, "ana", False), "warning", "enable-linger ana"),
    "lingers": (host.logout({"KillUserProcesses": "yes"}, "ana", True), "ok", ""),
    "root": (host.logout({"KillUserProcesses": "yes"}, "root", False), "ok", ""),
    "others": (host.logout({"KillUserProcesses": "yes", "KillOnlyUsers": "bob"}, "ana", False), "ok", ""),
    "tasks": (host.tasks(["a", "b"], []), "ok", "all 2 can be had"),
    "broken task": (host.tasks(["a"], ["the task 'b' of x 1.0"]), "warning", "the task 'b' of x 1.0"),
    "packages": (host.installed({"numpy": "2.4.6"}), "ok", "numpy 2.4.6"),
    "missing": (host.installed({"numpy": ""}), "problem", "numpy is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", JUDGED)
def test_what_was_seen_is_judged(case):
    finding, state, said = JUDGED[case]
    assert (finding.state, said in finding.detail + finding.fix) == (state, True), finding


def test_every_finding_is_documented_and_judged_both_ways():
    page = (ROOT / "docs" / "how-to" / "doctor.md").read_text()
    by_folder = {"results folder", "cache folder", "cache disk", "image disk", "temporary disk"}
    for name in get_args(FindingName):
        assert f"| {name} |" in page
        assert name in by_folder or {True, False} == {
            one.state == "ok" for one, *_ in JUDGED.values() if one.name == name
        }


def test_a_finding_has_a_fix_if_something_is_wrong():
    with pytest.raises(ValueError, match="fix"):
        Finding(name="cpu", state="problem", detail="broken")
    assert softened(JUDGED["denied"][0]).state == "warning"


def test_a_check_that_crashes_or_hangs_is_a_warning():
    (crashed,) = doctor.looked(("cpu", lambda: 1 / 0))
    assert (crashed.state, crashed.detail) == ("warning", "could not be checked: ZeroDivisionError: division by zero")
    (hung,) = doctor.looked(("cpu", lambda: time.sleep(1) or ok("cpu", "")), patience=0.01)
    assert "no answer within" in hung.detail


# --- sockets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def deaf():
    """A socket that nothing listens on, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as line:
        Path(folder).chmod(0o755)
        line.bind(f"{folder}/s")
        yield line, Path(folder, "s")


def knock(path, **more):
    """Ask the doctor, as a command of its own, and return its finding on the engine."""
    code = "import typer; from cellgauge.cli.doctor import doctor; typer.run(doctor)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--json"], capture_output=True, text=True, check=False,
        env={**os.environ, "DOCKER_HOST": f"unix://{path}"}, **more,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return next(one for one in json.loads(done.stdout)["findings"] if one["name"] == "engine")


def test_a_missing_and_a_deaf_socket_are_told_apart(deaf, tmp_path):
    assert "no such socket" in knock(tmp_path / "none")["detail"]
    assert "connection refused" in knock(deaf[1])["detail"]


def test_a_socket_without_permission_names_the_group(deaf):
    line, path = deaf
    line.listen()
    path.chmod(0)
    if os.getuid() == 0:  # nobody may be kept from a socket but by being somebody else
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            docker_info.probe(f"unix://{path}")
    finally:
        os.seteuid(os.getuid())


def test_an_engine_that_hangs_does_not_hang_the_doctor(deaf):
    line, path = deaf
    line.listen()
    with pytest.raises(TimeoutError):
        docker_info.probe(f"unix://{path}", patience=0.05)


# --- this machine ---------------------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, ["--results", str(tmp_path / "results"), *words])


def test_without_docker_the_local_engine_is_no_problem_and_auto_is(call):
    started = time.monotonic()
    local = call("--engine", "local")
    assert local.exit_code == ("✗" in local.output), local.output  # of the machine itself, should it have any
    assert time.monotonic() - started < 2
    assert "! engine " in local.output
    assert "→ Start Docker" in local.output
    assert call().exit_code == 1


def test_the_document_has_every_finding_once(call):
    report = json.loads(call("--json", "--engine", "local").stdout)
    names = [one["name"] for one in report["findings"]]
    assert (report["schema_version"], len(set(names))) == (1, len(names))
    assert report["ok"] is ("problem" not in [one["state"] for one in report["findings"]])
    assert (
        {"engine", "gpu", "results disk", "clock", "cpu", "logout", "versions"}
        <= set(names)
        <= {*get_args(FindingName)}
    )
    assert not any("could not be checked" in one["detail"] for one in report["findings"])


def test_a_folder_that_is_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    refusal = host.refusal(tmp_path / "file" / "results")
    found = host.folder("results folder", tmp_path / "file", refusal, "--results")
    assert (found.state, "Not a directory" in found.detail, "--results" in found.fix) == ("problem", True, True)
    assert host.refusal(tmp_path / "deep" / "er") is None
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_settings_of_logind_are_read_in_its_order(tmp_path):
    for name, text in {
        "usr/systemd/logind.conf": "[Login]\nKillUserProcesses=no\n",
        "usr/systemd/logind.conf.d/50.conf": "[Login]\nKillUserProcesses = yes\n",
        "etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=maybe\nKillExcludeUsers=root ana\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    read = host.logind([tmp_path / "usr", tmp_path / "run", tmp_path / "etc"])
    assert read == {"KillUserProcesses": "yes", "KillExcludeUsers": "root ana"}


def test_hardware_links_and_specifications_are_found(tmp_path):
    card, nothing = tmp_path / "pci" / "0000:01:00.0", tmp_path / "none"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    assert gpu.hardware(tmp_path / "pci", nothing)
    assert not gpu.hardware(nothing, nothing)
    (card / "195:0").symlink_to("../nvidia0")
    assert gpu.linked(card)
    assert not gpu.linked(nothing)
    (card / "nvidia.yaml").write_text("kind: nvidia.com/gpu")
    assert [*gpu.toolkit((card, nothing)).specs] == [card / "nvidia.yaml"]


def test_this_machine_is_described():
    found = machine.describe()
    assert found is machine.describe()
    assert found.cores >= 1
    assert found.memory_mb > 100
    assert found.python == sys.version.split()[0]
    assert machine.cpu_flags()


@pytest.mark.docker
def test_a_real_engine_is_fit(tmp_path):
    address = os.environ.get("DOCKER_HOST", "")
    asked = Asked(
        engine="docker", docker_host=address, results=tmp_path, cache=tmp_path, models=(ROOT / "model-images",)
    )
    found = {one.name: one for one in doctor.examine(asked).findings}
    assert {"engine", "shared folders", "cgroup limits", "swap limit", "seccomp", "clock"} <= set(found)
    assert all(found[name].state != "problem" for name in ("engine", "engine address", "cgroup limits", "clock"))
    assert "the engine's is" in found["clock"].detail
    assert not any("could not be checked" in one.detail for one in found.values())
