import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from cellgauge.data.cache import Cache, seal
from cellgauge.specs import identity
from servers import start
from shelf import CONTENT, SHA256, dead, edit, keep, names, used, view

USE = """
import sys
from pathlib import Path
from cellgauge.data.cache import Cache
Cache(Path(sys.argv[1])).use(*sys.argv[2:])
print("used", flush=True)
sys.stdin.read()
"""


class TestContents:
    def test_tell_kind_size_last_use_and_users(self, cache):
        keep(cache)
        view(cache, "ab12", seconds_ago=3600)
        one, other = cache.contents()
        assert (one.kind, one.name, one.in_use, one.good) == ("files", SHA256, True, True)
        assert (other.kind, other.name, other.in_use, other.good) == ("views", "ab12", False, True)
        assert other.size >= 100_000
        ago = datetime.now(UTC) - datetime.fromisoformat(other.used)
        assert timedelta(minutes=59) < ago < timedelta(minutes=61)
        edit(cache.holds(SHA256))
        (cache.root / "views" / "ab12" / "seal").unlink()
        assert [one.good for one in cache.contents()] == [False, False]

    def test_count_bytes_that_two_share_once(self, cache):
        content = os.urandom(100_000)
        path = keep(cache, content)
        alone = cache.contents()[0].size
        place = cache.root / "weights" / identity([("model.bin", path.name)])
        place.mkdir(parents=True)
        os.link(path, place / "model.bin")
        assert [one.size for one in cache.contents()] == [alone, 0]

    def test_of_nothing_are_nothing(self, cache):
        assert (cache.contents(), cache.verify(), cache.prune(0)) == ([], [], [])


class TestVerify:
    def test_hashes_everything_and_removes_what_is_damaged(self, cache):
        good, bad = keep(cache), keep(cache, b"bad" * 1000)
        edit(bad, times="as before")
        view(cache, "good")
        view(cache, "bad").write_bytes(b"edited")
        for name, content in ((identity([("model.bin", SHA256)]), CONTENT), (identity([("model.bin", "0")]), b"x")):
            (cache.root / "weights" / name).mkdir(parents=True)
            (cache.root / "weights" / name / "model.bin").write_bytes(content)
        told = []
        found = cache.verify(lambda done, total: told.append((done, total)))
        assert sorted((one.kind, one.good, one.removed) for one in found) == [
            (kind, good, not good) for kind in ("files", "views", "weights") for good in (False, True)
        ]
        assert [one.reason for one in found] == [""] * 6
        assert told[-1][0] == told[-1][1] > 0
        assert sorted(one.kind for one in cache.contents()) == ["files", "views", "weights"]
        assert (good.exists(), bad.exists(), seal.beside(bad).exists()) == (True, False, False)
        assert list((cache.root / "trash").iterdir()) == []

    def test_seals_again_what_only_looks_changed(self, cache):
        path = keep(cache)
        os.utime(path)
        assert [one.good for one in cache.contents()] == [False]
        assert [(one.good, one.removed) for one in cache.verify()] == [(True, False)]
        assert [one.good for one in cache.contents()] == [True]

    def test_leaves_a_view_that_somebody_writes_or_could_not_write(self, cache):
        part = cache.root / "views" / "ab12" / "view.0123.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
        (cache.root / "views" / "cd34").mkdir()
        assert (cache.verify(), cache.contents()) == ([], [])
        assert part.read_bytes() == b"half"

    @pytest.mark.parametrize("kind", ["views", "weights"])
    def test_waits_for_who_puts_a_good_one_in_the_place_of_a_damaged_one(self, cache, kind):
        name = "ab12" if kind == "views" else identity([("model.bin", SHA256)])
        place = cache.root / kind / name
        if kind == "views":
            path = view(cache, name)
            good = path.read_bytes()
        else:
            place.mkdir(parents=True)
            path, good = place / "model.bin", CONTENT
        path.write_bytes(b"damaged")
        found = []
        verifier = threading.Thread(target=lambda: found.extend(cache.verify()))
        with cache.lock(f"view-{name}" if kind == "views" else f"weights-{name}"):
            verifier.start()
            verifier.join(0.5)
            path.write_bytes(good)
        verifier.join(20)
        assert [(one.good, one.removed) for one in found] == [(True, False)]
        assert path.read_bytes() == good

    def test_leaves_a_good_file_that_came_while_a_damaged_one_was_hashed(self, cache):
        path = keep(cache)
        edit(path)
        came = []

        def report(done, total):
            if not came:
                came.append(Cache(cache.root).find(SHA256))
                keep(cache)

        assert [(one.good, one.removed) for one in cache.verify(report)] == [(True, False)]
        assert came == [None]
        assert path.read_bytes() == CONTENT


