"""Does, one after the other, what the words of its parameter `do` say: `say write exit=3`. Standard library alone."""

import json
import os
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

INPUT = Path(os.environ.get("CELLGAUGE_INPUT", "/job/input"))
OUTPUT = Path(os.environ.get("CELLGAUGE_OUTPUT", "/job/output"))
SCRATCH = Path(os.environ.get("CELLGAUGE_SCRATCH", "/scratch"))
WEIGHTS = Path(os.environ.get("CELLGAUGE_WEIGHTS", "/weights"))
MIB = 1 << 20
TOO_LONG = 120
"""Seconds after which everything ends by itself, so that a bad engine leaves nothing for ever."""


def write() -> None:
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


def tell() -> None:
    """Write down what can be seen from in here."""
    with tempfile.NamedTemporaryFile(dir=os.environ["HOME"]) as home, tempfile.TemporaryFile() as other:
        other.write(b"x" * 1000)
        writable = Path(home.name).exists()
    found = {
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
        "stdin": len(sys.stdin.buffer.read()),
        "output": sorted(path.name for path in OUTPUT.iterdir()),
        "home is writable": writable,
        "descriptors": [int(path.name) for path in list(Path("/proc/self/fd").iterdir()) if os.path.lexists(path)],
        "devices": sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*")),
        "input": {path.name: path.read_text() for path in sorted(INPUT.iterdir())},
        "weights": read_all(WEIGHTS),
    }
    (OUTPUT / "told.json").write_text(json.dumps(found))


def read_all(folder: Path) -> "dict[str, str]":
    """Read every file of a folder that may not be there."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def pry() -> None:
    """Try what a sealed model may not, as `attempts.json` in the input says, and write down what worked."""
    told = json.loads((INPUT / "attempts.json").read_text())
    attempts: dict[str, Callable[[], object]] = {
        "write to the input": lambda: (INPUT / "request.json").write_text("{}"),
        "add to the input": lambda: (INPUT / "new").write_text(""),
        "write to the weights": lambda: (WEIGHTS / "new").write_text(""),
        "write beside its folders": lambda: Path("/usr/probe").write_text(""),
        "read a file of the caller": lambda: Path(told["file"]).read_bytes(),
        "reach a service of the caller": lambda: socket.create_connection(("127.0.0.1", told["port"]), 2),
        "reach the network": lambda: socket.create_connection(("192.0.2.1", 80), 2),
        "see a process of the caller": lambda: Path("/proc", str(told["pid"]), "status").read_bytes(),
        "make a device": lambda: os.mknod(SCRATCH / "null", 0o20666, os.makedev(1, 3)),
    }
    worked = []
    for name, attempt in attempts.items():
        try:
            attempt()
            worked.append(name)
        except OSError:
            pass
    (OUTPUT / "worked.json").write_text(json.dumps(worked))


def say(count: float) -> None:
    """Write lines to both streams by turns."""
    for n in range(int(count)):
        os.write(1, f"out {n:05d} {'o' * 60}\n".encode())
        os.write(2, f"err {n:05d} {'e' * 60}\n".encode())


def gibber() -> None:
    """Write every byte there is."""
    os.write(1, b"<" + bytes(range(256)) + b">\n")


def flood(mebibytes: float) -> None:
    """Write many numbered lines."""
    for n in range(int(mebibytes) * MIB // 64):
        os.write(1, f"{n:063d}\n".encode())


def last() -> None:
    """Say something without ending the line."""
    os.write(2, b"last words")


def end(code: float) -> None:
    """End with an exit code."""
    os._exit(int(code))


def die(number: float) -> None:
    """Die by a signal."""
    os.kill(os.getpid(), int(number))
    time.sleep(TOO_LONG)


def deaf() -> None:
    """Hear no SIGTERM and no SIGINT, and nor will what is started later."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def sing(seconds: float) -> None:
    """When told to stop, take some seconds to put one's things in order."""

    def stop(*_: object) -> NoReturn:
        time.sleep(seconds)
        (OUTPUT / "swan song").write_text("la")
        os.write(1, b"la\n")
        os._exit(143)

    signal.signal(signal.SIGTERM, stop)


def fork() -> None:
    """Leave a child in the background that goes on."""
    if os.fork() == 0:
        beat("child")


def stray() -> None:
    """Leave a child that goes on, in a session of its own and without a parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            beat("stray")
        os._exit(0)


def hang() -> None:
    """Go on."""
    beat("self")


def beat(name: str) -> NoReturn:
    """Show life in a file, ten times a second."""
    until = time.monotonic() + TOO_LONG
    while time.monotonic() < until:
        with (OUTPUT / f"beat {name}").open("a") as file:
            file.write(".")
        time.sleep(0.1)
    os._exit(0)


held: Any = None


def burn(seconds: float) -> None:
    """Use the CPU for some seconds, and hold 64 MiB."""
    global held
    held = b"x" * (64 * MIB)
    while time.process_time() < seconds:
        sum(range(10_000))


def hoard(mebibytes: float) -> None:
    """Take memory."""
    global held
    held = [b"x" * MIB for _ in range(int(mebibytes))]


def fill(mebibytes: float) -> None:
    """Write to the output and to the scratch folder by turns, in files of one MiB."""
    for n in range(int(mebibytes)):
        folder = OUTPUT if n % 2 else SCRATCH
        (folder / f"part {n}").write_bytes(b"x" * MIB)


WORDS: dict[str, Callable[..., None]] = {
    **{"write": write, "tell": tell, "pry": pry, "say": say, "gibber": gibber, "flood": flood, "last": last},
    **{"exit": end, "die": die, "deaf": deaf, "sing": sing, "fork": fork, "stray": stray, "hang": hang},
    **{"burn": burn, "hoard": hoard, "fill": fill, "sleep": time.sleep},
}


def main(verb: str) -> int:
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
