"""What is shown of one job, and of words that a model wrote."""

import io

import pytest
from rich.console import Console

from cellgauge import settings, words
from cellgauge.machine import cpus
from cellgauge.report import job
from cellgauge_tasks import Interval, Score
from lab import task


def shown(lab, record):
    console = Console(file=io.StringIO(), width=200)
    console.print(job.render(record, lab.store))
    return console.file.getvalue()


def two_numbers(embedding, obs, *, seed):
    span = Interval(0.25, 0.75, "cells", 60)
    first = Score("first", 0.5, len(embedding), interval=span)
    return [first, Score("second", 1 / 3, len(embedding), {"classifier": "mean"})]


def rows(text):
    """The lines of the list of scores, as their words."""
    lines = [line.split() for line in text.splitlines()]
    begin = lines.index(["dataset", "task", "metric", "value", "interval"])
    return [line for line in lines[begin + 2 :] if line]


class TestJob:
    def test_a_finished_one_shows_its_scores(self, lab):
        lab.run(lab.prepare(tasks={"t": task("t", two_numbers)}))
        (record,) = lab.records()
        assert rows(shown(lab, record)) == [
            ["d", "t", "first", "0.5", "0.25", "to", "0.75,", "60", "cells"],
            ["d", "t", "second", "(classifier=mean)", "0.333333"],
        ]

    def test_those_of_another_output_are_not_its_own(self, lab):
        lab.run(lab.prepare(tasks={"t": task("t", two_numbers)}))
        (record,) = lab.records()
        (kept,) = lab.store.results()
        lab.store.keep_result(kept.model_copy(update={"output": "of the output before"}))
        assert "0.333333" not in shown(lab, record)

    def test_of_several_versions_of_a_task_the_latest_counts(self, lab):
        lab.run(lab.prepare(tasks={"t": task("t", two_numbers)}))
        (kept,) = lab.store.results()
        (record,) = lab.records()
        for id, run, value in (("0" * 20, "r0", 0.0), ("f" * 20, "r2", 0.75)):
            scoring = kept.scoring.model_copy(update={"id": id})
            scores = (kept.scores[0].model_copy(update={"value": value, "low": None}),)
            lab.store.keep_result(kept.model_copy(update={"scoring": scoring, "run": run, "scores": scores}))
        assert rows(shown(lab, record)) == [["d", "t", "first", "0.75"]]

    def test_one_that_failed_shows_why_and_its_last_words(self, lab):
        def function(launch):
            launch.log.write_text("[bold]oh\x1b[2J no\n")
            return 7

        lab.run(lab.prepare(), function)
        text = shown(lab, *lab.records())
        assert "model error" in text
        assert "[bold]oh[2J no" in text
        assert "\x1b" not in text
        assert "value" not in text


class TestWords:
    @pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x00b", "a\u202eb", "a\x9bb"])
    def test_what_moves_a_terminals_cursor_is_left_out(self, text):
        for made in (words.printable(text), words.lines(text)):
            assert made.startswith("a")
            assert made.endswith("b")
            assert made.isprintable()

    def test_lines_stay_lines_or_become_one(self):
        assert words.lines("a\tb\r\n c\n") == "a\tb\n c\n"
        assert words.printable("a\tb\r\n c\n") == "a b c"


class TestSettings:
    def test_what_is_shipped_comes_first(self, tmp_path):
        found = settings.read(catalog=(tmp_path / "lab.yaml",), models_path=(tmp_path / "models",))
        assert found.catalogs == (settings.shipped("datasets.yaml"), tmp_path / "lab.yaml")
        assert found.model_folders == (settings.shipped("model-images"), tmp_path / "models")

    def test_half_of_the_cpus_score(self):
        assert settings.read().scorers == max(1, cpus() // 2)
