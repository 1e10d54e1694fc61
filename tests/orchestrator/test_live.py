"""What is said while a run goes on."""

import io

import pytest
from rich.console import Console

from cellgauge.cli import live
from cellgauge.evaluate import Finished, Scored
from cellgauge.score import failed
from cellgauge.specs import Plan, Run, Skip
from support import a_job, a_scoring, made_record

JOB = a_job("ab" * 10, "d", changed={"k": 5})
SKIP = Skip(model="m", variant="default", dataset="d", task="u", seed=1, reason="no labels")


@pytest.fixture
def screen(store):
    plan = Plan(jobs=(JOB,), scorings=(a_scoring(),), skips=(SKIP,))
    run = Run(id="r1", command="", started="", engine="function", plan=plan, cellgauge="0")
    return live._Screen(run, store, 1, {JOB.id})


def text(screen):
    console = Console(file=io.StringIO(), width=200)
    console.print(screen.render())
    return console.file.getvalue()


class TestScreen:
    def test_what_does_not_apply_was_planned_and_is_decided(self, screen):
        assert "0 of 1 jobs done, 1 waiting, 1 of 2 results" in text(screen)
        screen.show(Finished(made_record(job=JOB), reused=False))
        screen.show(Scored(failed(a_scoring(), "not_applicable", "one label"), reused=False))
        assert "1 of 1 jobs done, 0 waiting, 2 of 2 results" in text(screen)

    def test_what_failed_is_missing(self, screen):
        screen.show(Finished(made_record(state="timeout", job=JOB), reused=False))
        screen.show(Scored(failed(a_scoring(), "timeout", "slow"), reused=False))
        assert "1 of 1 jobs done, 1 failed, 0 waiting, 1 of 2 results" in text(screen)


class TestFinished:
    def test_a_job_is_named_with_what_was_set(self, store, capsys):
        live.finished(made_record(job=JOB), False, store)
        assert "m k=5 on d (seed 1): ok, 1.0 s  [abababab]" in capsys.readouterr().err

    @pytest.mark.parametrize("refresh", [True, False])
    def test_the_log_of_a_failure_is_its_own_and_not_that_of_the_good_run(self, store, capsys, refresh):
        place = store.job_folder(JOB.id)
        (place / "attempts").mkdir(parents=True)
        (place / "log.txt").touch()
        (place / "attempts" / "r9.txt").touch()
        live.finished(made_record(state="timeout", job=JOB, run="r9" if refresh else "r8"), False, store)
        named = place / "attempts" / "r9.txt" if refresh else place / "log.txt"
        assert f"log: {named}\n" in capsys.readouterr().err
