import hashlib
import os
import time
from contextlib import suppress

import pytest

from cellgauge.data import download, fetch
from cellgauge.data.cache import Cache
from cellgauge.data.patience import Pace
from cellgauge.data.sources.https import Https
from cellgauge.errors import FetchError, StorageError
from pulling import CONTENT, QUICK, SHA256, begun, kept, pull


class TestWhatComes:
    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize(
        ("ranges", "etags", "lengths"), [(1, 1, 1), (1, "weak", 1), (1, 0, 1), (0, 1, 1), (0, 0, 0)]
    )
    def test_is_whole_and_is_kept_under_its_hash(self, web, cache, known, ranges, etags, lengths):
        web.ranges, web.etags, web.lengths = ranges, etags, lengths
        path, digest, stamp = pull(web.put("d.h5ad", CONTENT), cache, *([SHA256] if known else []))
        assert (path.read_bytes() == CONTENT, digest, path.name) == (True, SHA256, SHA256)
        assert stamp == fetch.stamp(path)
        assert (kept(cache), begun(cache)) == ([SHA256, f"{SHA256}.seal"], [])
        assert len(web.ranged()) == (16 if ranges and (etags or known) else 0)

    def test_is_unpacked_where_a_server_packs_it_unasked(self, web, cache):
        web.ranges, web.packed = False, True
        assert pull(web.put("d.h5ad", CONTENT), cache)[1] == SHA256

    def test_is_not_asked_for_again(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        first = pull(address, cache)
        web.close()
        assert pull(address, cache) == first

    def test_is_found_by_its_hash_wherever_it_came_from(self, web, cache):
        pull(web.put("d.h5ad", CONTENT), cache)
        before = len(web.asked)
        assert pull(f"{web.root}/elsewhere.h5ad", cache, SHA256)[1] == SHA256
        assert len(web.asked) == before

    def test_is_asked_for_again_only_where_it_changed(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        first = pull(address, cache)
        sent = web.sent
        assert pull(address, cache, refresh=True) == first
        assert web.sent - sent <= 1
        other = web.put("d.h5ad", CONTENT[::-1])
        assert pull(other, cache)[1] == SHA256
        assert pull(other, cache, refresh=True)[1] == hashlib.sha256(CONTENT[::-1]).hexdigest()

    def test_may_be_read_by_the_group_if_the_umask_says_so(self, web, cache):
        before = os.umask(0o027)
        try:
            path, _, _ = pull(web.put("d.h5ad", CONTENT), cache)
        finally:
            os.umask(before)
        assert oct(path.stat().st_mode & 0o777) == "0o440"

    def test_is_told_as_it_comes(self, web, cache):
        told = []
        pull(web.put("d.h5ad", CONTENT), cache, report=lambda done, total: told.append((done, total)))
        assert told[-1] == (len(CONTENT), len(CONTENT))
        assert [done for done, _ in told] == sorted(done for done, _ in told)

    def test_comes_from_the_next_source_if_the_first_has_it_not(self, web, cache, tmp_path):
        sources = (f"{web.root}/not.h5ad", (tmp_path / "no.h5ad").as_uri(), web.put("d.h5ad", CONTENT))
        assert fetch.file("it", sources, (SHA256,), cache, pace=QUICK)[1] == SHA256
        with pytest.raises(FetchError, match=r"none of its 2 sources:\n.*404.*\n.*No such file"):
            fetch.file("it", sources[:2], ("0" * 64,), cache, pace=QUICK)


class TestFaultsThatPass:
    @pytest.mark.parametrize("faults", [[500, 500], [429], [None, 503, 503], [None, "cut"], [None, "cut", "cut", 500]])
    @pytest.mark.parametrize("ranges", [True, False])
    def test_are_got_over(self, web, cache, faults, ranges):
        web.ranges = ranges
        web.faults.extend(faults)
        assert pull(web.put("d.h5ad", CONTENT), cache)[1] == SHA256

    def test_each_part_goes_on_where_it_was_cut(self, web, cache):
        """A server that ends every answer after 80 KiB is asked for what comes after that, as often as need be."""
        web.always = "sip"
        web.faults.append(None)
        _, digest, _ = pull(web.put("d.h5ad", CONTENT), cache, pace=Pace(chunk=1 << 19, threads=2, pause=0.001))
        assert digest == SHA256
        assert web.sent < 1.5 * len(CONTENT)

    def test_a_file_that_changes_midway_is_begun_anew(self, web, cache):
        web.faults.extend([None, None, None, "changed"])
        assert pull(web.put("d.h5ad", CONTENT), cache)[1] == hashlib.sha256(CONTENT[::-1]).hexdigest()

    def test_a_file_that_changes_each_time_is_given_up(self, web, cache):
        web.always = "changed"
        with pytest.raises(FetchError, match="it changed each time while it was read"):
            pull(web.put("d.h5ad", CONTENT), cache)
        assert kept(cache) == []


class TestFaultsThatStay:
    @pytest.mark.parametrize(
        ("fault", "words", "hint"),
        [
            (403, "the server answers: 403 Forbidden", "needs rights"),
            (404, "the server answers: 404 Not Found", "Check the address"),
            ("circle", "redirects in a circle", "Check the address"),
            (500, "the server answers: 500", "Try again later"),
            (429, "the server answers: 429", "Try again later"),
        ],
    )
    def test_name_dataset_address_and_cause_and_leave_nothing(self, web, cache, fault, words, hint):
        web.always = fault
        address = web.put("d.h5ad", CONTENT)
        with pytest.raises(FetchError, match=f"dataset 'd': {address}: .*{words}") as caught:
            pull(address, cache)
        assert hint in caught.value.hint
        assert len(web.asked) == (
            QUICK.attempts if isinstance(fault, int) and fault not in (403, 404) else len(web.asked)
        )
        assert not (cache.root / "files").exists()

    @pytest.mark.parametrize("status", [403, 404])
    def test_that_are_an_answer_are_not_asked_twice(self, web, cache, status):
        web.always = status
        with pytest.raises(FetchError):
            pull(web.put("d.h5ad", CONTENT), cache)
        assert len(web.asked) == 1

    def test_a_server_that_is_not_there(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        web.close()
        with pytest.raises(FetchError, match=r"the connection failed: .*Connection refused"):
            pull(address, cache)

    def test_a_server_that_falls_silent(self, web, tmp_path):
        web.faults.append(None)
        web.always = "silent"
        began = time.monotonic()
        source, part = Https(connect=1, stall=0.2), tmp_path / "it.part"
        with pytest.raises(Exception, match=r"gone silent for 0\.2 s"):
            download.download(source, web.put("d.h5ad", CONTENT), part, pace=QUICK)
        assert time.monotonic() - began < 3

    def test_a_length_that_is_never_reached(self, web, cache):
        web.ranges, web.always = False, "too long"
        with pytest.raises(FetchError, match=r"the connection failed|bytes early"):
            pull(web.put("d.h5ad", CONTENT), cache)
        assert kept(cache) == []

    @pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>Log in</html>", b"\n <html><body>Not found"])
    def test_a_web_page_in_its_place(self, web, cache, page):
        with pytest.raises(FetchError, match="what came has the form of a web page"):
            pull(web.put("d.h5ad", page), cache)
        assert not (cache.root / "files").exists()

    def test_an_empty_file(self, web, cache):
        with pytest.raises(FetchError, match="it is empty"):
            pull(web.put("d.h5ad", b""), cache)

    def test_another_size_than_the_catalogue_says_is_seen_before_anything_is_read(self, web, cache):
        with pytest.raises(FetchError, match="it has 1,048,576 bytes, and the catalogue says 1,000"):
            pull(web.put("d.h5ad", CONTENT), cache, size=1000)
        assert web.sent <= 1

    def test_a_wrong_checksum_leaves_nothing(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        with pytest.raises(FetchError, match=f"what came has SHA-256 {SHA256}, the catalogue says 0000"):
            pull(address, cache, "0" * 64)
        assert [path for path in cache.root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
        assert pull(address, cache, SHA256)[1] == SHA256

    def test_what_does_not_fit_on_the_disk_is_not_begun(self, web, small_disk):
        cache = Cache(small_disk / "cache")
        with pytest.raises(StorageError, match="No space left on device") as caught:
            pull(web.put("d.h5ad", CONTENT), cache)
        assert "CELLGAUGE_CACHE" in caught.value.hint
        assert web.sent <= 1

    def test_a_disk_that_fills_up_midway(self, web, small_disk):
        """Its size is not told before; and what is freed then is enough for the next time."""
        web.ranges = web.lengths = False
        (small_disk / "fill").write_bytes(b"x" * (30 << 10))
        cache, address = Cache(small_disk / "cache"), web.put("d.h5ad", CONTENT[: 40 << 10])
        with pytest.raises(StorageError, match=r"\.part: No space left on device"):
            pull(address, cache)
        (small_disk / "fill").unlink()
        assert pull(address, cache)[0].read_bytes() == CONTENT[: 40 << 10]

    def test_a_disk_that_others_fill_meanwhile(self, web, small_disk):
        """What had come by then stays, and is not asked for again."""
        cache, content = Cache(small_disk / "cache"), CONTENT[: 40 << 10]
        address, pace = web.put("d.h5ad", content), Pace(chunk=4 << 10, threads=1)
        web.pause = 0.1

        def report(done, total):
            if done and not (small_disk / "fill").exists():
                with suppress(OSError):
                    (small_disk / "fill").write_bytes(b"x" * (64 << 10))

        with pytest.raises(StorageError, match=r"No space left on device"):
            pull(address, cache, report=report, pace=pace)
        (small_disk / "fill").unlink()
        web.pause = 0.0
        assert pull(address, cache, pace=pace)[0].read_bytes() == content
        assert web.sent < len(content) + (12 << 10)
