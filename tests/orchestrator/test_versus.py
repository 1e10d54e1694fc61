"""Two models of a run are compared as the table sets them against each other."""

import io

import numpy as np
import pytest
from rich.console import Console

from cellgauge import named
from cellgauge.errors import UsageError
from cellgauge.report import document, versus
from cellgauge.specs import Run
from cellgauge_tasks import Resamples, Score, Task
from lab import Lab


def shifted(by):
    def score(embedding, obs, *, seed):
        draws = Resamples(len(embedding), seed=seed)
        cells = np.arange(len(embedding)) % 7 + by(np.asarray(embedding))
        return [Score("m", float(cells.mean()), len(cells), interval=draws.interval(draws.means(cells)))]

    return Task("t", "1", "t", ("cell_type",), score, {"m": "M"}, "b")


class TestVersus:
    def compared(self, lab: Lab, by, **how):
        tasks = {"t": shifted(by)}
        prepared = lab.prepare(models=("m", "n"), tasks=tasks, seeds=(1,))
        lab.run(prepared)
        run = Run(id="r1", command="", started="", engine="function", ended="2026", cellgauge="0", plan=prepared.plan)
        lab.store.keep_run(run)
        return versus.make(named.run("r1", lab.store), "m", "n", lab.store, tasks, **how), run, tasks

    def test_two_models_are_compared_on_the_same_resamples(self, lab):
        found, run, tasks = self.compared(lab, lambda values: 0)
        (one,) = found.pairs
        assert (one.dataset, one.metric, one.first == one.second) == ("d", "m", True)
        assert not one.comparison.distinguishable
        console = Console(file=io.StringIO(), width=100)
        console.print(versus.render(found, tasks))
        assert "t: M" in console.file.getvalue()
        assert "+0.000 [+0.000, +0.000]" in console.file.getvalue().replace("\u00a0", " ")
        assert "not to be told apart" in console.file.getvalue()
        entries = document.collect(run, lab.store, tasks).results
        assert [score.standing for entry in entries for score in entry.scores] == ["best", "level"]

    def test_what_the_table_sets_against_each_other_is_compared(self, lab):
        """Parameters that say what an output is like may differ; where no resamples are shared, no more is said."""

        def score(embedding, obs, *, seed):
            score.calls += 1
            kind, cells = ("cells", "means")[score.calls % 2], np.arange(len(embedding)) % 7 + score.calls
            draws = Resamples(len(cells), seed=score.calls)
            span = draws.interval(draws.means(cells))
            return [
                Score("m", float(cells.mean()), 60, {"prediction": kind, "k": k, "lacks": score.calls}, interval=span)
                for k in (5, 10)
            ]

        score.calls = 0
        task = Task("t", "1", "t", ("cell_type",), score, {"m": "M"}, "b", facts=("lacks",))
        prepared = lab.prepare(models=("m", "n"), tasks={"t": task})
        lab.run(prepared)
        run = Run(id="r1", command="", started="", engine="function", ended="2026", cellgauge="0", plan=prepared.plan)
        (one,) = versus.make(run, "m", "n", lab.store, {"t": task}).pairs
        assert (one.metric, one.comparison, one.params) == ("m", None, "k=5, prediction=" + one.params[-5:])
        both = versus.make(run, "m", "n", lab.store, {"t": task}, every=True).pairs
        assert [pair.params.split(",")[0] for pair in both] == ["k=5", "k=10"]

    def test_a_name_that_is_not_in_the_run_is_told(self, lab):
        _, run, tasks = self.compared(lab, lambda values: 0)
        with pytest.raises(UsageError, match="no model in run r1 named 'x'"):
            versus.make(run, "m", "x", lab.store, tasks)

    def test_two_without_a_score_in_common_are_not_compared(self, lab):
        _, run, tasks = self.compared(lab, lambda values: 0)
        for path in (lab.store.root / "scores").rglob("*.json"):
            path.unlink()
        with pytest.raises(UsageError, match="no score in common"):
            versus.make(run, "m", "n", lab.store, tasks)

    def test_a_model_of_fewer_cells_is_neither_ranked_nor_compared_with_one_of_all(self, lab):
        _, run, tasks = self.compared(lab, lambda values: 0)
        (other,) = (one for one in lab.store.results() if one.scoring.model == "n")
        limited = other.scoring.model_copy(update={"limit_cells": 30})
        lab.store.keep_result(other.model_copy(update={"scoring": limited}), lab.store.arrays(other))
        entries = document.collect(run, lab.store, tasks).results
        assert [score.standing for entry in entries for score in entry.scores] == ["unknown", "unknown"]
        with pytest.raises(UsageError, match="no score in common") as told:
            versus.make(run, "m", "n", lab.store, tasks)
        assert "--limit-cells" in told.value.hint
