"""What a hostile model leaves, without a container: folders too deep, files without a name, tiny files that grow."""

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import pytest

from cellgauge import disk, outputs, predictions
from cellgauge.engines import Cancel, Exit
from cellgauge.engines.launch import Launch
from cellgauge.engines.quota import Quota
from cellgauge.errors import ContractViolation
from cellgauge.outcome import ended, log_tail
from cellgauge.specs import Changes, Limits
from cellgauge_model.contract import Condition, Item
from support import as_nobody, made_model, pick_engine

NO_END = 1 << 60
MIB = 1 << 20


@pytest.fixture
def place():
    """A folder that any user may write; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
        disk.remove(Path(name, "job"))


def deepen(folder, levels):
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deeper", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


class TestFoldersTooDeep:
    def test_they_count_as_everything(self, tmp_path):
        deepen(tmp_path, 2000)
        assert disk.used([tmp_path], NO_END) == NO_END + 1
        disk.remove(tmp_path)

    def test_they_are_removed(self, tmp_path):
        deepen(tmp_path, 2000)
        disk.remove(tmp_path)
        assert not tmp_path.exists()

    def test_they_are_not_kept(self, tmp_path):
        (tmp_path / "kept").mkdir()
        deepen(tmp_path / "kept", 5)
        deepen(tmp_path, 2000)
        disk.reclaim(tmp_path)
        assert disk.used([tmp_path], NO_END) < NO_END
        assert len(list((tmp_path / "kept").rglob("bottom"))) == 1
        disk.remove(tmp_path)


def test_a_folder_that_became_a_link_is_not_followed(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(b"x" * MIB)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert disk.used([tmp_path / "link", tmp_path / "large" / "file"], NO_END) == 0


@pytest.mark.parametrize("mode", [0o6755, 0o4755, 0o2755])
def test_what_is_reclaimed_is_open_to_us_and_starts_as_nobody_else(place, mode):
    with as_nobody():
        inner = place / "job" / "closed" / "inner"
        inner.mkdir(parents=True)
        (inner / "program").touch()
        (inner / "program").chmod(mode)
        assert stat.S_IMODE((inner / "program").stat().st_mode) == mode
        (inner / "link").symlink_to("/etc/passwd")
        (inner / "secret").touch()
        (inner / "secret").chmod(0)
        for folder in (inner, inner.parent):
            folder.chmod(0)
        disk.reclaim(place / "job")
        assert stat.S_IMODE((inner / "program").stat().st_mode) == 0o755
        assert stat.S_IMODE((inner / "secret").stat().st_mode) == 0, "a file that cannot be read is the model's fault"
        assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path("/etc/passwd").stat().st_mode) == 0o644


def test_an_output_that_may_not_be_read_breaks_the_contract(place):
    with as_nobody():
        (place / "job").mkdir()
        for name in ("result.json", "embedding.npy"):
            (place / "job" / name).write_text("{}")
            (place / "job" / name).chmod(0)
            with pytest.raises(ContractViolation, match="Permission denied"), outputs.opened(place / "job", name, MIB):
                pass


def test_a_folder_in_the_place_of_a_file_leaves_nothing_open(tmp_path):
    (tmp_path / "result.json").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(ContractViolation, match="not a plain file"), outputs.opened(tmp_path, "result.json", 1):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestFilesWithoutAName:
    HOARD = """
