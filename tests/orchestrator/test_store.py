from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cellgauge.disk import link
from cellgauge.errors import StorageError
from cellgauge.store import Store
from support import made_record


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
    (folder / "output" / "d" / "embedding.npy").write_text("x")


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
