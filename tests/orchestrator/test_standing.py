"""How each number of a table stands."""

from dataclasses import replace

import numpy as np
import pytest

from cellgauge.report import standing
from cellgauge.report.standing import Bounds, Row
from cellgauge.score import failed
from cellgauge.specs import Coverage, ItemRecord, ScoreValue, Split
from cellgauge_tasks import Resamples, Task
from support import a_scoring, made_record

CELLS = np.random.default_rng(0).normal(0.5, 1, 300)
TASK = Task("t", "1", "t", (), lambda *a, **b: [], {"m": "M"}, baseline="base")


def value(number, **fields):
    return ScoreValue(**{"metric": "m", "value": number, "n_cells": 9, **fields})


def row(store, name, shift, *, plain=True, better="higher", params=None, warnings=()):
    """Keep a result whose cells score as all others do, and so much more."""
    draws = Resamples(300, seed=1)
    cells = CELLS + shift + np.random.default_rng(sum(name.encode())).normal(0, 0.01, 300)
    fields = {"resamples": draws.name, "better": better, "params": params or {}}
    result = failed(a_scoring(f"{sum(name.encode()):020}"), "ok", "")
    result = result.model_copy(update={"scores": (value(float(cells.mean()), **fields),), "warnings": warnings})
    return Row(name, plain, store.keep_result(result, {"replicates/0": draws.means(cells).astype(np.float32)}))


def stand(rows, store, task=TASK):
    return [one.get(0) for one in standing.stand(rows, task, store)]


class TestColumns:
    def test_the_best_and_those_that_cannot_be_told_from_it(self, store):
        rows = [row(store, "first", 0), row(store, "second", 0.3), row(store, "third", 0.3001)]
        kinds = [one[0] for one in stand(rows, store)]
        assert kinds[0] == ""
        assert sorted(kinds[1:]) == ["best", "level"]

    def test_where_lower_is_better_it_is_the_lowest(self, store):
        rows = [row(store, "first", 0, better="lower"), row(store, "second", 0.3, better="lower")]
        assert [one[0] for one in stand(rows, store)] == ["best", ""]

    def test_one_alone_is_not_the_best_of_anything(self, store):
        assert stand([row(store, "first", 0)], store) == [None]

    def test_a_metric_whose_parameters_were_found_out_is_one_column(self, store):
        rows = [row(store, "first", 0, params={"resolution": 0.5}), row(store, "second", 1, params={"resolution": 2.0})]
        assert [one[0] for one in stand(rows, store)] == ["", "best"]

    def test_without_replicates_nothing_is_said_to_be_best_or_worse(self, store):
        rows = [row(store, "first", 0), row(store, "second", 0.00001)]
        for path in (store.root / "scores").rglob("*.npz"):
            path.unlink()
        assert [one[0] for one in stand(rows, store)] == ["unknown", "unknown"]

    def test_one_without_replicates_is_not_taken_for_a_worse_one(self, store):
        rows = [row(store, "first", 0.3), row(store, "second", 0.2999), row(store, "third", 0)]
        store._arrays_file(rows[1].result).unlink()
        assert [one[0] for one in stand(rows, store)] == ["best", "unknown", ""]

    def test_a_best_that_nothing_can_be_compared_with_is_not_called_so(self, store):
        rows = [row(store, "first", 0.3), row(store, "second", 0.2), row(store, "third", 0)]
        store._arrays_file(rows[0].result).unlink()
        assert [one[0] for one in stand(rows, store)] == ["unknown"] * 3

    def test_one_alone_beside_those_of_other_cells_says_that_it_is_not_known(self, store):
        assert standing.stand([row(store, "first", 0)], TASK, store, beside=True) == [{0: ("unknown", ())}]


class TestCaveat:
    NOISE = ("Caveat: noise mixes batches, too",)

    def test_what_is_not_to_be_read_without_its_warning_is_the_best_of_nothing(self, store):
        rows = [row(store, "noise", 1, warnings=self.NOISE), row(store, "a", 0.3), row(store, "b", 0)]
        assert [one[0] for one in stand(rows, store)] == ["", "best", ""]

    def test_one_beside_it_alone_is_not_either(self, store):
        rows = [row(store, "noise", 1, warnings=self.NOISE), row(store, "a", 0.3)]
        assert [one[0] for one in stand(rows, store)] == ["", ""]

    def test_nothing_is_below_a_baseline_that_is_noise(self, store):
        rows = [row(store, "base", 1, warnings=self.NOISE), row(store, "a", 0.3), row(store, "b", 0)]
        assert [one[1] for one in stand(rows, store)] == [(), (), ()]


