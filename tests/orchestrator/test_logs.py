"""Logs that are read while they grow, move and are begun anew."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from cellgauge import events, owner
from cellgauge.cli import logs
from cellgauge.errors import UsageError
from cellgauge.evaluate import Finished, Started
from cellgauge.owner import Owner
from cellgauge.specs import Plan, Run
from support import a_job, made_record

ONE, TWO = a_job("01" * 10, "d"), a_job("02" * 10, "e")


class Following:
    """Follows a file in steps: one for each thing that is done to it."""

    def __init__(self, path, *steps):
        self.path, self.steps = path, list(steps)
        self.heard = list(logs.tail(lambda: self.path, self.goes_on))

    def goes_on(self):
        if self.steps:
            self.steps.pop(0)(self)
            return True
        return False


def write(text):
    def step(one):
        with one.path.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    return step


def begin_anew(one):
    one.path.rename(one.path.with_name("attempt.txt"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(logs, "PACE", 0.001)


class TestTail:
    def test_what_is_written_comes_as_it_comes_and_to_the_last_word(self, tmp_path):
        assert Following(tmp_path / "log", write("a"), write("b"), write("c")).heard == ["a", "b", "c", ""]

    def test_a_log_that_is_begun_anew_is_read_from_its_beginning(self, tmp_path):
        found = Following(tmp_path / "log", write("a long attempt "), begin_anew, write("again "), write("and on"))
        assert "".join(found.heard) == "a long attempt again and on"

    def test_a_log_that_became_shorter_is_read_from_its_beginning(self, tmp_path):
        shorten = lambda one: one.path.write_text("new")  # noqa: E731
        assert "".join(Following(tmp_path / "log", write("a long one "), shorten).heard) == "a long one new"

    def test_a_letter_in_two_pieces_is_one(self, tmp_path):
        letter = "μ".encode()
        assert "".join(Following(tmp_path / "log", write(letter[:1]), write(letter[1:])).heard) == "μ"
        assert "".join(Following(tmp_path / "half", write(letter[:1])).heard) == "\ufffd"

    def test_a_log_that_moves_goes_on(self, tmp_path):
        def move(one):
            one.path = one.path.rename(tmp_path / "kept")

        assert "".join(Following(tmp_path / "log", write("begun, "), move, write("done")).heard) == "begun, done"

    def test_where_an_earlier_log_stays_in_its_place_at_the_end_that_is_not_read(self, tmp_path):
        (tmp_path / "kept").write_text("of the good run, which stays")
        (tmp_path / "log").write_text("of a refresh that failed")
        places = iter([tmp_path / "log", tmp_path / "kept"])
        more = iter([True, False])
        assert "".join(logs.tail(lambda: next(places), lambda: next(more))) == "of a refresh that failed"

    def test_nothing_yet_is_waited_for(self, tmp_path):
        assert "".join(Following(tmp_path / "log", lambda one: None, write("late")).heard) == "late"


@contextmanager
def warm_start(store, folder):
    """Two jobs in one start, of which only the first has a folder of its name."""
    raw = {"id": "20260101-000000-aaaa", "command": "", "started": "", "engine": "function", "cellgauge": "0"}
    run = Run(owner=owner.me().token, plan=Plan(jobs=(ONE, TWO), scorings=()), **raw)
    store.keep_run(run)
    happens = [Started(ONE, folder), Started(TWO, folder), Finished(made_record(job=TWO), reused=False)]
    following = events.record(iter(happens), run, [store.run_file(run.id, "events.jsonl")])
    next(following), next(following)
    yield following
    following.close()


class TestJobs:
    def test_a_job_that_shares_its_start_is_followed_where_it_runs(self, store):
        with store.workspace(ONE.id) as folder, warm_start(store, folder):
            (folder / "log.txt").write_text("both\n")
            for name in (ONE.id, TWO.id[:6]):
                look, goes_on = logs._log(name, store)
                assert (look(), goes_on()) == (folder / "log.txt", True)

    def test_it_ends_when_the_folder_has_gone_to_its_place(self, store):
        with store.workspace(ONE.id) as folder, warm_start(store, folder) as following:
            (folder / "log.txt").write_text("both\n")
            look, goes_on = logs._log(TWO.id, store)
            own = folder / TWO.id
            own.mkdir()
            (folder / "log.txt").rename(own / "log.txt")
            store.keep(own, made_record(job=TWO))
            next(following)
        assert (look(), goes_on()) == (store.job_folder(TWO.id) / "log.txt", False)

    def test_what_a_killed_run_left_does_not_go_on_for_ever(self, store):
        child = subprocess.run(
            [sys.executable, "-c", "from cellgauge import owner; print(owner.me().token)"],
            capture_output=True,
            text=True,
            check=True,
        )
        dead = child.stdout.strip()
        assert not Owner.parse(dead).alive()
        folder = store.root / "jobs" / f".{ONE.id}~{dead}~abcd"
        folder.mkdir()
        (folder / "log.txt").write_text("so far\n")
        look, goes_on = logs._log(ONE.id, store)
        assert (look(), goes_on()) == (folder / "log.txt", False)

    def test_what_nobody_knows_is_named(self, store):
        with pytest.raises(UsageError, match="there are no results"):
            logs._log("abc", store)
