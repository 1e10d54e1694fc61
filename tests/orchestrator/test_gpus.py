"""GPUs out of a list instead of a driver; locks, processes, threads and kills are real."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from cellgauge import gpus
from cellgauge.errors import GpuError
from cellgauge.gpus.lock import Lock
from support import listed_gpus

HOLDER = """
import ctypes, json, os, sys, time
from pathlib import Path
from cellgauge import gpus

given = json.loads(sys.argv[1])
witness = Path(given["witness"])
inventory = gpus.Listed(Path(given["list"]))
lessor = gpus.Lessor(tuple(inventory.devices()), inventory, Path(given["folder"]), given["share"])
if given["uid"]:
    os.setgroups([])
    os.setgid(given["uid"])
    os.setuid(given["uid"])
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: let it read its own /proc, as after a login
print("ready", flush=True)
for _ in range(given["times"]):
    with lessor.lease(1, given["mb"], lambda: False, wait=given["wait"]) as (device,):
        started = time.monotonic()
        if given["hold"]:
            print("held", flush=True)
            time.sleep(given["hold"])
        os.close(os.open(witness / f"{device.uuid}.now", os.O_CREAT | os.O_EXCL))  # fails if another is in here
        (witness / f"{device.uuid}.used").touch()
        while len(list(witness.glob("*.used"))) < 2 and time.monotonic() < started + 10:
            time.sleep(0.01)
        time.sleep(0.05)
        (witness / f"{device.uuid}.now").unlink()
        ended = time.monotonic()
    print(json.dumps([device.uuid, started, ended]), flush=True)
"""
FORKS = """
import os, sys, time
from pathlib import Path
from cellgauge import gpus

inventory = gpus.Listed(Path(sys.argv[1]))
lessor = gpus.Lessor(tuple(inventory.devices()[:1]), inventory, Path(sys.argv[2]))
try:
    with lessor.lease(1, 0, lambda: False):
        child = os.fork()
        if not child:
            raise LookupError  # leaves the block, and must not unlock what is its parent's
        os.waitpid(child, 0)
        if not os.fork():
            time.sleep(20)
        print("held", flush=True)
        time.sleep(20)
except LookupError:
    pass
