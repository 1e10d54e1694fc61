"""What uses up something that others need too, and ways not to end."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = Path(os.environ["CELLGAUGE_OUTPUT"])
SCRATCH = Path(os.environ["CELLGAUGE_SCRATCH"])
MIB = 1 << 20
BLOCK = os.urandom(MIB)


def forever():
    while True:
        time.sleep(60)


def sleep(seconds):
    time.sleep(float(seconds))


# --- processes ------------------------------------------------------------------------------------------------------


def forks():
    """Start as many processes as may be; they stay."""
    count = 0
    try:
        while os.fork() != 0:
            count += 1
    except OSError as problem:
        return f"{count}: {problem.strerror}"
    return forever()


def bomb():
    """Start processes that start processes."""
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def daemon():
    """Leave a process behind that belongs to no session of ours, and writes for ever."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        for number in itertools.count():
            (OUTPUT / "heartbeat").write_text(str(number))
            time.sleep(0.05)
    time.sleep(0.5)
    return (OUTPUT / "heartbeat").exists()


def deaf():
    """Hear no signal that can be ignored."""
    for number in {*signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)


def mute():
    """Close both streams, and go on."""
    sys.stdout.flush()
    for number in (1, 2):
        os.close(number)
        os.open("/dev/null", os.O_WRONLY)
    time.sleep(3)


# --- memory ---------------------------------------------------------------------------------------------------------


def hog():
    held = []
    while True:
        held.append(bytearray(BLOCK))


def hog_in_child():
    """Have a child killed, and end as if nothing had been."""
    child = subprocess.run(
        [sys.executable, "-c", "x = []\nwhile True: x.append(bytearray(b'x' * (1 << 20)))"], check=False
    )
    return child.returncode


def fill(place):
    """Write a file in a folder until that is refused: how many MiB there is room for."""
    with open(f"{place}/filling", "wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError as problem:
            return f"{file.tell() // MIB}: {problem.strerror}"


# --- the disk -------------------------------------------------------------------------------------------------------


def place_of(name):
    return {"output": OUTPUT, "scratch": SCRATCH}[name]


def one(name):
    """Write one file without end."""
    with open(place_of(name) / "one", "wb", buffering=0) as file:
        while True:
            file.write(BLOCK)


def one_and_crash(name):
    try:
        one(name)
    except OSError as problem:
        raise RuntimeError(f"cannot go on: {problem.strerror}") from problem


def until_killed(name):
    """Die by the signal of the limit, as programs do that are not Python."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    one(name)


def many(name):
    """Write many small files, 50 MiB a second, 200 MiB in all; nothing of it is too large alone."""
    for number in range(200):
        (place_of(name) / f"many-{number}").write_bytes(BLOCK)
        time.sleep(0.02)
    forever()


def empty(name):
    """Write a great many files with nothing in them."""
    for number in range(200_000):
        os.close(os.open(place_of(name) / f"empty-{number}", os.O_CREAT | os.O_WRONLY))
    forever()


def empty_and_leave(count):
    for number in range(int(count)):
        os.close(os.open(OUTPUT / f"empty-{number}", os.O_CREAT | os.O_WRONLY))


def sparse(name):
    """Claim 10 TB in one file."""
    with open(place_of(name) / "sparse", "wb") as file:
        file.truncate(10 << 40)
    return "done"


def sparse_by_seeking(name):
    with open(place_of(name) / "sparse", "wb", buffering=0) as file:
        file.seek(10 << 40)
        file.write(b"x")
    return "done"


def deleted(name):
    """Fill files that no longer have a name, 200 MiB in all."""
    held = []
    for number in range(25):
        held.append(os.open(place_of(name) / f"gone-{number}", os.O_CREAT | os.O_WRONLY))
        (place_of(name) / f"gone-{number}").unlink()
        for _ in range(8):
            os.write(held[-1], BLOCK)
            time.sleep(0.02)
    forever()


def hidden(name):
    """Fill a folder, and close it to everybody."""
    folder = place_of(name) / "hidden"
    folder.mkdir()
    for number in range(8):
        (folder / str(number)).write_bytes(BLOCK)
    folder.chmod(0)
    forever()


def deep(levels):
    """Make folders in folders, deeper than any path can be long."""
    at = os.open(OUTPUT, os.O_RDONLY)
    for _ in range(int(levels)):
        os.mkdir("deeper", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=at))


# --- words ----------------------------------------------------------------------------------------------------------


def lines(count):
    for start in range(0, int(count), 10_000):
        sys.stdout.write("".join(f"line {number}\n" for number in range(start, min(start + 10_000, int(count)))))
    sys.stdout.flush()


def line(mebibytes):
    """Say one line that does not end."""
    os.write(1, b"it begins ")
    for _ in range(int(mebibytes)):
        os.write(1, b"x" * MIB)
    os.write(1, b" it ends")


def progress(mebibytes):
    with (OUTPUT / "progress.jsonl").open("a") as file:
        for _ in range(int(mebibytes)):
            file.write('{"item": "item0", "state": "running", "done": 1, "total": 2}\n' * (MIB // 64))
