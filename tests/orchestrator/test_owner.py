"""Who may be taken for dead: only one that surely is, and only one's own."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cellgauge import owner

ME = owner.me()
OTHER = "0" * 8


@pytest.fixture
def child():
    """A process that lives until the test ends, and its owner."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process, owner._of(process.pid)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def dead(child):
    """Who owned what a process left that was killed."""
    process, whose = child
    process.kill()
    process.wait()
    return whose


def test_who_runs_lives_and_has_abandoned_nothing(child):
    for whose in (ME, child[1]):
        assert whose.alive()
        assert not whose.abandoned()


def test_who_was_killed_has_abandoned_what_they_left(dead):
    assert not dead.alive()
    assert dead.abandoned()


def test_a_corpse_that_nobody_has_collected_is_dead(child):
    process, whose = child
    process.kill()
    limit = time.monotonic() + 5
    while whose.alive() and time.monotonic() < limit:
        time.sleep(0.01)
    assert process.returncode is None, "not collected"
    assert whose.abandoned()


def test_another_process_of_the_same_number_is_somebody_else(child):
    _, whose = child
    assert replace(whose, started=whose.started - 1).abandoned()


def test_nobody_outlives_a_reboot():
    assert replace(ME, boot=OTHER).abandoned(), "though a process of that number and start runs"


def test_who_cannot_be_seen_from_here_is_taken_to_live(dead):
    assert not replace(dead, machine=OTHER).abandoned()
    assert not replace(dead, machine=OTHER, boot=OTHER).abandoned()
    assert not replace(dead, namespace=dead.namespace + 1).abandoned()


def test_another_users_things_are_never_ones_own(dead):
    foreign = replace(dead, uid=dead.uid + 1)
    assert not foreign.alive()
    assert not foreign.abandoned()
    assert not replace(foreign, boot=OTHER).abandoned()


def test_a_token_comes_back_as_it_went_and_fits_a_file_name():
    assert owner.Owner.parse(ME.token) == ME
    assert "/" not in ME.token
    assert len(ME.token) < 100


@pytest.mark.parametrize("token", ["", "x", "1~2~3~4~5~6", ME.token + "~1", f"-{ME.token}", ME.token.upper() + "\n"])
def test_what_is_no_token_is_nobody(token):
    assert owner.Owner.parse(token) is None


def test_a_program_with_any_name_is_found(tmp_path):
    program = tmp_path / "a) Z 1 (b"
    shutil.copy(shutil.which("sleep"), program)
    process = subprocess.Popen([program, "60"])
    try:
        assert owner._of(process.pid).started >= ME.started
        assert owner._of(process.pid).alive()
    finally:
        process.kill()
        process.wait()


def test_a_forked_child_is_somebody_else():
    code = """
import os, sys
from cellgauge import owner
before = owner.me()
if child := os.fork():
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
os._exit(0 if owner.me().pid == os.getpid() != before.pid and owner.me().alive() else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a namespace of process ids")
def test_a_process_in_a_container_that_shares_the_machine_is_taken_to_live():
    code = "from cellgauge import owner; print(owner.me().token)"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Operation not permitted" in done.stderr:
        pytest.skip("this machine lets nobody make namespaces")
    whose = owner.Owner.parse(done.stdout.strip())
    assert (whose.machine, whose.boot, whose.uid) == (ME.machine, ME.boot, ME.uid)
    assert whose.namespace != ME.namespace
    assert not whose.abandoned()
