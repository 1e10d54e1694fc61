from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cellgauge import owner
from cellgauge.attempts import KEPT_ATTEMPTS
from cellgauge.disk import link
from cellgauge.errors import StorageError
from cellgauge.specs import Attempt, RunRecord
from cellgauge.store import Store
from support import a_job, made_record


def test_a_record_comes_back_as_it_went(store):
    record = made_record()
    with store.workspace(record.job.id) as folder:
        (folder / "log.txt").write_text("a log")
        store.keep(folder, record)
    assert store.record(record.job.id) == record
    assert (store.job_folder(record.job.id) / "log.txt").read_text() == "a log"
    assert store.job_ids() == [record.job.id]


def test_a_job_that_was_interrupted_leaves_no_record_and_no_folder(store):
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117 - the block is what is interrupted
        with store.workspace("abc") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt
    assert store.record("abc") is None
    assert list((store.root / "jobs").iterdir()) == []


def write_output(folder):
    (folder / "output" / "d").mkdir(parents=True)
    for name in ("embedding.npy", "cells.txt"):
        (folder / "output" / "d" / name).write_text("x")


def test_a_better_attempt_replaces_a_failed_one_and_never_the_other_way(store):
    for state, kept in (("timeout", "timeout"), ("ok", "ok"), ("timeout", "ok")):
        record = made_record(state=state)
        with store.workspace(record.job.id) as folder:
            write_output(folder)
            assert store.keep(folder, record).state == kept
        assert store.record(record.job.id).state == kept


def test_many_writers_of_one_job_leave_one_whole_record(store):
    def write(number):
        record = made_record(state="timeout", reason=f"attempt {number}")
        with store.workspace(record.job.id) as folder:
            store.keep(folder, record)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert store.record(made_record().job.id).reason.startswith("attempt")
    assert sorted(path.name for path in (store.root / "jobs").iterdir()) == [".lock", made_record().job.id[:2]]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "ok"}'])
def test_a_damaged_record_is_named(store, content):
    folder = store.job_folder("abcdef")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(content)
    with pytest.raises(StorageError, match=r"record\.json is damaged or of another version"):
        store.record("abcdef")


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file.*: Not a directory") as caught:
        Store(tmp_path / "file" / "results").prepare()
    assert "--results" in caught.value.hint
    with pytest.raises(StorageError, match="/proc/"):
        Store(Path("/proc/results")).prepare()


def test_a_full_disk_says_so_before_any_work(small_disk):
    (small_disk / "fill").write_bytes(b"x" * (64 << 10))
    with pytest.raises(StorageError, match="No space left on device") as caught:
        Store(small_disk).prepare()
    assert "Free some space" in caught.value.hint


def test_a_disk_that_fills_up_loses_nothing_that_was_kept(small_disk):
    store = Store(small_disk)
    store.prepare()
    first = made_record()
    with store.workspace(first.job.id) as folder:
        store.keep(folder, first)
    (small_disk / "fill").write_bytes(b"x" * (20 << 10))
    second = made_record(job_id="ff" * 10, reason="x" * (40 << 10))
    with pytest.raises(StorageError, match="No space left"), store.workspace(second.job.id) as folder:
        store.keep(folder, second)
    assert store.record(first.job.id) == first
    assert store.record(second.job.id) is None
    assert [path.name for path in (small_disk / "jobs").rglob(".*")] == [".lock"]


def test_a_link_is_a_copy_where_the_file_systems_differ(small_disk, tmp_path):
    (tmp_path / "view").write_text("data")
    link(tmp_path / "view", small_disk / "input" / "view")
    link(tmp_path / "view", tmp_path / "input" / "view")
    assert (small_disk / "input" / "view").read_text() == "data"
    assert (tmp_path / "input" / "view").samefile(tmp_path / "view")


def test_run_ids_sort_by_time(store):
    (store.root / "runs" / "20260102-000000-aa.json").touch()
    (store.root / "runs" / "20251231-235959-ff.json").touch()
    assert store.run_ids() == ["20251231-235959-ff", "20260102-000000-aa"]


JOB = made_record().job.id
DEAD = replace(owner.me(), boot="0" * 8)


def keep(store, state="ok", reason="", log="", refresh=False, **fields):
    """Do a job, of whatever outcome, and keep it."""
    record = made_record(state=state, reason=reason, **fields)
    with store.workspace(record.job.id) as folder:
        if state == "ok":
            write_output(folder)
            (folder / "output" / "d" / "by.txt").write_text(record.run)
        if log:
            (folder / "log.txt").write_text(log)
        return store.keep(folder, record, refresh=refresh)


