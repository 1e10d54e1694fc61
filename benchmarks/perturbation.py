"""Measures the perturbation suite against cell-eval, in turns, each in its own process: `perturbation.py [PYTHON]`.

PYTHON is that of an environment with cell-eval, or CELL_EVAL_PYTHON names it; without either, it is the one that
`peers/install.py cell-eval` makes. CPU seconds on one thread, all metrics of both, made cells on the scale of log1p.
`--warm` lets each side run once before, so that what is compiled on first use is there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
Row = tuple[str, str, str, bool]
"""What, measured, promised, kept."""
TIMES = 15
CONDITIONS, CELLS, GENES, CONTROLS = 100, 200, 2_000, 4_000
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
BOTH = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
sys.path[:0] = {path!r}
import made
def timed(function):
    began = time.process_time()
    found = function()
    return time.process_time() - began, found
def told(took, found):
    print(json.dumps([took, found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
cells, small = made.perturbed({size}, controls={controls}), made.perturbed()
"""
THEIRS = """
import ask_cell_eval
if {warm}:
    ask_cell_eval.metrics(small)["all"]()
took, found = timed(ask_cell_eval.metrics(cells)["all"])
told(took, sum(one["pearson_delta"] for one in found.values()) / len(found))
"""
OURS = """
from cellgauge_tasks import perturbation_prediction
from cellgauge_tasks.metrics.perturbation import Perturbed
def both(cells):
    given = (cells.predicted, cells.truth)
    pair = [Perturbed(one, cells.conditions, made.CONTROL, cells.genes, scale="log1p") for one in given]
    return perturbation_prediction.score(*pair)
if {warm}:
    both(small)
took, found = timed(lambda: both(cells))
told(took, found[0].value)
"""


class Run(NamedTuple):
    """One side's process: CPU seconds, its mean Pearson correlation of effects, and the most memory, MiB."""

    cpu: float
    value: float
    peak: float


def run(python: Path, script: str, *, warm: bool) -> Run:
    path = [str(ROOT / "benchmarks" / "peers"), str(ROOT / "tests")]
    words = {"path": path, "size": f"{CONDITIONS}, {CELLS}, {GENES}", "controls": CONTROLS, "warm": warm}
    command = [python, "-c", (BOTH + script).format(**words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def rows(python: Path, *, rounds: int = 3, warm: bool = False) -> list[Row]:
    """Measure both sides, in turns."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run(Path(sys.executable), OURS, warm=warm))
        theirs.append(run(python, THEIRS, warm=warm))
    if abs(ours[0].value - theirs[0].value) > 1e-5:
        raise SystemExit(f"they do not score the same cells: {ours[0].value} and {theirs[0].value}")
    ratios = [other.cpu / one.cpu for one, other in zip(ours, theirs, strict=True)]
    measured = f"{spread(ratios)} ×: {spread([one.cpu for one in ours])} CPU s against"
    measured += f" {spread([one.cpu for one in theirs])}; peak {max(one.peak for one in ours):.0f} MiB against"
    measured += f" {max(one.peak for one in theirs):.0f}"
    what = f"perturbation suite, {CONDITIONS} × {CELLS} cells × {GENES:,} genes, against cell-eval"
    return [(what, measured, f"≥ {TIMES} ×", statistics.median(ratios) >= TIMES)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="?", type=Path, default=os.environ.get("CELL_EVAL_PYTHON"), metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", action="store_true")
    asked = parser.parse_args()
    if not (python := asked.python):
        sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
        import install

        python = install.install("cell-eval")
    found = rows(Path(python), rounds=asked.rounds, warm=asked.warm)
    for row in found:
        print(*row, sep=" | ")
    return 0 if all(kept for *_, kept in found) else 1


if __name__ == "__main__":
    sys.exit(main())
