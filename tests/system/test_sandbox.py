"""A model that tries to break out: each attempt is refused or contained, has its name, and leaves nothing behind."""

import hashlib
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
from contextlib import closing

import pytest

from attack import attacker, told
from cellgauge import disk, plan
from cellgauge.engines import Cancel
from place import containers, until
from support import give, pick_engine

pytestmark = pytest.mark.docker
VIOLATION = "contract_violation"
FULL = "wrote more than its limit of 32 MiB"


@pytest.fixture
def attack(models, run_job, tmp_path):
    yield attacker(run_job, models["adversary"])
    disk.remove(tmp_path / "job")
    assert not (tmp_path / "job").exists()


# --- what is refused at once ----------------------------------------------------------------------------------------

WRITES = ("/x", "/usr/x", "/etc/x", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/bin/sh")
WRITES += (
    "/job/x",
    "/job/input/x",
    "/job/input/request.json",
    "/job/input/item0.h5ad",
    "/weights/x",
    "/model/model.py",
)
SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled")
CHANGES = ("chmod", "touch", "unlink", "replace", "truncate", "link", "chown")
CALLS = ("add_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "kexec_load", "init_module")
CALLS += ("open_by_handle_at", "pivot_root", "syslog")
REFUSED = {
    "writing": [
        *(f"write={path}" for path in WRITES),
        *(f"put={path}:1" for path in SETTINGS),
        *(f"{how}=/job/input/item0.h5ad" for how in CHANGES),
        *("chmod=/job/input", "chown=/job/output", "mknod=chr", "mknod=blk", "chmod=/", "unlink=/weights"),
    ],
    "mounting": ["remount=/", "remount=/job/input", "mount", "umount=/job/input", "umount=/proc/kcore", "chroot"],
    "rights": [
        *(f"syscall={name}" for name in CALLS),
        *("unshare=10000000", "unshare=20000", "unshare=40000000", "setns", "hostname", "clock", "nice"),
        *("put=/proc/self/oom_score_adj:-1000", "unlimit=FSIZE", "unlimit=CORE", "raw", "packet"),
    ],
    "reading": [
        *("unix=/var/run/docker.sock", "unix=/run/docker.sock", "unix=/run/containerd/containerd.sock"),
        *("read=/dev/mem", "read=/dev/kmsg", "read=/proc/kmsg", "listing=/weights"),
    ],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_model_may_not_is_refused(attack, what):
    record, folder = attack(*REFUSED[what], "good")
    assert record.state == "ok", record.reason
    answers = told(folder)
    assert answers.pop("good") is None
    assert len(answers) == len(REFUSED[what])
    assert {step: answer for step, answer in answers.items() if not str(answer).startswith("refused")} == {}


def test_the_network_is_out_of_reach(attack):
    name = f"cellgauge-{os.getpid()}"
    server = http.server.HTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler)
    with closing(server.socket), socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        port = server.server_address[1]
        hosts = ("127.0.0.1", own_address(), "172.17.0.1")
        steps = [f"tcp={host}:{port}" for host in hosts] + [f"abstract={name}", "dns=localhost.example.org"]
        steps += ["tcp=192.0.2.1:80", "tcp=169.254.169.254:80", "udp=192.0.2.1:53", "udp=169.254.169.254:53"]
        record, folder = attack(*steps, "interfaces", "vsock", "good")
    answers = told(folder)
    assert record.state == "ok"
    assert answers["interfaces"] == ["lo"]
    assert all(answers[step].startswith("refused") for step in steps), answers
    assert answers["vsock"] != "done"


def own_address():
    """The address that others reach this machine at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_one:
        try:
            any_one.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return any_one.getsockname()[0]


def test_labels_other_jobs_and_the_machine_are_out_of_sight(attack, made_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "tell nobody")
    places = ("/job", "/job/input", "/home", "/mnt", "/srv", "/sys/firmware")
    seen = [*(f"listing={place}" for place in places), "read=/proc/kcore", "read=/proc/keys"]
    _, folder = attack(*seen, "read=/proc/mounts", "environment", "found=.h5ad", "view", "devices", "processes", "good")
    answers = told(folder)
    assert answers["listing=/job"] == ["input", "output"]
    assert answers["listing=/job/input"] == ["item0.h5ad", "request.json"]
    for step in seen[2:]:
        assert answers[step] in ([], "") or answers[step].startswith("refused"), step
    assert answers["found=.h5ad"] == ["/job/input/item0.h5ad"]
    said = answers["view"]["item0.h5ad"]
    assert (said["obs"], said["uns"], said["obsm"]) == (["_index"], [], []), "no label, no colours, no embedding"
    assert all(re.fullmatch("[0-9a-f]{20}", name) for name in said["cells"]), "names say nothing"
    assert not {"A_SECRET", "DOCKER_HOST", "CELLGAUGE_CACHE"} & set(answers["environment"])
    visible = json.dumps([answers["environment"], (folder / "input" / "request.json").read_text()])
    assert not [word for word in (str(made_dataset.path), str(tmp_path), "label", "donor") if word in visible]
    mounted = answers["read=/proc/mounts"]
    assert [line.split()[1] for line in mounted.splitlines() if " rw," in line and "/job" in line] == ["/job/output"]
    assert str(made_dataset.path) not in mounted
    harmless = {"1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2"}  # null, zero, full, random, terminals
    assert {one.split()[1] for one in answers["devices"]} <= harmless
    assert answers["processes"] == ["docker-init", "python"]


def test_rights_and_limits_are_what_the_record_says(attack):
    steps = ("status", "limits", "dump", "cgroup=cpu.cfs_quota_us", "cgroup=cpu.cfs_period_us", "cgroup=cpu.max")
    more = ("cgroup=memory.limit_in_bytes", "cgroup=memory.max", "cgroup=pids.max", "read=/proc/self/oom_score_adj")
    record, folder = attack(*steps, *more, "good", cpus=1, memory_mb=128, pids=40)
    found = told(folder)
    status = found["status"]
    assert {status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split() == [str(os.getuid())] * 4
    assert status["Gid"].split() == [str(os.getgid())] * 4
    assert found["limits"] == {"CORE": [0, 0], "FSIZE": [32 << 20, 32 << 20]}
    assert found["dump"] == []
    quota = f"{found['cgroup=cpu.cfs_quota_us']} {found['cgroup=cpu.cfs_period_us']}"
    assert "100000 100000" in (quota, found["cgroup=cpu.max"]), "of several CPUs, the time of one"
    assert str(128 << 20) in (found["cgroup=memory.limit_in_bytes"], found["cgroup=memory.max"])
    assert found["cgroup=pids.max"] == "40"
    assert int(found["read=/proc/self/oom_score_adj"]) > 0, "a model goes first when the machine is full"
    told_so = record.sandbox
    assert (told_so["cpus"], told_so["memory"], told_so["processes"][-10:]) == ("1", "128 MiB, no swap", "40 at most")


def test_the_view_in_the_cache_is_not_touched(attack, models, made_dataset, tmp_path):
    data = plan.DatasetChoice(spec=made_dataset.spec, sha256=made_dataset.sha256)
    given = give(made_dataset, plan.view(models["adversary"].spec, data), tmp_path, "item0")
    (view,) = given.files.values()
    seen = lambda: (hashlib.sha256(view.read_bytes()).hexdigest(), view.stat().st_mode, view.stat().st_mtime_ns)  # noqa: E731
    before = seen()
    record, folder = attack(*REFUSED["writing"], "exit=7", given=[given])
    assert (record.state, seen()) == ("model_error", before)
    assert (folder / "input" / "item0.h5ad").stat().st_ino == view.stat().st_ino, "it was that very file"


# --- what is contained ----------------------------------------------------------------------------------------------

MEMORY = "killed by the kernel: it used more memory than its limit of 128 MiB"


@pytest.mark.parametrize(
    ("steps", "limits", "state", "words"),
    [
        (["hog"], {"memory_mb": 128}, "out_of_memory", MEMORY),
        (["hog_in_child", "exit=7"], {"memory_mb": 128}, "out_of_memory", MEMORY),
        (["hog_in_child", "good"], {"memory_mb": 128}, "ok", ""),
        (["fill=/tmp"], {"memory_mb": 128, "disk_mb": 600}, "out_of_memory", MEMORY),
        (["one=output"], {}, VIOLATION, FULL),
        (["one_and_crash=scratch"], {}, VIOLATION, FULL),
        (["until_killed=output"], {}, VIOLATION, FULL),
        (["many=output"], {}, VIOLATION, FULL),
        (["many=scratch", "good"], {}, VIOLATION, FULL),
        (["empty=output"], {}, VIOLATION, FULL),
        (["deleted=scratch"], {}, VIOLATION, FULL),
        (["deep=10000"], {"disk_mb": 100}, VIOLATION, "its limit of 100 MiB"),
        (["deep=300", "good"], {}, "ok", ""),
        (["bomb"], {"time": 4}, "timeout", "stopped after its limit of 4 s"),
        (["daemon", "good"], {}, "ok", ""),
        (["daemon", "deaf", "forever"], {"time": 3}, "timeout", "stopped after its limit of 3 s"),
        (["mute", "good"], {}, "ok", ""),
        (["mute", "exit=3"], {}, "model_error", "exit code 3"),
        (["kill=1:SIGKILL", "kill=1:SIGSTOP", "good"], {}, "ok", ""),
        (["kill=1:SIGTERM", "forever"], {}, "cancelled", "told to stop"),
        (["ptrace=1"], {"time": 3}, "timeout", "stopped after its limit of 3 s"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_a_model_uses_up_is_its_own(attack, steps, limits, state, words):
    record, folder = attack(*steps, **limits)
    assert (record.state, words in record.reason) == (state, True), record.reason
    kept = int(subprocess.run(["du", "-sm", folder], check=True, capture_output=True, text=True).stdout.split()[0])
    assert kept < 150, "what was written stays within a second of the limit"
    if "daemon" in steps:
        beats = (folder / "output" / "heartbeat").read_text()
        time.sleep(0.3)
        assert (folder / "output" / "heartbeat").read_text() == beats, "it beats no more"


def test_what_has_no_room_is_refused(attack):
    steps = ("fill=/tmp", "fill=/dev/shm", "sparse=output", "sparse_by_seeking=scratch", "forks")
    _, folder = attack(*steps, "good", memory_mb=512, disk_mb=600)
    found = told(folder)
    assert found["fill=/tmp"] == "256: No space left on device"
    assert found["fill=/dev/shm"] == "8: No space left on device"
    assert {found["sparse=output"], found["sparse_by_seeking=scratch"]} == {"refused: File too large"}
    assert re.fullmatch("6[0-3]: Resource temporarily unavailable", found["forks"])


def test_a_fork_bomb_does_not_keep_others_from_working(attack, models, image_of):
    image = image_of(models["adversary"]).digest
    seen = []

    def look():
        until(lambda: containers(all=False, model="adversary"))
        time.sleep(1)
        seen.append(any(line.startswith("h5py==") for line in pick_engine("docker").packages(image, Cancel())))
        seen.append(subprocess.run(["true"], check=False, timeout=5).returncode == 0)

    other = threading.Thread(target=look)
    other.start()
    attack("bomb", time=6)
    other.join()
    assert seen == [True, True], "another container and this machine answer"


def test_a_folder_full_of_files_is_cleared_in_seconds(attack):
    record, folder = attack("empty_and_leave=200000", "good", disk_mb=1000, time=90)
    assert record.state == "ok"
    began = time.monotonic()
    disk.remove(folder / "output")
    assert time.monotonic() - began < 60
    assert not (folder / "output").exists()


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [
        (["lines=3000000", "good"], b"line 0\nline 1\n", b"line 2999999\n"),
        (["line=200", "good"], b"it begins x", b"x it ends"),
    ],
)
def test_a_flood_of_words_is_kept_by_its_beginning_and_its_end(attack, steps, first, last):
    record, folder = attack(*steps)
    log = (folder / "log.txt").read_bytes()
    assert record.state == "ok"
    assert (log.startswith(first), log.endswith(last)) == (True, True)
    assert b"bytes of the log are left out here]" in log
