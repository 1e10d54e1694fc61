import signal
import threading
import time
from concurrent.futures import CancelledError

import pytest

from cellgauge.data import fetch
from cellgauge.errors import FetchError
from pulling import CHUNK, CONTENT, QUICK, SHA256, begun, kept, pull
from servers import said, start

PULL = """
import json, sys
from pathlib import Path
from cellgauge.data import fetch
from cellgauge.data.cache import Cache
from cellgauge.data.patience import Pace
address, root, threads = sys.argv[1:]
path, sha256, _ = fetch.file("it", (address,), (), Cache(Path(root)), pace=Pace(chunk=64 << 10, threads=int(threads)))
sys.stdout.write(json.dumps([str(path), sha256]) + "\\n")
"""
TEN = PULL.replace("address,", "import os\nfor _ in range(9):\n    if os.fork() == 0:\n        break\naddress,", 1)


class TestGoingOn:
    def test_a_server_that_went_away_is_asked_for_the_rest_alone(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        web.faults.extend([None] * 9)
        web.always = 503
        with pytest.raises(FetchError, match="503") as caught:
            pull(address, cache)
        assert "goes on where this one stopped" in caught.value.hint
        assert begun(cache) == [".journal", ".part"]
        web.always, sent = None, web.sent
        assert pull(address, cache)[1] == SHA256
        assert web.sent - sent <= len(CONTENT) - 5 * CHUNK + 1, "of 8, those that were on their way may be lost"
        assert begun(cache) == []

    def test_after_kill_9_only_what_is_missing_is_asked_for(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        web.pause = 0.02
        process = start(PULL, address, cache.root, 2)
        (journal,) = _until(
            lambda: [one for one in cache.root.glob("partial/*.journal") if one.read_text().count("\n") > 6]
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there = journal.read_text().count("\n") - 1
        time.sleep(0.1)  # what the dead one had asked for is on its way
        web.pause, sent = 0.0, web.sent
        process = start(PULL, address, cache.root, 2)
        assert said(process)[1] == SHA256
        assert web.sent - sent <= len(CONTENT) - there * CHUNK + 1

    @pytest.mark.parametrize("harm", ["another file", "half a line", "half a file"])
    def test_what_is_there_from_before_is_looked_at(self, web, cache, harm):
        address = web.put("d.h5ad", CONTENT)
        web.faults.extend([None] * 9)
        web.always = 503
        with pytest.raises(FetchError):
            pull(address, cache)
        web.always = None
        (part,), (journal,) = cache.root.glob("partial/*.part"), cache.root.glob("partial/*.journal")
        if harm == "another file":
            web.put("d.h5ad", CONTENT[::-1])
        elif harm == "half a line":
            journal.write_text(journal.read_text() + "1")
        else:
            part.write_bytes(part.read_bytes()[:1000])
        assert pull(address, cache)[0].read_bytes() == web.files["d.h5ad"]

    def test_a_part_that_was_spoilt_on_the_disk_is_fetched_again(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        web.faults.extend([None] * 9)
        web.always = 503
        with pytest.raises(FetchError):
            pull(address, cache, SHA256)
        (part,) = cache.root.glob("partial/*.part")
        part.write_bytes(bytes(len(CONTENT)))
        web.always = None
        assert pull(address, cache, SHA256)[1] == SHA256

    def test_ten_processes_at_once_download_once(self, web, cache):
        address = web.put("d.h5ad", CONTENT)
        lines = said(start(TEN, address, cache.root, 2), lines=10)
        assert {tuple(one) for one in lines} == {(str(cache.holds(SHA256)), SHA256)}
        assert len(web.ranged()) == 16
        assert kept(cache) == [SHA256, f"{SHA256}.seal"]


class TestCtrlC:
    def test_ends_at_once_though_the_server_is_silent(self, web, cache):
        web.faults.append(None)
        web.always = "silent"
        address = web.put("d.h5ad", CONTENT)
        process = start(PULL, address, cache.root, 4)
        _until(lambda: len(web.asked) > 2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode != 0
        assert time.monotonic() - began < 2

    def test_a_caller_who_gives_up_is_not_kept_waiting(self, web, cache):
        """So does the thread that prepares weights, when the run that it works for is stopped."""
        web.pause = 0.1

        def report(done, total):
            if done:
                raise CancelledError("enough")

        with pytest.raises(CancelledError, match="enough"):
            fetch.file("it", (web.put("d.h5ad", CONTENT),), (), cache, report, pace=QUICK)
        _until(lambda: not [one for one in threading.enumerate() if one.name == "download"])
        web.pause = 0.0
        assert pull(f"{web.root}/d.h5ad", cache)[1] == SHA256


def _until(found):
    for _ in range(1000):
        if answer := found():
            return answer
        time.sleep(0.01)
    raise AssertionError("it never came")
