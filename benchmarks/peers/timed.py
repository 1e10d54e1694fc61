"""Runs functions one after the other in one environment, ours or a peer's, and tells what each cost.

`timed.py MODULE GROUP FOLDER [--repeats N] [--only NAME ...]`: GROUP is a function of MODULE that takes cells and gives
functions by name. The first call of each is told apart from those that follow, which find everything compiled.
"""

import argparse
import importlib
import json
import resource
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests")]


def cpu_seconds():
    """Of this process and its children that have ended, all threads together."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cost(function):
    """CPU and wall seconds of one call."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    function()
    return [cpu_seconds() - cpu, time.perf_counter() - wall]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("group")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    import shipped

    cells = shipped.load(told.folder)
    before = cpu_seconds()
    module = importlib.import_module(told.module)
    functions = getattr(module, told.group)(cells)
    imports, start = cpu_seconds() - before, peak_mib()
    found = {}
    for name in told.only or functions:
        first = cost(functions[name])
        found[name] = {"first": first, "later": [cost(functions[name]) for _ in range(told.repeats)]}
        print(f"{told.module} {name}: {first[0]:.2f} CPU s", file=sys.stderr, flush=True)
    print("\n" + json.dumps({"imports": imports, "start_mib": start, "peak_mib": peak_mib(), "found": found}))


if __name__ == "__main__":
    main()
