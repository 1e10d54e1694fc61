"""Real processes: each function is one of the standard library's, so that a worker starts quickly."""

import functools
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cellgauge.scorers import DIED, Scorers

die = functools.partial(signal.raise_signal, signal.SIGKILL)


@pytest.fixture
def scorers():
    found = Scorers(2)
    yield found
    found.close()


class Answers:
    """What was said of each function, in the order of the ends."""

    def __init__(self):
        self.queue = queue.Queue()

    def __call__(self, name):
        return lambda value, reason: self.queue.put((name, value, reason))

    def take(self, count, timeout=60):
        found = {}
        limit = time.monotonic() + timeout
        for _ in range(count):
            name, value, reason = self.queue.get(timeout=max(0.1, limit - time.monotonic()))
            assert name not in found, "each is answered once"
            found[name] = (value, reason)
        assert self.queue.empty()
        return found


def test_a_function_is_called_in_another_process(scorers):
    answers = Answers()
    scorers.submit(os.getpid, answers("pid"))
    scorers.submit(functools.partial(divmod, 17, 5), answers("divmod"))
    found = answers.take(2)
    assert found["pid"][0] != os.getpid()
    assert found["divmod"] == ((3, 2), "")


def test_nothing_starts_before_it_is_needed():
    scorers = Scorers(2)
    scorers.close()
    assert scorers._pool is scorers._alone is None


def test_an_exception_is_a_reason(scorers):
    answers = Answers()
    scorers.submit(functools.partial(int, "seven"), answers("int"))
    assert answers.take(1) == {"int": (None, "ValueError: invalid literal for int() with base 10: 'seven'")}


def test_what_kills_its_process_takes_only_itself_with_it(scorers):
    answers = Answers()
    for number in range(12):
        scorers.submit(die if number == 5 else functools.partial(pow, 2, number), answers(number))
    found = answers.take(12)
    assert found.pop(5) == (None, DIED)
    assert found == {number: (2**number, "") for number in range(12) if number != 5}
    scorers.submit(functools.partial(pow, 2, 20), answers("after"))
    assert answers.take(1) == {"after": (2**20, "")}, "and the next one has processes again"


def test_several_that_kill_their_process_are_each_found_out(scorers):
    answers = Answers()
    for number in range(8):
        scorers.submit(die if number % 3 == 0 else functools.partial(pow, 2, number), answers(number))
    found = answers.take(8)
    assert {number for number, answer in found.items() if answer == (None, DIED)} == {0, 3, 6}
    assert all(answer == (2**number, "") for number, answer in found.items() if number % 3)


def test_closing_drops_what_waits_and_waits_for_what_runs():
    scorers, answers = Scorers(1), Answers()
    scorers.submit(os.getpid, answers("first"))
    answers.take(1)
    for number in range(20):
        scorers.submit(functools.partial(time.sleep, 0.5), answers(number))
    time.sleep(0.2)
    scorers.close()
    found = answers.take(20)
    assert found[0] == (None, "")
    assert found[19] == (None, "stopped on request")


def test_closing_while_one_is_tried_alone_answers_all_and_ends():
    scorers, answers = Scorers(2), Answers()
    for number in range(6):
        scorers.submit(die if number == 0 else functools.partial(time.sleep, 0.3), answers(number))
    time.sleep(0.6)
    thread = threading.Thread(target=scorers.close)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert len(answers.take(6)) == 6


def test_closing_at_once_waits_for_nothing_and_leaves_no_process():
    scorers, answers = Scorers(2), Answers()
    for _ in range(2):
        scorers.submit(os.getpid, answers(_))
    pids = [pid for pid, _ in answers.take(2).values()]
    for number in range(5):
        scorers.submit(functools.partial(time.sleep, 60), answers(number))
    time.sleep(0.2)
    began = time.monotonic()
    scorers.close(at_once=True)
    assert time.monotonic() - began < 10
    assert set(answers.take(5).values()) == {(None, "stopped on request")}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


PARENT = """
import os, sys, time
from cellgauge.scorers import Scorers

def told(value, reason):
    print(value, flush=True)

if __name__ == "__main__":
    scorers = Scorers(3)
    for _ in range(3):
        scorers.submit(os.getpid, told)
    for _ in range(3):
        scorers.submit(__import__("functools").partial(time.sleep, 60), told)
    time.sleep(60)
"""


def family(mark):
    """Processes with a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"CHILD_OF_TEST={mark}".encode() in path.read_bytes():
                state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(path.parent.name)] if state not in "ZX" else []
    return found


@pytest.mark.parametrize("busy", [True, False])
def test_a_parent_that_is_killed_leaves_no_process(tmp_path, busy):
    (tmp_path / "parent.py").write_text(
        PARENT if busy else PARENT.replace("range(3):\n        scorers.submit(__", "[]:\n        scorers.submit(__")
    )
    mark = f"{os.getpid()}-{busy}"
    environment = {**os.environ, "CHILD_OF_TEST": mark}
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, env=environment) as parent:
        for _ in range(3):
            assert int(parent.stdout.readline()) in family(mark)
        assert len(family(mark)) >= 3
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        limit = time.monotonic() + 10
        while family(mark) and time.monotonic() < limit:
            time.sleep(0.05)
        left = family(mark)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == []


def test_ctrl_c_is_left_to_the_parent(scorers):
    answers = Answers()
    scorers.submit(os.getpid, answers("pid"))
    pid = answers.take(1)["pid"][0]
    os.kill(pid, signal.SIGINT)
    scorers.submit(functools.partial(pow, 2, 3), answers("after"))
    assert answers.take(1) == {"after": (8, "")}
    assert Path(f"/proc/{pid}").exists()


def test_closing_at_once_leaves_processes_of_others_alone():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        idle, scorers, answers = Scorers(1), Scorers(1), Answers()
        scorers.submit(functools.partial(time.sleep, 60), answers("long"))
        time.sleep(0.2)
        for one in (idle, scorers):
            one.close(at_once=True)
        assert answers.take(1) == {"long": (None, "stopped on request")}
        assert other.is_alive()
    finally:
        other.kill()
        other.join()
        other.close()
