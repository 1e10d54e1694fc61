"""Does one thing wrong, as its parameter `how` says."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import h5py
import numpy

request = json.loads(Path(os.environ["CELLGAUGE_INPUT"], "request.json").read_text())
how = request["params"]["how"]
print(f"this model will do: {how}", flush=True)


def cells(item):
    with h5py.File(Path(os.environ["CELLGAUGE_INPUT"], item["data"])) as view:
        obs = view["obs"]
        return [name.decode() for name in obs[obs.attrs["_index"]][()]]


def write(item, array, names, save=numpy.save, status="ok", **more):
    folder = Path(os.environ["CELLGAUGE_OUTPUT"], item["name"])
    folder.mkdir()
    if array is not None:
        save(folder / "embedding.npy", array)
    (folder / "cells.txt").write_text("".join(f"{name}\n" for name in names))
    result = {"contract": 1, "status": status, "outputs": [], **more}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


if how == "crash":
    raise RuntimeError("a bug in the model")
if how == "killed":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "hang":
    time.sleep(600)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
if how == "no_result":
    sys.exit(0)
if how == "not_applicable":
    sys.exit(99)
if how == "bad_request":
    sys.exit(2)
if how == "memory":
    hog = [bytearray(b"x" * (1 << 24)) for _ in range(400)]

for item in request["items"]:
    names = cells(item)
    good = numpy.arange(len(names) * 3, dtype="float32").reshape(-1, 3)
    if how == "reordered":
        write(item, good[::-1], names[::-1])
    elif how == "few_rows":
        write(item, good[:-2], names[:-2])
    elif how == "nan":
        good[1, 1] = numpy.nan
        write(item, good, names)
    elif how == "float64":
        write(item, good.astype("float64"), names)
    elif how == "three_dimensions":
        write(item, good[:, :, None], names)
    elif how == "pickled":
        write(item, good.astype(object), names)
    elif how == "huge_header":

        def lie(path, array):
            with open(path, "wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(names), 99_999)}
                numpy.lib.format.write_array_header_1_0(file, header)

        write(item, good, names, save=lie)
    elif how == "repeated_cell":
        write(item, good, [names[0], *names[:-1]])
    elif how == "unknown_cell":
        write(item, good, ["somebody", *names[1:]])
    elif how == "no_embedding":
        write(item, None, names)
    elif how == "bad_result":
        write(item, good, names, status="fine")
    elif how == "link":
        folder = write(item, None, names)
        (folder / "embedding.npy").symlink_to("/etc/passwd")
    elif how == "fifo":
        folder = write(item, None, names)
        os.mkfifo(folder / "embedding.npy")
    elif how == "network":
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=2)
        except OSError as problem:
            print(f"no network: {problem}")
            sys.exit(17)
    elif how == "write_input":
        try:
            Path(os.environ["CELLGAUGE_INPUT"], "request.json").write_text("{}")
        except OSError as problem:
            print(f"input: {problem}")
            sys.exit(17)
    elif how == "write_root":
        try:
            Path("/usr/evil").write_text("x")
        except OSError as problem:
            print(f"root: {problem}")
            sys.exit(17)
    elif how == "whoami":
        write(
            item,
            good,
            names,
            versions={
                "uid": str(os.getuid()),
                "home": os.environ["HOME"],
                "threads": os.environ["OMP_NUM_THREADS"],
                "seed": str(request["seed"]),
            },
        )
    else:
        write(item, good, names)