"""


def never():
    return False


def lend(folder, share=False, **fields):
    inventory = listed_gpus(folder, **fields)
    return gpus.Lessor(tuple(inventory.devices()), inventory, folder / "locks", share)


def hold(folder, **fields):
    """Start a process that leases a device."""
    given = {"list": str(folder / "list.json"), "folder": str(folder / "locks"), "witness": str(folder)}
    given |= {"share": False, "mb": 0, "times": 1, "wait": 20, "hold": 0, "uid": 0, **fields}
    command = [sys.executable, "-c", HOLDER, json.dumps(given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for word in ["ready\n"] + ["held\n"] * bool(given["hold"]):
        assert process.stdout.readline() == word
    return process


def kill(process):
    process.kill()
    process.communicate()


def refused(lessor, count=1, mb=0, **more):
    with pytest.raises(GpuError) as caught, lessor.lease(count, mb, never, wait=0, **more):
        pass
    return caught.value


def amid(lessor, others, count, mb):
    """Lease while six threads do nothing but lease; give what stood in the folder meanwhile."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            with lessor.lease(1, others, never):
                time.sleep(0.03)

    threads = [threading.Thread(target=churn) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        with lessor.lease(count, mb, never, wait=20) as devices:
            return devices, [path.name for path in lessor.folder.glob("*.share")]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_can_never_be_had_is_told_with_figures(tmp_path):
    lessor = lend(tmp_path)
    assert lessor.fits(2, 80_000) == lessor.fits(0, 0) == ""
    assert lessor.fits(3, 0).startswith("3 GPUs needed, 2 there: GPU 0 (A) has 80,000 MB, GPU 1")
    assert "1 GPU with 90,000 MB needed, 0 there: GPU 0 (A) has 80,000 MB" in lessor.fits(1, 90_000)
    assert gpus.Lessor((), lessor.inventory, tmp_path).fits(1, 0) == "1 GPU needed, 0 there: none may be used"
    assert refused(lessor, 3).lasting


def test_eight_jobs_in_four_processes_never_share_one_of_two_devices(tmp_path):
    lessor = lend(tmp_path)
    with lessor.lease(2, 0, never):
        workers = [hold(tmp_path, times=2) for _ in range(4)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, said
    spans = sorted(json.loads(line) for out, _ in said for line in out.splitlines())
    assert len(spans) == 8
    assert {uuid for uuid, _, _ in spans} == {"GPU-00", "GPU-10"}
    assert all(one[0] != two[0] or one[2] <= two[1] for one, two in pairwise(spans))


@pytest.mark.parametrize("share", [False, True])
def test_a_killed_holder_frees_its_device(tmp_path, share):
    lessor = lend(tmp_path, share=share, count=1)
    holder = hold(tmp_path, hold=30, mb=50_000, share=share)
    assert f"to pid {holder.pid} of user " in refused(lessor, mb=50_000).message
    kill(holder)
    assert len(list(lessor.folder.glob("*.share"))) == share
    with lessor.lease(1, 50_000, never, wait=0):
        assert len(list(lessor.folder.glob("*.share"))) == share  # its own; the dead one is gone


def test_a_forked_child_neither_keeps_nor_gives_back_the_lease(tmp_path):
    lessor = lend(tmp_path, count=1)
    command = [sys.executable, "-c", FORKS, str(tmp_path / "list.json"), str(lessor.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert "is leased to pid" in refused(lessor).message
        os.kill(holder.pid, 9)  # its child lives
        holder.wait()
        with lessor.lease(1, 0, never, wait=10):  # it may not have come to closing its copy
            os.killpg(holder.pid, 9)


def test_a_job_of_two_devices_gets_its_turn(tmp_path):
    assert len(amid(lend(tmp_path), 0, 2, 0)[0]) == 2


def test_a_job_alone_gets_its_turn_among_sharers(tmp_path):
    devices, slots = amid(lend(tmp_path, share=True, count=1), 20_000, 1, 0)
    assert len(devices) == 1
    assert slots == []


def test_sharers_fit_by_declared_memory(tmp_path):
    lessor = lend(tmp_path, share=True, count=1)
    with lessor.lease(1, 30_000, never):
        with lessor.lease(1, 30_000, never, wait=0, busy=lambda: ["GPU-00"]):  # the container of the first
            assert "has 60,000 of 80,000 MB promised to pid" in refused(lessor, mb=30_000).message
            assert "is shared by pid" in refused(lessor).message
            assert "is shared by pid" in refused(lend(tmp_path, count=1), mb=1).message
        with lessor.lease(1, 50_000, never, wait=0):
            pass
    assert not list(lessor.folder.glob("*.share"))
    with lessor.lease(1, 0, never, wait=0):
        assert "is leased to pid" in refused(lessor, mb=1).message


def test_the_first_sharer_minds_the_containers_of_others(tmp_path):
    lessor = lend(tmp_path, share=True, count=1)
    assert "is used by a running container" in refused(lessor, mb=1000, busy=lambda: ["GPU-00"]).message


def test_a_share_that_nobody_can_read_is_the_whole_device(tmp_path):
    lessor = lend(tmp_path, share=True, count=1)
    with lessor.lease(1, 10_000, never):
        (slot,) = lessor.folder.glob("*.share")
        slot.write_text("nonsense\n")
        assert "80,000 of 80,000 MB promised" in refused(lessor, mb=1000).message


def test_a_lock_on_a_file_that_was_removed_excludes_nobody_and_is_not_had(tmp_path):
    with ExitStack() as stack:
        old = Lock(tmp_path / "locks" / "one.lock", stack)
        old.path.unlink()
        assert not old.take()
        assert Lock(old.path, stack).take()
        assert not old.take(), "others open another file by now"


def test_any_user_may_lock_whatever_the_umask(tmp_path):
    lessor = lend(tmp_path, share=True)
    before = os.umask(0o077)
    try:
        with lessor.lease(1, 1000, never):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in lessor.folder.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(lessor.folder.stat().st_mode) == 0o1777
    assert {name.rpartition(".")[2] for name in modes} == {"gate", "lock", "share"}
    assert set(modes.values()) == {0o666}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_users_respect_each_others_leases():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        lessor = lend(folder, count=1)
        with lessor.lease(1, 0, never):
            late = hold(folder, wait=0, uid=65534)
            assert f"is leased to pid {os.getpid()} of user root" in late.communicate()[1]
        holder = hold(folder, hold=30, uid=65534)
        assert f"is leased to pid {holder.pid} of user nobody" in refused(lessor).message
        kill(holder)
        with lessor.lease(1, 0, never, wait=0):
            pass


def test_why_each_device_was_not_to_be_had(tmp_path):
    lessor = lend(tmp_path, count=4)
    entries = json.loads((tmp_path / "list.json").read_text())
    entries[1]["free_mb"] = 200
    (tmp_path / "list.json").write_text(json.dumps(entries[:3]))
    with lessor.lease(1, 0, never):
        problem = refused(lessor, mb=30_000, busy=lambda: {"GPU-20"})
    assert problem.message.startswith(
        f"no GPU became free within 0 s: GPU 0 (A) is leased to pid {os.getpid()} of user "
    )
    assert "GPU 1 (A) has 200 of 80,000 MB free, GPU 2 (A) is used by a running container" in problem.message
    assert "there is no GPU GPU-30 any more" in problem.message
    assert not problem.lasting
    assert refused(lessor, 4).lasting  # one is gone for good


@pytest.mark.parametrize(
    ("free", "mb", "fits"), [(79_000, 0, 1), (60_000, 0, 0), (60_000, 60_000, 1), (60_000, 60_001, 0)]
)
def test_memory_that_others_use_without_a_lease_counts(tmp_path, free, mb, fits):
    lessor = lend(tmp_path, count=1, free_mb=free)
    if fits:
        with lessor.lease(1, mb, never, wait=0) as devices:
            assert devices == lessor.devices
    else:
        assert f"{free:,} of 80,000 MB free" in refused(lessor, mb=mb).message


def test_whoever_has_to_wait_is_told_once_and_nobody_else(tmp_path):
    lessor, told = lend(tmp_path, count=1), []
    with lessor.lease(1, 0, never, queued=lambda: told.append("at once")):
        asked = iter([False] * 4 + [True])
        with pytest.raises(gpus.Stopped), lessor.lease(1, 0, lambda: next(asked), queued=lambda: told.append("later")):
            pass
    assert told == ["later"]


def test_waiting_is_called_off_and_leaves_nothing_locked(tmp_path):
    lessor = lend(tmp_path)
    asked = iter([False, False, True])
    with lessor.lease(1, 0, never), pytest.raises(gpus.Stopped), lessor.lease(2, 0, lambda: next(asked)):
        pass
    with pytest.raises(ZeroDivisionError), lessor.lease(2, 0, never, wait=0):
        raise ZeroDivisionError
    with lessor.lease(2, 0, never, wait=0):
        pass


@pytest.mark.parametrize("foreign", [False, True])
def test_who_waits_does_not_stand_in_the_way_of_others(tmp_path, foreign):
    lessor = lend(tmp_path, count=3)
    first, second, last = (gpus.Lessor((one,), lessor.inventory, lessor.folder) for one in lessor.devices)
    pair = gpus.Lessor(lessor.devices[:2], lessor.inventory, lessor.folder)
    done = threading.Event()

    def later():
        with pytest.raises(gpus.Stopped), pair.lease(2, 0, done.is_set, busy=lambda: ["GPU-10"] if foreign else []):
            pass

    waiter, lock, limit = threading.Thread(target=later), lessor.folder / "GPU-00.lock", time.monotonic() + 10
    with ExitStack() if foreign else second.lease(1, 0, never):
        waiter.start()
        while not (lock.exists() and (foreign or lock.read_text())) and time.monotonic() < limit:
            time.sleep(0.01)
        if not foreign:  # it keeps the first, since the second will come; the last is none of its business
            assert "GPU 0 (A) is awaited by pid" in refused(first).message
        try:
            with (first if foreign else last).lease(1, 0, never, wait=10):
                pass
        finally:
            done.set()
            waiter.join()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    lessor = lend(tmp_path)
    lessor.folder.write_text("")
    assert "every user must be able to write" in refused(lessor).hint
    assert gpus.default_folder().name == "cellgauge-gpus"