class TestAttempts:
    def test_the_next_run_inherits_what_was_tried_before_with_its_logs(self, store):
        keep(store, "infrastructure", "one", "log of one", run="r1")
        keep(store, "timeout", "two", "log of two", run="r2")
        kept = keep(store, "ok", "", "log of three", run="r3")
        assert [(one.run, one.state, one.reason) for one in kept.attempts] == [
            ("r1", "infrastructure", "one"),
            ("r2", "timeout", "two"),
        ]
        place = store.job_folder(JOB)
        assert [(place / one.log).read_text() for one in kept.attempts] == ["log of one", "log of two"]
        assert (place / "log.txt").read_text() == "log of three"
        assert store.record(JOB) == kept
        assert RunRecord.model_validate_json(kept.model_dump_json()) == kept

    def test_attempts_within_a_run_come_after_those_of_earlier_ones(self, store):
        keep(store, "infrastructure", "earlier", "x", run="r1")
        own = Attempt(run="r2", state="infrastructure", reason="within", started="", log="attempts/r2-1.txt")
        record = made_record(run="r2", attempts=(own,))
        with store.workspace(JOB) as folder:
            (folder / "attempts").mkdir()
            (folder / "attempts" / "r2-1.txt").write_text("log of within")
            kept = store.keep(folder, record)
        assert [one.reason for one in kept.attempts] == ["earlier", "within"]
        assert [(store.job_folder(JOB) / one.log).exists() for one in kept.attempts] == [True, True]

    def test_an_attempt_without_a_log_names_none(self, store):
        keep(store, "infrastructure", run="r1")
        assert keep(store, "timeout", run="r2").attempts[0].log == ""

    def test_of_very_many_the_last_are_kept(self, store):
        for number in range(KEPT_ATTEMPTS + 5):
            kept = keep(store, "timeout", str(number), run=f"r{number}")
        assert [one.reason for one in kept.attempts] == [str(number) for number in range(4, KEPT_ATTEMPTS + 4)]

    def test_an_output_that_was_deleted_is_replaced_and_its_loss_is_no_failure(self, store):
        keep(store, run="r1")
        (store.job_folder(JOB) / "output" / "d" / "embedding.npy").unlink()
        assert keep(store, run="r2").state == "ok"
        assert (store.job_folder(JOB) / "output" / "d" / "by.txt").read_text() == "r2"


class TestRefresh:
    def test_a_disk_that_fails_while_one_replaces_another_loses_neither(self, store, small_disk):
        keep(store, run="r1")
        (small_disk / "job").mkdir()
        with pytest.raises(StorageError, match="Invalid cross-device link"):  # as good a failure as any
            store.keep(small_disk / "job", made_record(run="r2"), refresh=True)
        assert (small_disk / "job" / "record.json").exists()
        assert list((store.root / "jobs").glob(".*~*")) == []
        assert (store.record(JOB).run, store.whole(store.record(JOB))) == ("r1", True)

    def test_one_that_fails_says_so_and_never_replaces_a_good_one(self, store):
        keep(store, run="r1", log="good")
        told = keep(store, "timeout", "too slow", run="r2", refresh=True)
        assert (told.state, told.run) == ("timeout", "r2")
        assert (store.record(JOB).state, store.record(JOB).run) == ("ok", "r1")
        assert (store.job_folder(JOB) / "log.txt").read_text() == "good"

    def test_one_that_fails_leaves_its_logs_beside_the_good_ones(self, store):
        keep(store, run="r1", log="good")
        own = Attempt(run="r9", state="infrastructure", reason="within", started="", log="attempts/r9-1.txt")
        with store.workspace(JOB) as folder:
            (folder / "attempts").mkdir()
            (folder / "attempts" / "r9-1.txt").write_text("log of the first try")
            (folder / "log.txt").write_text("log of the last try")
            store.keep(folder, made_record(state="timeout", run="r9", attempts=(own,)), refresh=True)
        place, record = store.job_folder(JOB), store.record(JOB)
        assert record.state == "ok"
        assert [(place / one.log).read_text() for one in record.attempts] == [
            "log of the first try",
            "log of the last try",
        ]
        assert (place / "log.txt").read_text() == "good"

    def test_one_that_succeeds_does(self, store):
        keep(store, run="r1")
        assert keep(store, run="r2", refresh=True).run == "r2"
        assert store.record(JOB).run == "r2"
        assert (store.job_folder(JOB) / "output" / "d" / "by.txt").read_text() == "r2"

    def test_without_it_the_good_one_that_is_there_stays(self, store):
        keep(store, run="r1")
        assert keep(store, run="r2").run == "r1"
        assert (store.job_folder(JOB) / "output" / "d" / "by.txt").read_text() == "r1"

    def test_a_failed_one_is_replaced_and_inherited(self, store):
        keep(store, "timeout", run="r1")
        assert [one.run for one in keep(store, "timeout", run="r2", refresh=True).attempts] == ["r1"]
        assert store.record(JOB).run == "r2"


