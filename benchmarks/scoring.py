"""Measures scoring against the peers, each side in its own process and environment: `scoring.py [--large]`.

CPU seconds on one thread, all children included: steadier than wall time where others use the machine too. The first
call counts. What a peer would take hours for is measured on a part, scaled as it grows, and said to be an estimate.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("benchmarks", "benchmarks/peers", "tests")]
import install  # noqa: E402, I001
import made  # noqa: E402
import pairs  # noqa: E402
import perturbation  # noqa: E402
import shipped  # noqa: E402

Row = tuple[str, str, str, bool]
"""What, measured, promised, kept."""
WIDTH, TYPES, BATCHES = 512, 20, 5
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
ONE_THREAD["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
PART, LARGE = 20_000, 100_000
GROWS = {
    "clustering": 1.0,
    "silhouette": 2.0,
    "entropy_per_cell": 1.0,
    "batch silhouette": 2.0,
    "sequential silhouette": 2.0,
    "sequential alignment": 2.0,
    "label prediction: lr": 1.0,
    "label prediction: knn": 2.0,
    "label prediction: rf": 1.0,
}
"""Exponents by which pieces of cz-benchmarks are scaled: what their loops say, and never more than that."""
COMPILED = ("clustering", "silhouette", "batch silhouette", "sequential silhouette")
"""Of their pieces. Their first call compiles, which does not grow with cells: what is scaled is the second."""


class Shared(NamedTuple):
    """A metric that we and peers have, by its name there, and how the peers' cost grows with cells."""

    ours: str
    scib_metrics: str | None = None
    scib: str | None = None
    grows: float = 1.0


SHARED = (
    Shared("silhouette by label", "silhouette_label", "silhouette", 2.0),
    Shared("batch silhouette", "silhouette_batch", "silhouette_batch", 2.0),
    Shared("BRAS", "bras", None, 2.0),
    Shared("isolated labels, ASW", "isolated_labels", "isolated_labels_asw", 2.0),
    Shared("iLISI", "ilisi_knn", "ilisi_graph"),
    Shared("cLISI", "clisi_knn", "clisi_graph"),
    Shared("kBET by label", "kbet_per_label"),
    Shared("kBET over all", "kbet k=50"),
    Shared("graph connectivity", "graph_connectivity k=15", "graph_connectivity"),
    Shared("PC regression", "pcr", "pcr all components"),
)


class Bench:
    """Made cells in a folder, and processes that score them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cells(self, n: int) -> Path:
        if not (self.folder / str(n)).exists():
            shipped.save(self.folder / str(n), made.mixture(n, WIDTH, types=TYPES, batches=BATCHES))
        return self.folder / str(n)

    def run(self, peer: str, group: str, n: int, *, repeats: int = 0, only: list[str] | None = None) -> dict:
        """Run a group of functions of a peer, or of cellgauge, in a process of its own."""
        python = sys.executable if peer == "cellgauge" else install.install(peer)
        words = [python, ROOT / "benchmarks/peers/timed.py", install.asks(peer), group, self.cells(n)]
        words += ["--repeats", str(repeats), *(["--only", *only] if only else [])]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
        return json.loads(done.stdout.splitlines()[-1])


def total(found: dict) -> float:
    """CPU seconds of every function's first call."""
    return sum(one["first"][0] for one in found["found"].values())


def ratio(theirs: list[float], ours: list[float]) -> str:
    """Of the medians, and between the extremes."""
    middle = statistics.median(theirs) / statistics.median(ours)
    return f"{middle:.0f} × ({min(theirs) / max(ours):.0f}–{max(theirs) / min(ours):.0f})"


def spread(values: list[float]) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    if low == high:
        return f"{middle:.3g}"
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"


def whole(bench: Bench, rounds: int) -> Row:
    """The whole suite on 10,000 cells, against all that cz-benchmarks has; in turns, each in a fresh process."""
    n, ours, theirs, peaks = 10_000, [], [], []
    for _ in range(rounds):
        found = bench.run("cellgauge", "suite", n)
        ours.append(total(found))
        peaks.append(found["peak_mib"])
        theirs.append(total(bench.run("cz-benchmarks", "suite", n)))
    measured = f"{ratio(theirs, ours)}: {spread(ours)} CPU s against {spread(theirs)}; peak {max(peaks):.0f} MiB"
    kept = statistics.median(theirs) / statistics.median(ours) >= 8
    return f"embedding suite, {n:,} × {WIDTH}, against cz-benchmarks", measured, "≥ 8 ×, first call included", kept


