"""What every task scores on made cells, written down by its version: a number that changes needs a new version.

A score is used again by its task's version, so two numbers under one version would stand in one table. After a version
was raised: `python tests/frozen.py`.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

import made
import screen
from cellgauge_tasks import find

FILE = Path(__file__).parent / "tasks" / "frozen.json"
LIBRARIES = {"random_forest", "mean", "logistic_regression"}
"""Classifiers whose numbers hang on a library's version, or on where a solver stops."""
CLUSTERS = ("adjusted_rand_index", "normalized_mutual_info", "best_", "isolated_f1", "scib_bio", "scib_total")
"""Metrics of Leiden clusters, which hang on igraph's version."""


def scores() -> dict[str, dict[str, object]]:
    """Task → its version and its exact scores, by metric and parameters: each value, and both ends of its interval."""
    return {name: {"version": task.version, "scores": _of(task)} for name, task in sorted(find().items())}


def _of(task) -> dict[str, list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = task.score(*_predicted(task)) if task.verb == "predict" else task.score(*_embedded())
    return {
        " ".join([one.metric, *(f"{name}={value}" for name, value in sorted(one.params.items()))]): _numbers(one)
        for one in found
        if one.params.get("classifier") not in LIBRARIES and not one.metric.startswith(CLUSTERS)
    }


def _numbers(score) -> list[float]:
    return [score.value, *((score.interval.low, score.interval.high) if score.interval else ())]


def _embedded():
    cells = made.mixture(800, 12)
    obs = cells.obs.assign(donor=[f"d{n % 6}" for n in range(800)], organism=np.where(np.arange(800) % 2, "a", "b"))
    return cells.points, obs


def _predicted(task):
    more = {"genes": 120, "wide": 16, "strength": 1.5} if task.masked else {}  # so that there are genes to mask
    truth, prediction = screen.counts(**more), screen.counts(seed=1, **more)
    return prediction.among(prediction.conditions != prediction.control), truth


if __name__ == "__main__":
    FILE.write_text(json.dumps(scores(), indent=1, sort_keys=True) + "\n")
    sys.exit(0)
