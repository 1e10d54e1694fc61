"""Does, one after the other, what the words of its parameter `do` say: `say write exit=3`. Standard library alone."""

import glob
import json
import os
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

INPUT, OUTPUT = Path(os.environ["CELLGAUGE_INPUT"]), Path(os.environ["CELLGAUGE_OUTPUT"])
MIB = 1 << 20
TOO_LONG = 120
"""Seconds after which everything ends by itself, so that a bad engine leaves nothing for ever."""


def write():
    """Fulfil the contract: an embedding of each item, its cells, and a result, written last and by rename."""
    for item in json.loads((INPUT / "request.json").read_text())["items"]:
        cells = (INPUT / item["data"]).read_text().split()
        folder = OUTPUT / item["name"]
        folder.mkdir()
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(cells)}, 2), }}".ljust(117) + "\n"
        rows = [value for n, cell in enumerate(cells) for value in (n, len(cell))]
        array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
        (folder / "embedding.npy").write_bytes(array + struct.pack(f"<{len(rows)}f", *rows))
        (folder / "cells.txt").write_text("".join(f"{cell}\n" for cell in cells))
        (folder / ".partial").write_text('{"contract": 1, "status": "ok"}\n')
        (folder / ".partial").rename(folder / "result.json")


def tell():
    """Write down what can be seen from in here."""
    with tempfile.NamedTemporaryFile(dir=os.environ["HOME"]) as home, tempfile.TemporaryFile() as other:
        other.write(b"x" * 1000)
        writable = Path(home.name).exists()
    found = {
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
        "stdin": len(sys.stdin.buffer.read()),
        "output": sorted(os.listdir(OUTPUT)),
        "home is writable": writable,
        "descriptors": [int(name) for name in os.listdir("/proc/self/fd") if exists(f"/proc/self/fd/{name}")],
        "devices": sorted(glob.glob("/dev/nvidia[0-9]*")),  # noqa: PTH207
        "input": {path.name: path.read_text() for path in sorted(INPUT.iterdir())},
        "weights": read_all(Path(os.environ["CELLGAUGE_WEIGHTS"])),
    }
    (OUTPUT / "told.json").write_text(json.dumps(found))


def exists(path):
    """Tell whether a link leads somewhere; the one to the listing itself is gone by now."""
    return os.path.lexists(path)


def read_all(folder):
    """Read every file of a folder that may not be there."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def pry():
    """Try what a sealed model may not, as `attempts.json` in the input says, and write down what worked."""
    told = json.loads((INPUT / "attempts.json").read_text())
    attempts = {
        "write to the input": lambda: (INPUT / "request.json").write_text("{}"),
        "add to the input": lambda: (INPUT / "new").write_text(""),
        "write to the weights": lambda: Path(os.environ["CELLGAUGE_WEIGHTS"], "new").write_text(""),
        "write beside its folders": lambda: Path("/usr/probe").write_text(""),
        "read a file of the caller": lambda: Path(told["file"]).read_bytes(),
        "reach a service of the caller": lambda: socket.create_connection(("127.0.0.1", told["port"]), 2),
        "reach the network": lambda: socket.create_connection(("192.0.2.1", 80), 2),
        "see a process of the caller": lambda: Path("/proc", str(told["pid"]), "status").read_bytes(),
        "become root": lambda: os.setuid(0) if os.getuid() else os.mknod("/scratch/null", 0o20666, os.makedev(1, 3)),
    }
    worked = []
    for name, attempt in attempts.items():
        try:
            attempt()
            worked.append(name)
        except OSError:
            pass
    (OUTPUT / "worked.json").write_text(json.dumps(worked))


def say(count):
    """Write lines to both streams by turns."""
    for n in range(int(count)):
        os.write(1, f"out {n:05d} {'o' * 60}\n".encode())
        os.write(2, f"err {n:05d} {'e' * 60}\n".encode())


def gibber():
    """Write every byte there is."""
    os.write(1, b"<" + bytes(range(256)) + b">\n")


def flood(mebibytes):
    """Write many numbered lines."""
    for n in range(int(mebibytes) * MIB // 64):
        os.write(1, f"{n:063d}\n".encode())


def last():
    """Say something without ending the line."""
    os.write(2, b"last words")


def end(code):
    """End with an exit code."""
    os._exit(int(code))


def die(number):
    """Die by a signal."""
    os.kill(os.getpid(), int(number))
    time.sleep(TOO_LONG)


def deaf():
    """Hear no SIGTERM and no SIGINT, and nor will what is started later."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def sing(seconds):
    """When told to stop, take some seconds to put one's things in order."""

    def stop(*_):
        time.sleep(seconds)
        (OUTPUT / "swan song").write_text("la")
        os.write(1, b"la\n")
        os._exit(143)

    signal.signal(signal.SIGTERM, stop)


def fork():
    """Leave a child in the background that goes on."""
    if os.fork() == 0:
        beat("child")


def stray():
    """Leave a child that goes on, in a session of its own and without a parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            beat("stray")
        os._exit(0)


def hang():
    """Go on."""
    beat("self")


def beat(name):
    """Show life in a file, ten times a second."""
    until = time.monotonic() + TOO_LONG
    while time.monotonic() < until:
        with (OUTPUT / f"beat {name}").open("a") as file:
            file.write(".")
        time.sleep(0.1)
    os._exit(0)


def burn(seconds):
    """Use the CPU for some seconds, and hold 64 MiB."""
    global held
    held = b"x" * (64 * MIB)
    while time.process_time() < seconds:
        sum(range(10_000))


def hoard(mebibytes):
    """Take memory."""
    global held
    held = [b"x" * MIB for _ in range(int(mebibytes))]


held = None


def fill(mebibytes):
    """Write to the output and to the scratch folder by turns, in files of one MiB."""
    for n in range(int(mebibytes)):
        folder = OUTPUT if n % 2 else Path(os.environ["CELLGAUGE_SCRATCH"])
        (folder / f"part {n}").write_bytes(b"x" * MIB)


WORDS = {
    **{"write": write, "tell": tell, "pry": pry, "say": say, "gibber": gibber, "flood": flood, "last": last},
    **{"exit": end, "die": die, "deaf": deaf, "sing": sing, "fork": fork, "stray": stray, "hang": hang},
    **{"burn": burn, "hoard": hoard, "fill": fill, "sleep": time.sleep},
}


def main(verb):
    """Answer a verb of the contract."""
    if verb == "describe":
        sys.stdout.write(Path(__file__).with_name("model.yaml").read_text())
    elif verb not in ("embed", "selftest"):
        return 2
    elif verb == "embed":
        for word in json.loads((INPUT / "request.json").read_text())["params"]["do"].split():
            name, _, number = word.partition("=")
            WORDS[name](*([float(number)] if number else []))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
