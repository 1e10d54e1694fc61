"""A table shows as much as there is room for, and marks what is to be known before a number is believed."""

import csv
import io
import re
import warnings

import pytest
from rich.console import Console

from cellgauge.report import document, pairs, sheet, table, versus
from cellgauge.report.document import Document, Entry, Number
from cellgauge_tasks import Caveat, Score, Task


def number(value, **fields):
    return Number(**{"metric": "m", "value": value, "n_cells": 700, **fields})


def entry(model, *scores, task="t", state="ok", **fields):
    raw = {"variant": "default", "dataset": "d", "seed": 1, **fields}
    return Entry(model=model, task=task, state=state, scores=scores, **raw)


def made(*entries, **fields):
    raw = {"run": "r", "command": "", "started": "", "engine": "e", "cellgauge": "0", "folder": "", "states": {"ok": 1}}
    return Document(**{**raw, "baselines": (), "complete": True, **fields}, planned=len(entries), results=entries)


def a_task(name, *metrics):
    return Task(name, "1", "t", (), lambda *a, **b: [], {one: one.upper() for one in metrics or ("m",)}, "b")


def shown(found, width=200, **tasks):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table.render(found, tasks or {"t": a_task("t")}))
    return console.file.getvalue()


FEW = ("few_genes",)
SPAN = {"low": 0.48, "high": 0.53}


class TestRoom:
    @pytest.mark.parametrize(
        ("width", "words"), [(200, "0.500 [0.480, 0.530]"), (30, "0.500 ±0.030"), (20, "0.500"), (10, "0.5")]
    )
    def test_an_interval_is_whole_or_half_or_left_out(self, width, words):
        text = shown(made(entry("model", number(0.5, **SPAN))), width).replace("\u00a0", " ")
        assert words in text
        assert max(map(len, text.splitlines())) <= width

    def test_half_of_an_interval_is_its_larger_side(self):
        text = shown(made(entry("model", number(1.0, low=0.9, high=1.0))), 30).replace("\u00a0", " ")
        assert "1.000 ±0.100" in text
        assert "±: the larger side" in " ".join(text.split())

    def test_tasks_that_do_not_fit_side_by_side_stand_below_each_other(self):
        names = [f"task_{n}" for n in range(5)]
        found = made(*(entry("mine", number(0.5, **SPAN), task=name) for name in names))
        tasks = {name: a_task(name) for name in names}
        wide, narrow = shown(found, 200, **tasks), shown(found, 44, **tasks)
        assert wide.count(" model ") == 1
        assert narrow.count(" model ") > 1
        for name in names:
            assert narrow.count(name.replace("_", " ")) == 1
        assert narrow.count("±0.030") + narrow.count("[0.480") == 5

    LONG = ("geneformer_v2_104M_CLcancer_finetuned_2024", "transcriptformer_tf-metazoa_444M_averaged", "pca")

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
    def test_long_names_are_folded_and_every_number_is_there_whole(self, width):
        metrics = [f"metric_{n}" for n in range(9)]
        scores = [number(-0.5 - n / 100, metric=one, low=-0.61, high=0.55) for n, one in enumerate(metrics)]
        found = made(*(entry(one, *scores, dataset="d" * 40, flags=("few_genes",)) for one in self.LONG))
        text = shown(found, width, t=a_task("t", *metrics)).replace("\u00a0", " ")
        assert max(map(len, text.splitlines())) <= width
        for n in range(9):
            values = re.findall(rf"°-0\.5{n}0(?: ±1\.\d\d0| \[-0\.610, 0\.550\])?(?=\s)", text)
            assert len(values) == 3, f"{n}: {text}"
        lines = re.sub(r"[^\n]*─[^\n]*|[°±\[][^\n]*", "", text)
        names = re.sub(r"\s", "", lines)
        assert self.LONG[0] in names
        assert "CLcancer_" in text, "folded where a word ends"

    def test_numbers_of_compared_models_are_whole_however_long_their_names(self):
        apart = pairs.Comparison(difference=-0.1, low=-0.2, high=-0.05, draws=200)
        fields = {"dataset": "d" * 40, "task": "clustering", "metric": "ari", "seed": 1, "first": 0.5, "second": 0.6}
        one = versus.Versus(
            run="r", first=self.LONG[0], second=self.LONG[1], pairs=(versus.Pair(**fields, comparison=apart),)
        )
        console = Console(file=io.StringIO(), width=80)
        console.print(versus.render(one, {}))
        text = console.file.getvalue().replace("\u00a0", " ")
        for words in (
            f"first: {self.LONG[0]}",
            f"second: {self.LONG[1]}",
            "-0.100 [-0.200, -0.050]",
            "0.500",
            "0.600",
        ):
            assert words in text
        assert max(map(len, text.splitlines())) <= 80

    def test_a_task_that_applies_to_nobody_has_no_column_but_its_reason(self):
        found = made(entry("a", number(0.5)), entry("a", task="u", state="not_applicable", reason="one batch only"))
        text = shown(found, t=a_task("t"), u=a_task("u"))
        assert "n/a" not in text
        assert "a on d (u): not applicable: one batch only" in text
        partly = made(*found.results, entry("b", number(0.1), task="u"))
        assert "n/a" in shown(partly, t=a_task("t"), u=a_task("u"))

    def test_a_skip_is_in_the_row_of_its_model(self):
        skipped = entry("mine", task="u", state="not_applicable")
        found = made(entry("mine", number(0.5), elsewhere=True), skipped, entry("b", number(0.1), task="u"))
        assert sum("mine" in line for line in shown(found, t=a_task("t"), u=a_task("u")).splitlines()) == 2  # one: why


