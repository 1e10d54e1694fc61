import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cellgauge.data import fetch
from cellgauge.data.cache import Cache, seal
from cellgauge.errors import FetchError, StorageError
from servers import Web
from shelf import CONTENT, SHA256, edit, keep, reachable
from support import as_nobody


@pytest.fixture
def told():
    return []


@pytest.fixture
def cache(tmp_path, told):
    return Cache(tmp_path / "cache", say=told.append)


class TestFiles:
    def test_lie_under_their_hash_with_a_seal_and_cannot_be_written_by_mistake(self, cache):
        path = keep(cache)
        assert path == cache.root / "files" / SHA256[:2] / SHA256
        assert cache.find(SHA256) == cache.holds(SHA256) == path
        assert path.stat().st_mode & 0o222 == 0
        assert seal.beside(path).read_text().split()[-1] == SHA256

    def test_that_are_not_there_are_not_found(self, cache):
        assert cache.find("0" * 64) is None
        assert cache.holds("0" * 64) is None

    @pytest.mark.parametrize("content", [b"other", CONTENT[:-1] + b"x", b""])
    @pytest.mark.parametrize("times", [{}, {"as": "before"}])
    def test_that_were_changed_are_noticed_and_removed(self, cache, told, content, times):
        """Also where size and time of change are as they were."""
        path = keep(cache)
        edit(path, content, **times)
        assert cache.find(SHA256) is None
        assert not path.exists()
        assert told == [f"{path} was damaged, and is removed; it is fetched again where it is needed"]

    def test_that_only_look_changed_are_sealed_again(self, cache, told):
        path = keep(cache)
        for spoil in (lambda: os.utime(path), lambda: seal.beside(path).unlink(), lambda: _copied(path)):
            spoil()
            assert not seal.good(path, SHA256)
            assert cache.find(SHA256) == path
            assert seal.good(path, SHA256)
        assert told == []

    def test_that_are_sealed_are_not_read_again(self, cache):
        path = keep(cache)
        assert cache.find(SHA256, _reads) == path
        seal.beside(path).unlink()
        with pytest.raises(LookupError):
            cache.find(SHA256, _reads)

    def test_a_good_one_that_came_while_a_damaged_one_was_hashed_stays(self, cache, told):
        """Two meet a damaged file; the slower one has to leave alone what the faster one fetched."""
        path = keep(cache)
        edit(path)
        faster, inode = Cache(cache.root), []

        def tick():
            if not inode:  # the slower one has read the damaged file
                inode.append(0)
                assert faster.find(SHA256) is None
                inode[0] = keep(faster).stat().st_ino

        assert cache.find(SHA256, tick) == path
        assert (path.stat().st_ino, path.read_bytes()) == (inode[0], CONTENT)
        assert seal.good(path, SHA256)
        assert told == []

    def test_one_that_is_gone_when_it_was_hashed_is_not_found(self, cache):
        path = keep(cache)
        edit(path)
        assert cache.find(SHA256, lambda: path.unlink(missing_ok=True)) is None

    @pytest.mark.parametrize("sealed", [True, False])
    def test_that_come_again_leave_the_good_one_that_is_there_alone(self, cache, sealed):
        """Whoever reads it would take another one for a changed one."""
        path = keep(cache)
        before = seal.stamp(path)
        if not sealed:
            seal.beside(path).unlink()
        assert keep(cache) == path
        assert seal.stamp(path) == before
        assert seal.good(path, SHA256)
        assert list((cache.root / "partial").iterdir()) == []

    def test_that_come_again_take_the_place_of_a_damaged_one(self, cache):
        edit(keep(cache))
        assert keep(cache).read_bytes() == CONTENT

    def test_a_folder_that_cannot_be_written_says_so(self, tmp_path):
        (tmp_path / "cache").write_text("in the way")
        with pytest.raises(StorageError, match="Not a directory") as caught:
            Cache(tmp_path / "cache").use("files", SHA256)
        assert "CELLGAUGE_CACHE" in caught.value.hint


def _reads():
    raise LookupError("it is read")