class TestGround:
    @pytest.mark.parametrize(
        "fields",
        [
            {"limit_cells": 500},
            {"roles": {"cell_type": "other"}},
            {"split": Split(fraction=0.5)},
            {"seed": 2},
            {"task_version": "2"},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_what_is_of_other_cells_or_reads_others_is_not_ranked_together(self, fields):
        assert standing.ground(a_scoring(**fields)) != standing.ground(a_scoring())

    def test_whose_it_is_makes_no_difference(self):
        roles = {"cell_type": "a", "donor": "b"}
        turned = dict(reversed(roles.items()))
        other = a_scoring("ef" * 10, "01" * 10, model="n", seen=True, roles=turned)
        assert standing.ground(other) == standing.ground(a_scoring(roles=roles))


class TestBaseline:
    def test_only_what_is_clearly_below_it_is_flagged(self, store):
        rows = [row(store, name, shift) for name, shift in (("base", 0), ("a", -0.2), ("b", 0.2), ("c", 0.0001))]
        assert [one[1] for one in stand(rows, store)] == [(), ("below_baseline",), (), ()]

    def test_a_variant_of_it_is_not_it(self, store):
        rows = [row(store, "base", 0, plain=False), row(store, "a", -0.2)]
        assert [one[1] for one in stand(rows, store)] == [(), ()]

    def test_a_task_that_is_gone_has_none(self, store):
        rows = [row(store, "base", 0), row(store, "a", -0.2)]
        assert [one[1] for one in stand(rows, store, task=None)] == [(), ()]


class TestBounds:
    BOUNDS = Bounds(value(1.0), 0.2)

    def test_a_score_lies_between_its_controls(self):
        assert [self.BOUNDS.scaled(one) for one in (0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1])
        assert Bounds(value(0.5), 0.5).scaled(0.5) is None
        assert Bounds(value(0.0, better="lower"), 4.0).scaled(1.0) == 0.75

    @pytest.mark.parametrize(
        ("low", "number", "high", "flag"),
        [
            (0.1, 0.15, 0.25, None),
            (0.1, 0.15, 0.19, "below_controls"),
            (None, 0.15, None, "below_controls"),
            (0.9, 1.05, 1.1, None),
            (1.02, 1.05, 1.1, "above_controls"),
            (None, 1.05, None, "above_controls"),
            (None, 1.0, None, None),
        ],
    )
    def test_what_is_clearly_outside_is_flagged(self, low, number, high, flag):
        assert self.BOUNDS.flag(value(number, low=low, high=high)) == flag

    def test_where_lower_is_better_they_are_turned_round(self):
        bounds = Bounds(value(0.0, better="lower"), 4.0)
        assert bounds.flag(value(5.0, better="lower")) == "below_controls"
        assert bounds.flag(value(-1.0, better="lower")) == "above_controls"

    def test_chance_is_the_mean_of_its_draws_and_both_must_be_there(self):
        def control(kind, *scores):
            result = failed(a_scoring(control=kind), "ok", "")
            return result.model_copy(update={"scores": scores})

        best = value(0.9, metric="best", params={"resolution": 0.5})
        found = standing.bounds(
            [
                control("positive", value(1.0), value(0.8, metric="p", params={"k": 1}), best),
                control("negative", value(0.1), value(0.1, metric="best", params={"resolution": 1.0})),
                control("negative", value(0.3), value(0.3, metric="best", params={"resolution": 2.0})),
            ]
        )
        assert found(value(0.5)).negative == pytest.approx(0.2)
        assert found(value(0.5, metric="p", params={"k": 1})) is None
        ends = found(value(0.5, metric="best", params={"resolution": 7.0}))
        assert (ends.positive.value, ends.negative) == (0.9, pytest.approx(0.2))

    def test_what_only_tells_what_a_number_came_of_need_not_be_the_same(self):
        task = replace(TASK, facts=("n_conditions", "undefined_in"))

        def control(kind, number, **params):
            one = value(number, params={"over": "mean", "n_conditions": 4, "n_genes": 30, **params})
            other = value(0.0, params={"over": "median", "n_conditions": 4, "n_genes": 30})
            return failed(a_scoring(control=kind), "ok", "").model_copy(update={"scores": (one, other)})

        found = standing.bounds([control("positive", 0.9), control("negative", 0.1)], task)
        model = {"over": "mean", "n_conditions": 4, "n_genes": 30, "undefined_in": 1}
        assert found(value(0.5, params=model)).scaled(0.5) == pytest.approx(0.5)
        assert found(value(0.5, params={**model, "n_genes": 25})) is None, "of other genes it is another metric"
        assert standing.bounds([control("positive", 0.9), control("negative", 0.1)])(value(0.5, params=model)) is None


class TestOutputs:
    @pytest.mark.parametrize(
        ("known", "repeated", "flags"),
        [
            (None, None, ()),
            (0.5, 0.01, ()),
            (0.49, 0.0, ("few_genes",)),
            (1.0, 0.011, ("repeated_rows",)),
            (0.0, 1.0, ("few_genes", "repeated_rows")),
        ],
    )
    def test_few_genes_and_repeated_rows_are_flagged(self, known, repeated, flags):
        assert standing.flags(known, repeated) == flags

    def test_genes_count_that_were_named_and_that_the_model_knows(self):
        def known(**fields):
            item = ItemRecord(name="d", state="ok", **fields)
            return standing.genes_known(made_record().model_copy(update={"items": (item,)}), "d")

        genes = Coverage(given=200, kept=100, converted=False)
        assert known(genes=genes) == 0.5
        assert known(genes=genes, gene_coverage=0.5) == 0.25
        assert known() is None
        assert standing.genes_known(None, "d") is None
