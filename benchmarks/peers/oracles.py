"""Asks each peer, in its own environment, for its values on the cells of tests/made.py and on real ones.

`oracles.py [--data FOLDER] [PEER ...]` writes tests/tasks/oracles/PEER.json; FOLDER holds the real datasets. It runs
in the project's own environment. Numbers alone are kept, with the versions that they are of.
"""

import argparse
import importlib
import importlib.metadata
import json
import math
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import install
import shipped

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "tasks" / "oracles"
REAL = {"pancreas": "pancreas_5tech_panc8.h5ad", "pbmc": "pbmc_3tech_10x.h5ad"}
"""Real sets with types and batches, small enough for every peer."""


def sets(folder):
    """Everything that peers are asked about, by name."""
    import made

    found = {"cells": made.cells(0), "other species": made.cells(1), "mixture": made.mixture(2000, 32)}
    found["perturbed"] = made.perturbed()
    return found | {name: made.real(folder / file) for name, file in REAL.items()}


def plain(value):
    """What JSON can hold; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    value = float(value)
    return value if math.isfinite(value) else None


def valued(function):
    """Call it; what it dies of is told in the place of a value."""
    try:
        return plain(function())
    except Exception as error:  # peers raise what they like
        print(traceback.format_exc(), file=sys.stderr)
        return f"{type(error).__name__}: {error}".splitlines()[0]


def here(peer, folder):
    """In the peer's environment: every set's every metric."""
    module = importlib.import_module(install.asks(peer))
    given = {path.name: shipped.load(path) for path in sorted(folder.iterdir())}
    perturbed, other = given.pop("perturbed"), given.pop("other species")
    functions = {name: module.metrics(cells) for name, cells in given.items()}
    if peer == "cell-eval":
        functions = {"perturbed": module.metrics(perturbed)}
    if peer == "cz-benchmarks":
        functions["two species"] = module.species(given["cells"], other)
    values = {name: {metric: valued(one) for metric, one in some.items()} for name, some in functions.items()}
    versions = {package: importlib.metadata.version(package) for package in module.PACKAGES}
    return {"peer": peer, "versions": versions, "stochastic": list(module.SPREAD), "values": values}


def asked(peer, folder):
    """Start the peer's Python on this file."""
    words = [install.install(peer), __file__, "--here", peer, "--data", folder]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="FOLDER")
    parser.add_argument("--here", metavar="PEER", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.here:
        print("\n" + json.dumps(here(told.here, told.data)))
        return
    sys.path.insert(0, str(ROOT / "tests"))
    import made

    KEPT.mkdir(exist_ok=True)
    given = sets(told.data)
    sums = {
        name: [made.checksum(array) for array in one if hasattr(array, "dtype") and array.dtype.kind == "f"]
        for name, one in given.items()
    }
    with tempfile.TemporaryDirectory() as name:
        for what, one in given.items():
            shipped.save(Path(name) / what, one)
        for peer in told.peers or install.PEERS:
            found = asked(peer, Path(name)) | {"sums": sums}
            (KEPT / f"{peer}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(KEPT / f"{peer}.json")


if __name__ == "__main__":
    main()