def whole_large(bench: Bench, rounds: int) -> Row:
    """The same on 100,000; theirs is measured on a part, and scaled piece by piece."""
    ours, peaks = [], []
    for _ in range(rounds):
        found = bench.run("cellgauge", "suite", LARGE)
        ours.append(total(found))
        peaks.append(found["peak_mib"])
    found = bench.run("cz-benchmarks", "pieces", PART, repeats=1, only=list(COMPILED))["found"]
    rest = [name for name in GROWS if name not in COMPILED]
    found |= bench.run("cz-benchmarks", "pieces", PART, only=rest)["found"]
    calls = {name: [one["first"], *one["later"]][-1][0] for name, one in found.items()}
    pieces = {name: cpu * (LARGE / PART) ** GROWS[name] for name, cpu in calls.items()}
    theirs = sum(pieces.values())
    print("cz-benchmarks, estimated at 100,000:", {name: round(cpu) for name, cpu in pieces.items()}, file=sys.stderr)
    times_less = theirs / statistics.median(ours)
    measured = f"{times_less:.0f} ×: {spread(ours)} CPU s against {theirs:,.0f} (estimate from {PART:,})"
    kept = times_less >= 40 and max(peaks) < 2048
    what = f"embedding suite, {LARGE:,} × {WIDTH}, against cz-benchmarks"
    return what, f"{measured}; peak {max(peaks):.0f} MiB", "≥ 40 ×, < 2 GB", kept


def shared(bench: Bench, n: int, repeats: int) -> list[Row]:
    """Each metric that scib-metrics or scib has, warm; where a metric takes neighbours, both sides are given them."""
    part = min(n, PART)
    ours = bench.run("cellgauge", "metrics", n, repeats=repeats)["found"]
    one_space = bench.run("cellgauge", "together", n, repeats=repeats)["found"]["all of them on one space"]
    rows, sums = [], dict.fromkeys(("scib_metrics", "scib"), 0.0)
    asked = {peer: [getattr(one, peer) for one in SHARED if getattr(one, peer)] for peer in sums}
    peers = {
        peer: bench.run(peer.replace("_", "-"), "metrics", part, repeats=repeats, only=names)["found"]
        for peer, names in asked.items()
    }
    own = dict.fromkeys(sums, 0.0)
    for one in SHARED:
        mine, told, kept = later(ours[one.ours]), [], True
        for peer, found in peers.items():
            if not (name := getattr(one, peer)):
                continue
            scaled = [cpu * (n / part) ** one.grows for cpu in later(found[name])]
            sums[peer] += statistics.median(scaled)
            own[peer] += statistics.median(mine)
            times = statistics.median(scaled) / statistics.median(mine)
            kept = kept and times >= 1
            told.append(f"{peer.replace('_', '-')} {spread(scaled)} ({times:.1f} ×)")
        rows.append((f"{one.ours}, {n:,} cells", f"{spread(mine)} CPU s; {'; '.join(told)}", "≥ 1 ×", kept))
    for peer, cpu in sums.items():
        times, space = cpu / own[peer], statistics.median(later(one_space))
        measured = f"{times:.1f} ×: {own[peer]:.3g} CPU s against {cpu:.3g}; all of ours on one space {space:.3g}"
        promised, kept = ("≥ 3 ×", times >= 3) if n >= LARGE else ("", True)
        rows.append((f"sum of the metrics that {peer.replace('_', '-')} has, {n:,} cells", measured, promised, kept))
    return rows


def later(found: dict) -> list[float]:
    return [cpu for cpu, _ in found["later"]]


def growth(bench: Bench, sizes: list[int]) -> str:
    """Cost of each stage over sizes, and the exponent between the last two: a table of its own."""
    runs = {n: bench.run("cellgauge", "suite", n) for n in sizes}
    stages = [*runs[sizes[0]]["found"], "sum"]
    costs = {name: [runs[n]["found"][name]["first"][0] for n in sizes] for name in stages[:-1]}
    costs["sum"] = [sum(each) for each in zip(*costs.values(), strict=True)]
    head = "| stage, CPU s | " + " | ".join(f"{n:,}" for n in sizes) + " | grows as n to the |\n"
    lines = [head + "|---|" + "--:|" * (len(sizes) + 1)]
    for name in stages:
        exponent = math.log(costs[name][-1] / costs[name][-2]) / math.log(sizes[-1] / sizes[-2])
        lines.append(f"| {name} | " + " | ".join(f"{cpu:.2f}" for cpu in costs[name]) + f" | {exponent:.2f} |")
    lines.append("| peak memory, MiB | " + " | ".join(f"{runs[n]['peak_mib']:.0f}" for n in sizes) + " | |")
    return "\n".join(lines)


def rows(*, large: bool = False, rounds: int = 3) -> tuple[list[Row], str]:
    """Measure; a quarter of an hour, and three hours with `large`."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        found = [whole(bench, rounds), *shared(bench, 10_000, rounds)]
        found += perturbation.rows(install.install("cell-eval"), rounds=rounds)
        sizes = [2_000, 10_000]
        if large:
            found += [whole_large(bench, 1), *shared(bench, LARGE, 2), *pairs.rows(), *pairs.large()]
            sizes += [50_000, 100_000, 200_000]
        return found, growth(bench, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also 100,000 cells, and 200,000 of ours alone")
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    found, table = rows(large=told.large, rounds=told.rounds)
    print("| what | measured | promised | kept |\n|---|---|---|---|")
    for what, measured, promised, kept in found:
        print(f"| {what} | {measured} | {promised} | {'yes' if kept else 'NO'} |")
    print(f"\n{table}")
    sys.exit(0 if all(kept for *_, kept in found) else 1)


if __name__ == "__main__":
    main()