import os, sys
held = open(sys.argv[1], "wb", buffering=0)
os.unlink(sys.argv[1])
held.write(bytes(3 << 20))
print("ready", flush=True)
sys.stdin.read()
"""

    @pytest.fixture
    def hoarder(self, tmp_path):
        """A process of ours, whose child holds 3 MiB."""
        words = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", self.HOARD, str(tmp_path / "gone")]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
            process.stdin.close()

    def test_they_are_measured_while_they_are_held(self, hoarder, tmp_path):
        assert disk.used([tmp_path], NO_END) == 0
        assert 3 * MIB <= disk.held(hoarder, tmp_path, NO_END) < 4 * MIB
        assert disk.held(1 << 30, tmp_path, NO_END) == 0, "of a process that is gone"

    def test_they_count_against_the_limit(self, hoarder, launch):
        assert Quota(launch(2)).exceeded(hoarder)
        assert not Quota(launch(2)).exceeded()
        assert not Quota(launch(4)).exceeded(hoarder)


@pytest.fixture
def launch(tmp_path):
    """A start of a model that may write so many MiB."""

    def made(mebibytes):
        limits = Limits.of(made_model().spec.resources, [], Changes(disk_mb=mebibytes), 1)
        places = {name: tmp_path / name for name in ("folder", "input", "output", "scratch")}
        for path in places.values():
            path.mkdir(exist_ok=True)
        fields = {"jobs": ("j",), "verb": "embed", "model": "m", "image": "i", "command": ("sh", "-c")}
        return Launch(**fields, **places, log=tmp_path / "log.txt", limits=limits)

    return made


class TestLimits:
    def test_a_file_that_was_cut_off_at_the_limit_has_reached_it(self, launch):
        (launch(2).output / "file").write_bytes(bytes(2 * MIB))
        assert Quota(launch(2)).exceeded()
        assert not Quota(launch(3)).exceeded()

    def test_the_next_look_waits_so_many_times_as_long_as_the_last_one_took(self, launch, monkeypatch):
        quota = Quota(launch(2))
        assert not quota.due
        monkeypatch.setattr(disk, "used", lambda folders, most: time.sleep(0.3) or 0)
        quota.exceeded()
        assert 2.5 < quota._next - time.monotonic() < 3.5

    def test_what_a_process_wrote_at_the_very_end_counts_too(self, launch):
        start = launch(1).model_copy(update={"command": (sys.executable, "-c", WRITE_AND_FAIL)})
        end = pick_engine("local").run(start, Cancel())
        assert (end.code, end.disk_full) == (1, True)

    def test_what_a_process_left_closed_is_opened_at_its_end(self, launch):
        start = launch(8).model_copy(update={"command": (sys.executable, "-c", CLOSE)})
        assert pick_engine("local").run(start, Cancel()).code == 0
        assert stat.S_IMODE((start.output / "closed").stat().st_mode) == 0o700
        assert stat.S_IMODE((start.output / "closed" / "program").stat().st_mode) == 0o755

    def test_a_file_that_grew_too_long_breaks_the_contract(self, launch):
        for code in (-25, 153):
            assert ended(Exit(code=code), None, "", launch(1).limits)[0] == "contract_violation"

    def test_a_long_line_is_kept_by_its_beginning_and_its_end(self, tmp_path):
        (tmp_path / "log").write_text("short\nbegins " + "x" * 50_000 + " ends\n")
        short, long = log_tail(tmp_path / "log")
        assert (short, len(long)) == ("short", 1003)
        assert (long[:8], long[-6:]) == ("begins x", "x ends")


WRITE_AND_FAIL = """
import os
for n in range(3):
    open(os.environ["CELLGAUGE_OUTPUT"] + f"/{n}", "wb").write(bytes(1 << 20))
raise SystemExit(1)
"""
CLOSE = """
import os
os.chdir(os.environ["CELLGAUGE_OUTPUT"])
os.mkdir("closed")
open("closed/program", "w").close()
os.chmod("closed/program", 0o4755)
os.chmod("closed", 0)
"""


class TestFilesThatGrow:
    ITEM = Item("item", "item.h5ad", conditions=[Condition("c", n_cells=2)])

    def test_a_header_as_long_as_it_likes_is_not_read(self, tmp_path):
        (tmp_path / "item").mkdir()
        with (tmp_path / "item" / "embedding.npy").open("wb") as file:
            file.write(b"\x93NUMPY\x02\x00" + (NO_END >> 29).to_bytes(4, "little"))
            file.truncate(8 << 30)  # of which nothing is on the disk
        began = time.monotonic()
        with pytest.raises(ContractViolation, match=r"not an \.npy file"):
            outputs.embedding(tmp_path, "item", ["a"])
        assert time.monotonic() - began < 1

    def refused(self, folder, fill, words):
        (folder / "item").mkdir()
        with h5py.File(folder / "item" / "prediction.h5ad", "w") as file:
            fill(file)
        began = time.monotonic()
        with pytest.raises(ContractViolation, match=words):
            predictions.check(folder, self.ITEM, ["G1", "G2"])
        assert time.monotonic() - began < 10
        assert (folder / "item" / "prediction.h5ad").stat().st_size < 10 * MIB

    def test_a_matrix_without_content_is_not_filled_in(self, tmp_path):
        make = lambda file: file.create_dataset("X", (1 << 20, 1 << 13), "float32", chunks=(1024, 1024))  # noqa: E731
        self.refused(tmp_path, make, "far more than was asked for, from /X on")

    def test_many_such_are_not_either(self, tmp_path):
        def make(file):
            for number in range(100):
                file.create_dataset(f"layers/{number}", (1 << 10, 1 << 10), "float32", chunks=(64, 64))

        self.refused(tmp_path, make, "far more than was asked for")

    def test_a_group_that_holds_itself_has_an_end(self, tmp_path):
        def make(file):
            group = file.create_group("uns")
            group["again"] = group

        self.refused(tmp_path, make, "far more than was asked for")

    def test_groups_that_share_groups_have_an_end(self, tmp_path):
        def make(file):
            below = file.create_group("g40")
            for level in range(40):
                above = file.create_group(f"g{level}x")
                above["left"] = above["right"] = below
                below = above

        self.refused(tmp_path, make, "far more than was asked for")

    def test_what_is_asked_for_has_room_however_large(self, tmp_path):
        item = Item("item", "i", conditions=[Condition("c", n_cells=1 << 20)])
        with h5py.File(tmp_path / "prediction.h5ad", "w") as file:
            file.create_dataset("X", (1 << 20, 1000), "float32", chunks=(1024, 1000))
            predictions._refuse_tricks(file, item, ["G"] * 1000)