class TestPrune:
    def test_removes_what_was_not_used_for_longest_until_the_rest_fits(self, cache):
        for number in range(5):
            view(cache, f"view{number}", seconds_ago=1000 - 100 * (number % 3))
        size = cache.contents()[0].size
        assert names(cache.prune(6 * size)) == []
        assert names(cache.prune(3 * size)) == ["view0", "view3"]
        assert names(cache.contents()) == ["view1", "view2", "view4"]
        assert not (cache.root / "uses" / "views" / "view0").exists()
        assert names(cache.prune(0)) == ["view1", "view4", "view2"]
        assert list((cache.root / "trash").iterdir()) == []

    def test_never_removes_what_a_living_process_uses_and_does_when_it_is_dead(self, cache):
        keep(cache)
        view(cache, "of another")
        process = start(USE, cache.root, "views", "of another")
        process.stdout.readline()
        assert cache.prune(0) == []
        process.kill()
        process.communicate()
        assert names(cache.prune(0)) == ["of another"]
        assert cache.find(SHA256) is not None, "this process lives"

    @pytest.mark.parametrize("changes", [{"machine": "0" * 8}, {"namespace": 1}])
    def test_what_cannot_be_seen_from_here_counts_for_a_week(self, cache, changes):
        """A container has another name each time it starts: what it used last month would stay for ever."""
        view(cache, "ab12")
        used(cache, "views", "ab12", dead(**changes), seconds_ago=6 * 24 * 3600)
        assert cache.prune(0) == []
        assert [one.in_use for one in cache.contents()] == [True]
        used(cache, "views", "ab12", dead(**changes), seconds_ago=8 * 24 * 3600)
        assert names(cache.prune(0)) == ["ab12"]

    def test_another_user_who_is_seen_to_be_dead_holds_nothing(self, cache):
        view(cache, "ab12")
        used(cache, "views", "ab12", dead(uid=os.getuid() + 1))
        assert names(cache.prune(0)) == ["ab12"]

    def test_removes_what_processes_before_a_reboot_used(self, cache):
        view(cache, "ab12")
        used(cache, "views", "ab12", dead(boot="0" * 8, pid=1))
        (cache.root / "uses" / "views" / "ab12" / "no token").touch()
        assert names(cache.prune(0)) == ["ab12"]

    def test_marks_of_the_dead_go_but_the_latest_which_tells_of_the_last_use(self, cache):
        view(cache, "ab12", seconds_ago=50)
        for number in range(20):
            used(cache, "views", "ab12", dead(pid=2**22 + 2 + number), seconds_ago=1000 + number)
        before = cache.contents()[0].used
        assert cache.prune(10**9) == []
        assert len(list((cache.root / "uses" / "views" / "ab12").iterdir())) == 1
        assert cache.contents()[0].used == before

    def test_goes_on_where_bytes_are_shared(self, cache):
        """A file that is linked to frees nothing, so what links to it has to go too."""
        path = keep(cache, os.urandom(100_000))
        place = cache.root / "weights" / "ab12"
        place.mkdir(parents=True)
        os.link(path, place / "model.bin")
        for kind, name in (("files", path.name), ("weights", "ab12")):
            for marker in (cache.root / "uses" / kind / name).glob("*"):
                marker.unlink()
            used(cache, kind, name, dead(), seconds_ago=100 if kind == "files" else 50)
        assert [one.kind for one in cache.prune(1000)] == ["files", "weights"]

    def test_removes_what_a_killed_pruner_was_about_to_remove(self, cache):
        keep(cache)
        (cache.root / "trash" / "ab12" / "thing").mkdir(parents=True)
        assert cache.prune(10**9) == []
        assert list((cache.root / "trash").iterdir()) == []

    def test_keeps_interrupted_downloads_unless_they_are_meant(self, cache):
        keep(cache)
        part = cache.partial("abc")
        part.write_bytes(b"x" * 1000)
        part.with_suffix(".journal").write_text("...")
        assert cache.prune(0) == []
        with cache.lock("download-abc"):
            assert cache.prune(0, partial=True) == [], "somebody is at it"
        assert [one.kind for one in cache.prune(0, partial=True)] == ["partial"]
        assert list((cache.root / "partial").iterdir()) == []

    def test_a_download_that_was_begun_takes_nobodys_place(self, cache):
        """It may not go, so that everything else would go for it."""
        view(cache, "ab12", size=10_000)
        cache.partial("abc").write_bytes(b"x" * 1_000_000)
        assert cache.prune(500_000) == []
        assert [one.kind for one in cache.prune(500_000, partial=True)] == ["partial"]
        assert names(cache.contents()) == ["ab12"]

    def test_what_is_left_of_a_view_whose_writer_was_killed_goes(self, cache):
        for name in ("dead", "alive"):
            (cache.root / "views" / name).mkdir(parents=True)
            (cache.root / "views" / name / "view.0123.part").write_bytes(b"half")
        with cache.lock("view-alive"):
            assert cache.prune(10**9) == []
        assert [path.name for path in (cache.root / "views").iterdir()] == ["alive"]

    def test_whoever_marks_first_finds_it_still(self, cache):
        """Many look things up while others prune: none is handed a path that is removed under its feet."""
        view(cache, "ab12")
        for _ in range(20):
            pruner = threading.Thread(target=cache.prune, args=(0,))
            pruner.start()
            cache.use("views", "ab12")
            there = (cache.root / "views" / "ab12").is_dir()
            pruner.join()
            assert (cache.root / "views" / "ab12").is_dir() == there
            if not there:
                view(cache, "ab12")
            for marker in (cache.root / "uses" / "views" / "ab12").iterdir():
                marker.unlink()
