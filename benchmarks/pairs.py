"""Measures the pass over all pairs of cells: CPU seconds and memory by size, and how they grow.

The promise is for 100,000 cells x 512 dimensions: the 200 nearest cells of each, and mean distances to 20 labels, each
in 5 batches, and 30 times. The floor is half a matrix product of all cells with all, timed in the same run. Beyond
200,000 cells references stand for groups, and drawn cells for all; that is measured with `--large`.
"""

import json
import math
import subprocess
import sys

Row = tuple[str, str, str, bool]
"""What, measured, promised, kept."""
SIZES = [(10_000, 512), (25_000, 512), (50_000, 512), (100_000, 512), (100_000, 50)]
LARGE = [(400_000, 512), (1_000_000, 512)]
SECONDS, MEGABYTES = 110, 2000
NEIGHBOURS = 200
MEASURE = """
import json, resource, sys, threading, time
import numpy as np
import psutil
from cellgauge_tasks._space import Space

cells, dimensions, k, graph = json.loads(sys.argv[1])
random = np.random.default_rng(0)
label = random.choice(20, cells, p=random.dirichlet(np.full(20, 2.0)))
batch, stage = random.integers(0, 5, cells), random.integers(0, 30, cells)
values = random.standard_normal((cells, dimensions), dtype=np.float32)
centres, shifts = (random.normal(size=(n, dimensions)).astype(np.float32) for n in (20, 5))
for low in range(0, cells, 4096):
    some = slice(low, low + 4096)
    values[some] += 0.7 * centres[label[some]] + 0.3 * shifts[batch[some]]

def used():
    both = resource.getrusage(resource.RUSAGE_SELF)
    return both.ru_utime + both.ru_stime

process, peak, done = psutil.Process(), [0], threading.Event()
def watch():
    while not done.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)

rows, others = values[:2048], values[2048:4096].T
rows @ others
began = used()
for _ in range(3):
    rows @ others
product = (used() - began) / 3
before = process.memory_info().rss
watcher = threading.Thread(target=watch)
watcher.start()
began, start = used(), time.perf_counter()
space = Space(values)
groups = [label, label * 5 + batch, stage] if cells <= 200_000 else [label, stage]
space.expect(neighbors=k, groups=groups)
space.neighbors(k, sampled=True)
took, wall = used() - began, time.perf_counter() - start
told = {"cpu": took, "wall": wall, "floor": product * (cells / 2048) ** 2 / 2}
if graph:
    began = used()
    space.neighbors(graph)
    told["graph"] = used() - began
    told["recall"] = space.recall(graph)
done.set()
watcher.join()
told |= {"peak": (peak[0] - before) / 1e6, "whole": peak[0] / 1e6}
print(json.dumps(told))
"""


def measured(cells: int, dimensions: int, graph: int = 0) -> dict[str, float]:
    """Measure in a process of its own, whose memory is that of one size."""
    words = [sys.executable, "-c", MEASURE, json.dumps([cells, dimensions, NEIGHBOURS, graph])]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def rows() -> list[Row]:
    found: list[Row] = []
    before: tuple[int, float] | None = None
    for cells, dimensions in SIZES:
        told = measured(cells, dimensions)
        grown = ""
        if before and dimensions == 512:
            grown = f", growth n^{math.log(told['cpu'] / before[1]) / math.log(cells / before[0]):.2f}"
        before = (cells, told["cpu"])
        full = (cells, dimensions) == (100_000, 512)
        kept = not full or (told["cpu"] < SECONDS and told["peak"] < MEGABYTES)
        said = f"{told['cpu']:.1f} CPU s (products alone {told['floor']:.1f}), {told['peak']:.0f} MB more{grown}"
        promised = f"< {SECONDS} CPU s, < {MEGABYTES} MB" if full else "told only"
        found.append((f"all pairs of {cells:,} x {dimensions}", said, promised, kept))
    return found


def large() -> list[Row]:
    found: list[Row] = []
    for cells, dimensions in LARGE:
        told = measured(cells, dimensions, graph=15)
        said = (
            f"{told['cpu']:.0f} CPU s, and {told['graph']:.0f} for 15 neighbours of all (recall {told['recall']:.3f})"
        )
        kept = told["whole"] < 4000 and told["cpu"] + told["graph"] < 3600
        what = f"{cells:,} x {dimensions} by references"
        found.append((what, f"{said}, {told['whole']:.0f} MB in all", "< 3600 CPU s, < 4000 MB", kept))
    return found


if __name__ == "__main__":
    for row in large() if "--large" in sys.argv else rows():
        print(row, flush=True)