class TestNotes:
    """A reason is told once, with all that it is of."""

    def told(self, *entries):
        console = Console(file=io.StringIO(), width=400, highlight=False)
        console.print(table.render(made(entry("z", number(0.5)), *entries), {}))
        return [line.rstrip() for line in console.file.getvalue().splitlines() if " on " in line]

    def test_models_datasets_and_tasks_of_one_reason_are_one_line(self):
        no = {"state": "not_applicable", "reason": "one batch only"}
        alike = [entry(m, task=t, dataset=d, **no) for d in ("d1", "d2") for m in ("a", "b") for t in ("t", "u")]
        assert self.told(*alike) == ["a, b on d1, d2 (t, u): not applicable: one batch only"]
        other = entry("c", task="t", dataset="d2", **no)
        (line,) = self.told(*alike, other)
        assert line == "a, b on d1, d2 (t, u); c on d2 (t): not applicable: one batch only"

    def test_another_reason_state_or_variant_is_told_apart(self):
        found = self.told(
            entry("a", state="timeout", reason="x"),
            entry("a", state="not_applicable", reason="x", variant="big"),
            entry("a", number(0.1), warnings=("x",), changed={"k": 3}),
            entry("b", number(0.1), warnings=("x", "y")),
        )
        assert found == [
            "a on d (t): timeout: x",
            "a:big on d (t): not applicable: x",
            "a k=3, b on d (t): warning: x",
            "b on d (t): warning: y",
        ]

    def test_all_of_many_models_are_counted(self):
        names = [f"m{n}" for n in range(9)]
        no = {"state": "not_applicable", "reason": "one batch only", "task": "u"}
        entries = [one for name in names for one in (entry(name, number(0.1)), entry(name, **no))]
        assert self.told(*entries, entry("z", **no)) == ["all 10 models on d (u): not applicable: one batch only"]
        (line,) = self.told(*entries)
        assert line.startswith("m0, m1, "), "z is not among them"

    def test_tracebacks_of_one_failure_in_several_files_are_one_line(self):
        reason = "the task 't' failed: KeyError (traceback: scores/{}.txt in the results folder)"
        (line,) = self.told(*(entry(m, state="task_error", reason=reason.format(m)) for m in ("a", "b")))
        assert line == "a, b on d (t): task error: " + reason.format("a")


