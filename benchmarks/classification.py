"""Measures each classifier of label prediction against scikit-learn on made cells: `classification.py [--large]`.

CPU seconds of five folds, in turns, each in its own process; every classifier has run once before on few cells, so that
what is compiled at first use is there. `--large` adds 100,000 cells, where scikit-learn takes half an hour, and
`--growth` tells how our cost grows with the number of cells.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
WIDTH, TYPES, ROUNDS = 512, 20, 3
CLASSIFIERS = ("logistic_regression", "knn", "random_forest")
CELLS = (2_000, 10_000, 50_000, 100_000)
MEASURE = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
sys.path[:0] = {path!r}
import numpy as np
import made
from cellgauge_tasks.metrics.classification import CLASSIFIERS, judge, stratified
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
theirs = dict(logistic_regression=make_pipeline(StandardScaler(), LogisticRegression()),
              knn=make_pipeline(StandardScaler(), KNeighborsClassifier()),
              random_forest=RandomForestClassifier(random_state=42))
def given(n):
    cells = made.mixture(n, {width}, types={types})
    codes = np.unique(cells.obs["cell_type"], return_inverse=True)[1]
    return cells.points, codes, stratified(codes, 5, 42)
def run(who, points, codes, splits):
    if who == "ours":
        return float(judge(points, codes, splits, classifiers=[{name!r}])[{name!r}].values["accuracy"].mean())
    fitted = ((theirs[{name!r}].fit(points[train], codes[train]), test) for train, test in splits)
    return float(np.mean([model.score(points[test], codes[test]) for model, test in fitted]))
if {who!r} == "ours":
    few = given(3_000)
    run("ours", few[0][:, :8].copy(), few[1], few[2][:1])
cells = given({n})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
accuracy = run({who!r}, *cells)
took = time.process_time() - began
print(json.dumps([took, accuracy, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def measure(who: str, name: str, n: int) -> tuple[float, float, float]:
    """CPU seconds, accuracy, and MiB above start."""
    path = [str(ROOT / "tests"), str(ROOT / "tasks")]
    text = MEASURE.format(path=path, width=WIDTH, types=TYPES, name=name, who=who, n=n)
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", text], check=True, capture_output=True, text=True, env=os.environ | one
    )
    took, accuracy, memory = json.loads(done.stdout.splitlines()[-1])
    return took, accuracy, memory


def compare(n: int, rounds: int) -> None:
    print(f"{n:,} cells x {WIDTH}, {TYPES} types, 5 folds; CPU s, one thread; median of {rounds}")
    for name in CLASSIFIERS:
        found: dict[str, list[tuple[float, float, float]]] = {"ours": [], "theirs": []}
        for _ in range(rounds):
            for who, rows in found.items():
                rows.append(measure(who, name, n))
        ours, theirs = (statistics.median(row[0] for row in rows) for rows in found.values())
        ratios = sorted(b[0] / a[0] for a, b in zip(found["ours"], found["theirs"], strict=True))
        accuracy = " against ".join(f"{rows[0][1]:.4f}" for rows in found.values())
        spread = f"{ratios[0]:.1f}-{ratios[-1]:.1f}"
        memory = max(row[2] for row in found["ours"])
        print(
            f"  {name:20} {ours:7.1f} against {theirs:7.1f}: {theirs / ours:.1f} x ({spread}); "
            f"accuracy {accuracy}; {memory:.0f} MiB"
        )


def growth() -> None:
    for name in CLASSIFIERS:
        costs = [measure("ours", name, n)[0] for n in CELLS]
        exponent = np.polyfit(np.log(CELLS[1:]), np.log(costs[1:]), 1)[0]
        told = ", ".join(f"{n:,}: {cost:.1f}" for n, cost in zip(CELLS, costs, strict=True))
        print(f"  {name:20} {told}; grows as n^{exponent:.2f} from {CELLS[1]:,} on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="100,000 cells too, once")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    told = parser.parse_args()
    compare(10_000, told.rounds)
    if told.large:
        compare(100_000, 1)
    if told.growth:
        growth()


if __name__ == "__main__":
    main()