def leave(store, whose, kind=""):
    """A folder as a process leaves it that was killed."""
    folder = store.root / "jobs" / f".{JOB}{kind}~{whose.token}~0123abcd"
    folder.mkdir()
    (folder / "half").write_text("x")
    return folder


class TestSweep:
    def test_only_what_ones_own_dead_processes_left_is_removed(self, store):
        gone = leave(store, DEAD)
        stay = [
            leave(store, whose)
            for whose in (
                owner.me(),
                replace(DEAD, uid=DEAD.uid + 1),
                replace(DEAD, machine="0" * 8),
                replace(owner.me(), namespace=1, pid=4_000_000),
            )
        ]
        (store.root / "jobs" / ".no~token~at~all").mkdir()
        keep(store)
        assert store.sweep() == [f"folder .{JOB}"]
        assert not gone.exists()
        assert all(folder.exists() for folder in stay)
        assert (store.root / "jobs" / ".no~token~at~all").exists()
        assert store.record(JOB).state == "ok"
        assert store.sweep() == []

    def test_a_job_that_was_set_aside_when_its_replacer_died_is_put_back(self, store):
        keep(store, run="r1")
        aside = leave(store, DEAD, ".aside")
        (aside / "half").unlink()
        aside.rmdir()
        store.job_folder(JOB).rename(aside)
        assert store.record(JOB) is None
        store.sweep()
        assert store.record(JOB).run == "r1"
        assert list((store.root / "jobs").glob(".*~*")) == []

    def test_one_that_was_set_aside_and_replaced_is_removed(self, store):
        keep(store, run="r2")
        leave(store, DEAD, ".aside")
        store.sweep()
        assert store.record(JOB).run == "r2"
        assert list((store.root / "jobs").glob(".*~*")) == []

    def test_several_at_once_do_each_thing_once(self, store):
        for number in range(20):
            (store.root / "jobs" / f".{number:020}~{DEAD.token}~0").mkdir()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: store.sweep(), range(4)))
        assert list((store.root / "jobs").glob(".*~*")) == []


class TestPackages:
    def test_an_image_is_asked_once_also_by_another_run(self, store):
        asked = []

        def ask(image):
            asked.append(image)
            return ("numpy==2.0", "scipy==1.0")

        first = store.packages("sha256:1", ask)
        assert (store.root / "environments" / f"{first}.txt").read_text() == "numpy==2.0\nscipy==1.0\n"
        assert store.packages("sha256:1", ask) == Store(store.root).packages("sha256:1", ask) == first
        assert asked == ["sha256:1"]
        assert store.packages("sha256:2", ask) == first
        assert len(list((store.root / "environments").glob("*.txt"))) == 1, "each list is kept once"

    def test_an_image_that_cannot_tell_has_no_list_and_is_not_asked_again(self, store):
        asked = []
        for _ in range(2):
            assert store.packages("sha256:1", lambda image: asked.append(image) or ()) == ""
        assert asked == ["sha256:1"]
        assert list((store.root / "environments").glob("*.txt")) == []

    def test_an_image_that_could_not_be_asked_is_asked_again(self, store):
        def away(image):
            raise LookupError

        with pytest.raises(LookupError):
            store.packages("sha256:1", away)
        assert store.packages("sha256:1", lambda image: ("a==1",)) != ""


def test_logs_are_found_of_running_and_of_finished_jobs(store):
    keep(store, log="done")
    with store.workspace("ab00" * 5) as folder:
        (folder / "log.txt").write_text("running")
        assert [path.read_text() for path in store.job_logs("ab").values()] == ["running", "done"]
        assert [path.read_text() for path in store.job_logs("abab").values()] == ["done"]
    assert store.job_logs("ff") == {}


def test_a_prediction_is_whole_while_its_file_is_there(store):
    record = made_record(job=a_job(JOB, "d", verb="predict"))
    with store.workspace(JOB) as folder:
        write_output(folder)
        store.keep(folder, record)
    assert not store.whole(record), "these are the files of an embedding"
    (store.job_folder(JOB) / "output" / "d" / "prediction.h5ad").touch()
    (store.job_folder(JOB) / "output" / "d" / "embedding.npy").unlink()
    assert store.whole(record)
