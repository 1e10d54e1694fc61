import fcntl
import os
import time

import pytest

from cellgauge import owner
from cellgauge.data.cache import Cache, uses
from shelf import SHA256, dead, keep, names, reachable, view
from support import as_nobody


@pytest.fixture
def theirs(tmp_path):
    """Somebody else's cache, with a file and a view that nobody uses."""
    reachable(tmp_path / "theirs")
    found = Cache(tmp_path / "theirs")
    keep(found)
    view(found, "ab12", seconds_ago=100)
    (found.root / "uses" / "files" / SHA256 / owner.me().token).unlink()
    return found


@pytest.fixture
def mine(tmp_path, theirs):
    return Cache(tmp_path / "mine", [theirs.root])


def visits(cache):
    return sorted(path.name.split("~")[:2] for path in (cache.root / "uses" / "guests").iterdir())


class TestGuests:
    def test_keep_what_they_use_from_being_pruned_by_its_owner(self, theirs, mine):
        with as_nobody():
            assert mine.find(SHA256) == theirs.holds(SHA256)
            mine.use("views", "ab12")
            mine.use("views", "another")
        assert theirs.prune(0) == []
        assert [one.in_use for one in theirs.contents()] == [True, True]
        assert visits(theirs) == [["files", SHA256], ["views", "ab12"]]

    def test_who_are_dead_keep_nothing(self, theirs):
        (theirs.root / "uses" / "guests" / f"views~ab12~{dead()}").touch()
        (theirs.root / "uses" / "guests" / f"views~gone~{dead()}").touch()
        assert sorted(names(theirs.prune(0))) == [SHA256, "ab12"]
        assert visits(theirs) == []

    def test_who_use_a_thing_again_say_so_again(self, theirs, mine):
        with as_nobody():
            mine.find(SHA256)
            (mark,) = (theirs.root / "uses" / "guests").iterdir()
            os.utime(mark, (0, 0))
            mine.find(SHA256)
        assert time.time() - mark.stat().st_mtime < 60

    def test_do_not_wait_for_ever_for_the_owner(self, theirs, mine, monkeypatch):
        monkeypatch.setattr(uses, "PATIENCE", 0.1)
        with theirs.lock("uses"):
            mine.find(SHA256)
        assert visits(theirs) == [["files", SHA256]]

    def test_leave_the_lock_free(self, theirs, mine):
        mine.find(SHA256)
        with (theirs.root / "locks" / "uses.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert len(visits(theirs)) == 1

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o1777), (0o027, 0o1770), (0o077, 0o1700)])
    def test_are_those_who_may_read_and_no_others(self, tmp_path, umask, mode):
        before = os.umask(umask)
        try:
            Cache(tmp_path / "cache").use("files", SHA256)
        finally:
            os.umask(before)
        assert (tmp_path / "cache" / "uses" / "guests").stat().st_mode & 0o7777 == mode

    def test_who_may_not_mark_use_things_all_the_same(self, theirs, mine):
        (theirs.root / "uses" / "guests").rmdir()
        assert mine.find(SHA256) is not None
        assert names(theirs.prune(0)) == ["ab12", SHA256]


class TestLingering:
    def test_who_lives_long_says_so_now_and_then(self, tmp_path, monkeypatch):
        cache = Cache(tmp_path)
        cache.use("views", "ab12")
        (mark,) = (tmp_path / "uses" / "views" / "ab12").iterdir()
        os.utime(mark, (0, 0))
        cache.linger()
        assert mark.stat().st_mtime == 0, "it was said a moment ago"
        monkeypatch.setattr(uses, "AGAIN", -1.0)
        cache.linger()
        assert time.time() - mark.stat().st_mtime < 60

    def test_a_mark_that_was_taken_away_is_not_made_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(uses, "AGAIN", -1.0)
        cache = Cache(tmp_path)
        cache.use("views", "ab12")
        (mark,) = (tmp_path / "uses" / "views" / "ab12").iterdir()
        mark.unlink()
        cache.linger()
        assert not mark.exists()