class TestMarks:
    def test_each_flag_has_a_mark_beside_its_number_and_a_line(self):
        found = made(
            entry("a", number(0.5, flags=("below_baseline",))),
            entry("b", number(0.6, flags=("above_controls",)), flags=("repeated_rows",)),
            entry("c", number(0.7, flags=("below_controls",)), flags=("few_genes",)),
            entry("d", number(0.8)),
        )
        text = shown(found)
        for words in ("↓0.500", "↑=0.600", "↡°0.700", " 0.800", "↓ clearly below its baseline", "° of a model"):
            assert words in text
        assert "†" not in text
        assert "↓ " not in shown(made(entry("d", number(0.8))))

    def test_a_result_that_a_task_gives_a_caveat_is_marked_at_each_number(self, lab):
        def noise(embedding, obs, *, seed):
            warnings.warn("noise mixes batches, too", Caveat, stacklevel=1)
            return [Score("m", 0.5, 60)]

        tasks = {"t": Task("t", "1", "t", ("cell_type",), noise, {"m": "M"}, "b")}
        prepared = lab.prepare(tasks=tasks)
        lab.run(prepared)
        (found,) = lab.document(prepared).results
        assert found.flags == ("caveat",)
        text = shown(made(found))
        assert "!0.500" in text
        assert "! not to be read without its warning below" in text
        assert "warning: Caveat: noise mixes batches, too" in text

    def test_the_best_and_what_cannot_be_told_from_it(self):
        found = made(entry("a", number(0.5, standing="best")), entry("b", number(0.49, standing="level")))
        text = shown(found)
        assert "≈0.490" in text
        assert "bold: the best of its column; ≈ not to be told from it" in text
        console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
        console.print(table.render(found, {"t": a_task("t")}))
        assert "\x1b[1m0.500\x1b[0m" in console.file.getvalue()
        assert "\x1b[1m0.490" not in console.file.getvalue()

    def test_scaled_scores_have_a_table_of_their_own(self):
        text = shown(made(entry("a", number(0.5, scaled=0.25, **SPAN)), entry("b", number(0.1))))
        assert text.count("scaled: 0 is chance, 1 the truth itself") == 1
        assert "0.250" in text
        assert "scaled" not in shown(made(entry("a", number(0.5))))

    def test_a_control_that_has_no_scores_is_told(self):
        fields = {"dataset": "d", "task": "t_u", "seed": 1}
        lost = document.ControlEntry(control="positive", state="task_error", reason="it broke", **fields)
        drawn = document.ControlEntry(control="negative", state="pending", reason="it was not scored", **fields)
        good = document.ControlEntry(control="negative", state="ok", **{**fields, "task": "v"})
        text = shown(made(entry("a", number(0.5)), controls=(lost, drawn, drawn, good)))
        assert "positive control on d (t u): task error: it broke" in text
        assert "negative control on d (t u) (2 of them): pending: it was not scored" in text
        assert "(v)" not in text

    def test_what_was_made_elsewhere_is_no_baseline_whatever_it_is_called(self):
        text = shown(made(entry("a", number(0.5), elsewhere=True), baselines=("a",))).replace("\u00a0", " ")
        assert "a †" not in text
        assert "a §" in text

    def test_what_was_made_elsewhere_says_so(self):
        text = shown(made(entry("a", number(0.5), elsewhere=True)))
        assert "a §" in text.replace("\u00a0", " ")
        assert "§ made elsewhere" in text


class TestSheet:
    def test_every_number_is_a_line_and_so_is_a_result_without_one(self):
        found = made(
            entry(
                "a", number(0.5, params={"k": 5}, flags=("below_baseline",), **SPAN), number(0.1), flags=("few_genes",)
            ),
            entry("b", state="timeout", reason="=1+1, after\n3 s", changed={"k": 3}),
        )
        rows = list(csv.DictReader(io.StringIO(sheet.write(found))))
        assert [(one["model"], one["value"], one["low"], one["params"]) for one in rows] == [
            ("a", "0.5", "0.48", "k=5"),
            ("a", "0.1", "", ""),
            ("b", "", "", ""),
        ]
        assert rows[0]["flags"] == "below_baseline few_genes"
        assert (rows[2]["state"], rows[2]["reason"], rows[2]["changed"]) == ("timeout", "'=1+1, after 3 s", "k=3")


class TestStanding:
    def test_what_cannot_be_compared_has_a_mark_and_is_explained(self):
        found = shown(made(entry("a", number(0.5, standing="unknown")), entry("b", number(0.4, standing="best"))))
        assert "?0.500" in found
        assert "? cannot be compared in pairs" in found
        assert "? " not in shown(made(entry("a", number(0.5, standing="best"))))

    def test_two_that_are_best_in_one_column_are_explained(self):
        best = {"standing": "best"}
        found = shown(made(entry("a", number(0.5, **best), limit_cells=500), entry("b", number(0.4, **best))))
        assert "bold: the best of its column among models of the same cells" in found
        assert "among models" not in shown(made(entry("a", number(0.5, **best)), entry("b", number(0.4))))

    def test_a_note_names_the_models_of_fewer_cells(self):
        mixed = shown(made(entry("a", number(0.5), limit_cells=500), entry("b", number(0.4))))
        assert "d: only 500 of its cells for a (--limit-cells)" in mixed
        assert "d: only 500 of its cells (--limit" in shown(made(entry("a", number(0.5), limit_cells=500)))
