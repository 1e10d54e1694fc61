"""Outputs that are not what they seem. Each works on what `good` wrote for the first item."""

# ruff: noqa: PTH105
import json
import os
import socket
import stat
import sys
from pathlib import Path

import h5py
import numpy

INPUT = Path(os.environ["CELLGAUGE_INPUT"])
OUTPUT = Path(os.environ["CELLGAUGE_OUTPUT"])
REQUEST = json.loads((INPUT / "request.json").read_text())
ITEM = OUTPUT / REQUEST["items"][0]["name"]
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\x1b]8;;http://evil\x07here\r\nerror: forged\x08\x7f\u202e"


def good():
    """Fulfil the contract."""
    for item in REQUEST["items"]:
        with h5py.File(INPUT / item["data"]) as file:
            names = [name.decode() for name in file["obs"][file["obs"].attrs["_index"]][()]]
        folder = OUTPUT / item["name"]
        folder.mkdir()
        numpy.save(folder / "embedding.npy", numpy.arange(len(names) * 3, dtype="float32").reshape(-1, 3))
        (folder / "cells.txt").write_text("".join(f"{name}\n" for name in names))
        (folder / "result.json").write_text(json.dumps({"contract": 1, "status": "ok"}))


def instead(name):
    """Make room for another file of this name."""
    (ITEM / name).unlink()
    return ITEM / name


def symlink(what):
    """NAME:TARGET"""
    name, _, target = what.partition(":")
    instead(name).symlink_to(target)


def hardlink(what):
    name, _, target = what.partition(":")
    try:
        os.link(target, ITEM / f"{name}.new")
    finally:
        instead(name)
    os.replace(ITEM / f"{name}.new", ITEM / name)


def fifo(name):
    os.mkfifo(instead(name))


def sock(name):
    socket.socket(socket.AF_UNIX).bind(str(instead(name)))


def device(name):
    os.mknod(instead(name), stat.S_IFCHR | 0o666, os.makedev(1, 5))


def folder(name):
    instead(name).mkdir()


def closed(name):
    (ITEM / name).chmod(0)


def item_closed():
    ITEM.chmod(0)


def output_closed():
    OUTPUT.chmod(0)


def item_elsewhere(target):
    ITEM.rename(OUTPUT / "moved")
    ITEM.symlink_to(target)


def item_is_a_file():
    ITEM.rename(OUTPUT / "moved")
    ITEM.write_text("x")


def setuid_program():
    """Leave a program that runs with the caller's rights whoever starts it."""
    for number, path in enumerate((OUTPUT / "program", ITEM / "program")):
        path.write_text("#!/bin/sh\nid\n")
        path.chmod((0o4755, 0o6777)[number])
    return oct((OUTPUT / "program").stat().st_mode)


def odd_names():
    for name in (b"\xff\xfe", b"\x1b[2J", b"line\nbreak", b" ", b"-rf", "é".encode(), b"x" * 255):
        (OUTPUT / os.fsdecode(name)).mkdir()
        (ITEM / os.fsdecode(name)).write_text("x")


def result(what):
    """Write a result that is not one."""
    text = {
        "huge": lambda: '{"contract": 1, "status": "' + "x" * (5 << 20) + '"}',
        "long": lambda: json.dumps({"contract": 1, "status": "x" * (3 << 20)}),
        "deep": lambda: "[" * 200_000 + "]" * 200_000,
        "deep-in-place": lambda: '{"contract": 1, "status": "ok", "warnings": ' + "[" * 500 + "]" * 500 + "}",
        "empty": lambda: "",
        "list": lambda: "[]",
        "infinite": lambda: '{"contract": 1, "status": "failed", "timings": {"embed": 1e999}}',
        "infinite-word": lambda: '{"contract": 1, "status": "failed", "timings": {"embed": "inf"}}',
        "half-a-letter": lambda: '{"contract": 1, "status": "ok", "warnings": ["\\ud800"]}',
        "traversal": lambda: json.dumps(
            {"contract": 1, "status": "ok", "outputs": [
                {"file": "../../../../etc/passwd", "shape": [1], "dtype": "f", "sha256": "0"}]}
        ),
        "loud": lambda: json.dumps({"contract": 1, "status": "ok", "warnings": ["w" * 100_000] * 30}),
        "verbose": lambda: json.dumps(
            {"contract": 1, "status": "failed", "error": {"type": "model_error", "message": "m" * (3 << 20)}}),
        "escapes": lambda: json.dumps(
            {"contract": 1, "status": "failed", "error": {"type": "model_error", "message": f"bad {ESCAPES}"},
             "warnings": [f"warned {ESCAPES}"]}
        ),
    }[what]()  # fmt: skip
    (ITEM / "result.json").write_text(text)


def header(mebibytes):
    """Claim that the array's header is as long as the file."""
    size = int(mebibytes) << 20
    with (ITEM / "embedding.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + (size - 12).to_bytes(4, "little"))
        file.truncate(size)


def say_escapes():
    print(ESCAPES)


def exit(code):
    sys.stdout.flush()
    os._exit(int(code))


def progress_lies():
    """Say nonsense about how far one is."""
    lies = (
        '{"item": "item0", "state": "running", "done": 1e999}',
        '{"item": "../../etc", "state": "running", "done": -5, "total": 0}',
        '{"item": ["item0"], "state": "running"}',
        '{"item": "\\u001b[2J", "state": "running", "done": "5"}',
        "[" * 100_000,
        '"running"',
        "null",
        "\udcff\udcfe",
        '{"item": "item0", "state": "running", "done": 7, "total": 9}',
    )
    with (OUTPUT / "progress.jsonl").open("a", errors="surrogateescape") as file:
        file.write("".join(f"{one}\n" for one in lies))


def progress_elsewhere(target):
    (OUTPUT / "progress.jsonl").symlink_to(target)
