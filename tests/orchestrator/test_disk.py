import os
import tempfile
from pathlib import Path

import pytest

from cellgauge import disk
from cellgauge.errors import StorageError
from support import as_nobody

NO_END = 1 << 60


@pytest.fixture
def place():
    """A folder that any user may write; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
        disk.remove(Path(name))


class TestUsed:
    def test_what_lies_anywhere_below_is_counted_and_what_is_missing_is_nothing(self, tmp_path):
        (tmp_path / "one" / "deep").mkdir(parents=True)
        (tmp_path / "one" / "deep" / "file").write_bytes(b"x" * 100_000)
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "file").write_bytes(b"x" * 50_000)
        found = disk.used([tmp_path / "one", tmp_path / "two", tmp_path / "none"], NO_END)
        assert 150_000 <= found <= 150_000 + 6 * 4096

    def test_a_file_with_holes_counts_by_what_it_takes(self, tmp_path):
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(1 << 40)
        assert disk.used([tmp_path], NO_END) == 4096

    def test_empty_files_are_not_nothing(self, tmp_path):
        for number in range(300):
            (tmp_path / str(number)).touch()
        assert disk.used([tmp_path], NO_END) == 300 * 4096

    def test_counting_ends_once_it_is_past_the_limit(self, tmp_path):
        for number in range(300):
            (tmp_path / str(number)).touch()
        assert disk.used([tmp_path], 10 * 4096) == 11 * 4096

    def test_links_are_not_followed(self, tmp_path):
        (tmp_path / "large").write_bytes(b"x" * 100_000)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "up").symlink_to(tmp_path)
        (tmp_path / "folder" / "file").symlink_to(tmp_path / "large")
        assert disk.used([tmp_path / "folder"], NO_END) == 2 * 4096

    def test_a_folder_that_cannot_be_read_counts_as_everything(self, place):
        with as_nobody():
            (place / "hidden").mkdir()
            (place / "hidden" / "file").write_text("x")
            (place / "hidden").chmod(0)
            assert disk.used([place], 1 << 40) == (1 << 40) + 1


class TestRemove:
    def test_permissions_do_not_keep_anything_from_being_removed(self, place):
        with as_nobody():
            deep = place / "job" / "a" / "b" / "c"
            deep.mkdir(parents=True)
            for folder in (deep, deep.parent, deep.parent.parent):
                (folder / "file").write_text("x")
                (folder / "file").chmod(0)
                folder.chmod(0)
            (place / "job" / "other").mkdir()
            (place / "job" / "other" / "file").write_text("x")
            (place / "job" / "other").chmod(0o500)
            disk.remove(place / "job")
            assert not os.path.lexists(place / "job")

    def test_a_link_is_removed_and_not_what_it_leads_to(self, place):
        with as_nobody():
            for name in ("outside", "job"):
                (place / name).mkdir()
            (place / "outside" / "file").write_text("x")
            (place / "outside" / "file").chmod(0o400)
            (place / "outside").chmod(0o500)
            (place / "job" / "folder").symlink_to(place / "outside")
            (place / "job" / "file").symlink_to(place / "outside" / "file")
            (place / "job" / "around").symlink_to("..")
            (place / "job").chmod(0o500)
            disk.remove(place / "job")
            assert not (place / "job").exists()
            assert [path.stat().st_mode & 0o777 for path in (place / "outside", place / "outside" / "file")] == [
                0o500,
                0o400,
            ]

    @pytest.mark.parametrize("mode", [0o500, 0o750, 0o777])
    def test_a_folder_that_is_not_there_leaves_what_is_around_it_alone(self, place, mode):
        (place / "around").mkdir()
        (place / "around").chmod(mode)
        disk.remove(place / "around" / "missing")
        assert (place / "around").stat().st_mode & 0o777 == mode

    def test_what_cannot_be_removed_stays_and_so_does_all_around_it(self, place):
        with as_nobody():
            (place / "around" / "job").mkdir(parents=True)
            (place / "around").chmod(0o500)
            disk.remove(place / "around" / "job")
            assert (place / "around").stat().st_mode & 0o777 == 0o500
            assert (place / "around" / "job").exists()

    def test_a_link_in_the_place_of_a_folder_is_not_followed(self, tmp_path):
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "file").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path / "outside")
        disk.remove(tmp_path / "link")
        assert (tmp_path / "outside" / "file").exists()


@pytest.mark.parametrize(
    ("act", "where", "hint"),
    [
        (lambda folder: (folder / "no" / "file").write_text("x"), "no/file", "Check the folder"),
        (lambda folder: os.rename(folder / "a", folder / "no" / "b"), "no/b", "Check the folder"),  # noqa: PTH104
        (lambda folder: Path("/dev/full").write_text("x"), "results", "Free some space"),
    ],
)
def test_what_the_system_says_comes_with_where_and_what_to_do(tmp_path, act, where, hint):
    (tmp_path / "a").touch()
    with pytest.raises(StorageError) as caught, disk.explained(tmp_path / "results", "--there"):
        act(tmp_path)
    assert where in caught.value.message
    assert caught.value.hint.startswith(hint)
    assert caught.value.hint.endswith("another folder with --there.")


class TestPut:
    def test_a_folder_is_there_in_whole_or_not_at_all(self, tmp_path):
        place = tmp_path / "cache" / "abc"
        with disk.put(place) as partial:
            (partial / "file").write_text("x")
            assert not place.exists()
        assert (place / "file").read_text() == "x"
        with pytest.raises(ZeroDivisionError), disk.put(tmp_path / "cache" / "def") as partial:
            (partial / "file").write_text(str(1 / 0))
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["abc"]

    def test_where_somebody_was_faster_theirs_stays(self, tmp_path):
        place = tmp_path / "abc"
        with disk.put(place) as partial:
            (partial / "file").write_text("ours")
            place.mkdir()
            (place / "file").write_text("theirs")
        assert (place / "file").read_text() == "theirs"
        assert [path.name for path in tmp_path.iterdir()] == ["abc"]

    def test_what_cannot_be_put_there_is_an_error(self, tmp_path):
        def put():
            with disk.put(tmp_path / "abc") as partial:
                partial.rmdir()

        with pytest.raises(FileNotFoundError):
            put()