def _copied(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


class TestShared:
    @pytest.fixture
    def shared(self, tmp_path):
        """Somebody else's, who lets others read and no more."""
        found = Cache(tmp_path / "shared")
        keep(found)
        yield found
        for path in [found.root, *found.root.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o700)

    def close(self, shared):
        reachable(shared.root)
        for path in [shared.root, *shared.root.rglob("*")]:
            path.chmod(path.stat().st_mode & 0o555)

    def test_files_are_read_from_it_and_nothing_is_written_to_it(self, shared, tmp_path):
        self.close(shared)
        before = sorted(str(path) for path in shared.root.rglob("*"))
        with as_nobody():
            cache = Cache(tmp_path / "mine", [shared.root])
            assert cache.find(SHA256) == shared.holds(SHA256)
            assert [one.good for one in cache.verify()] == [True]
            assert cache.prune(0) == []
        assert sorted(str(path) for path in shared.root.rglob("*")) == before

    @pytest.mark.parametrize("shut", ["file", "folder"])
    def test_what_may_not_be_read_is_said_and_left(self, shared, tmp_path, shut):
        path = shared.holds(SHA256)
        keep(shared, b"another file")
        self.close(shared)
        (path if shut == "file" else path.parent).chmod(0)
        with as_nobody():
            cache = Cache(tmp_path / "mine", [shared.root])
            found = {one.name: one for one in cache.verify()}
            assert cache.find(SHA256) is None
        path.parent.chmod(0o755)
        assert path.is_file()
        others = [one.good for name, one in found.items() if name != SHA256]
        assert others == [True]
        if shut == "file":
            one = found[SHA256]
            assert (one.good, one.removed, one.reason) == (False, False, "Permission denied")

    def test_a_damaged_file_is_said_and_passed_over(self, shared, cache, told, tmp_path):
        path = shared.holds(SHA256)
        edit(path)
        mine = Cache(cache.root, [shared.root], say=told.append)
        assert mine.find(SHA256) is None
        assert told == [f"{path} is damaged, and passed over: tell whose it is"]
        assert path.read_bytes() == b"other"
        assert [(one.good, one.removed) for one in mine.verify()] == [(False, False)]
        assert keep(mine) == mine.find(SHA256) == cache.holds(SHA256)

    def test_what_an_address_gave_others_need_not_be_asked_again(self, tmp_path):
        web = Web()
        address = web.put("d.h5ad", CONTENT)
        theirs = Cache(tmp_path / "theirs")
        path, _, _ = fetch.file("it", (address,), (), theirs)
        web.close()
        mine = Cache(tmp_path / "mine", [theirs.root])
        assert fetch.file("it", (address,), (), mine)[0] == path
        assert not (mine.root / "files").exists()


class TestHashes:
    def test_of_files_elsewhere_are_remembered_as_long_as_nothing_changes(self, cache, tmp_path):
        path = tmp_path / "data.h5ad"
        path.write_bytes(CONTENT)
        assert cache.hashed(path) == SHA256
        assert not (cache.root / "known").exists(), "it was changed a moment ago, and may be again within one tick"
        _wait_until_settled(path)
        assert cache.hashed(path) == SHA256
        (known,) = (cache.root / "known").iterdir()
        known.write_text(known.read_text().replace(SHA256, "0" * 64))
        assert cache.hashed(path) == "0" * 64, "it is taken from there"
        edit(path, CONTENT[:-1] + b"x", times="as before")
        assert cache.hashed(path) == hashlib.sha256(CONTENT[:-1] + b"x").hexdigest()

    def test_a_damaged_memory_is_no_memory(self, cache, tmp_path):
        path = tmp_path / "data.h5ad"
        path.write_bytes(CONTENT)
        _wait_until_settled(path)
        cache.hashed(path)
        (known,) = (cache.root / "known").iterdir()
        for text in ("", "{", "[1]", '{"path": 3}', "\0"):
            known.write_text(text)
            assert cache.hashed(path) == SHA256

    def test_of_a_file_that_is_not_there_are_an_error_with_its_name(self, cache):
        with pytest.raises(FetchError, match="it: /no/such: No such file"):
            fetch.file("it", ("file:///no/such",), (), cache)


def _wait_until_settled(path):
    while not seal.settled(path):
        time.sleep(0.05)


class TestLock:
    def test_one_at_a_time_among_threads_too(self, cache):
        inside, most = [], []

        def work(_):
            with cache.lock("it"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.01)
                inside.pop()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))
        assert (max(most), len(most)) == (1, 16)

    def test_who_waits_can_give_up(self, cache):
        taken, done = threading.Event(), threading.Event()

        def holder():
            with cache.lock("it"):
                taken.set()
                done.wait(10)

        thread = threading.Thread(target=holder)
        thread.start()
        taken.wait(10)

        def tick():
            raise InterruptedError

        with pytest.raises(InterruptedError), cache.lock("it", tick):
            pass
        done.set()
        thread.join()
