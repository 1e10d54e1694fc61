import pytest

from cellgauge.engines.log import Lines, Log

LIMIT = 1 << 20


@pytest.fixture
def write(tmp_path):
    """Write chunks to a log of 1 MiB, and give what is in it when it is closed."""

    def run(*chunks):
        path = tmp_path / "log.txt"
        with Log(path, 1) as log:
            for chunk in chunks:
                log.write(chunk)
                assert sum(one.stat().st_size for one in tmp_path.iterdir()) <= LIMIT
        assert [one.name for one in tmp_path.iterdir()] == ["log.txt"]
        return path.read_bytes()

    return run


def numbered(size):
    """Lines that are all different, so that one can see which are there."""
    return b"".join(b"line %012d\n" % number for number in range(size // 18))


@pytest.mark.parametrize("size", [0, 1, LIMIT // 2, LIMIT * 3 // 4])
def test_a_small_log_is_unchanged(write, size):
    said = numbered(size)
    assert write(said) == said


@pytest.mark.parametrize("chunk", [1 << 10, 65_536, 100_001, LIMIT // 4 - 1, LIMIT // 4 + 1, LIMIT, 8 * LIMIT])
def test_of_a_large_log_beginning_and_end_are_kept_and_what_is_missing_is_told(write, chunk):
    said = numbered(6 * LIMIT)
    found = write(*(said[start : start + chunk] for start in range(0, len(said), chunk)))
    assert LIMIT // 2 < len(found) <= LIMIT
    head, _, rest = found.partition(b"\n[")
    missing, _, tail = rest.partition(b" bytes of the log are left out here]\n")
    assert said.startswith(head)
    assert len(head) > LIMIT // 3
    assert said.endswith(tail)
    assert len(tail) >= LIMIT // 5
    assert len(head) + int(missing) + len(tail) == len(said)


def test_a_log_just_below_the_limit_is_whole_and_one_above_it_is_not(write):
    for size, whole in ((LIMIT - 1024, True), (LIMIT + 1, False)):
        said = numbered(size)
        found = write(said)
        assert len(found) <= LIMIT
        assert (found == said) is whole


def test_the_beginning_can_be_followed_as_it_comes(tmp_path):
    with Log(tmp_path / "log.txt", 1) as log:
        log.write(b"hello\n")
        assert (tmp_path / "log.txt").read_bytes() == b"hello\n"


def test_closing_twice_is_no_harm(tmp_path):
    log = Log(tmp_path / "log.txt", 1)
    log.write(numbered(3 * LIMIT))
    log.close()
    before = (tmp_path / "log.txt").read_bytes()
    log.close()
    assert (tmp_path / "log.txt").read_bytes() == before


def test_two_streams_cut_no_line_of_each_other(tmp_path):
    said = {"out": [b"out %04d\n" % n for n in range(900)], "err": [b"err %04d\r" % n for n in range(900)]}
    with Log(tmp_path / "log.txt", 1) as log:
        lines = Lines(log)
        for start in range(0, 900 * 9, 1000):
            for stream, all_of_it in said.items():
                lines.write(stream, b"".join(all_of_it)[start : start + 1000])
        lines.write("out", b"last words")
        lines.flush()
    found = (tmp_path / "log.txt").read_bytes()
    assert sorted(found.splitlines(keepends=True)) == sorted([*said["out"], *said["err"], b"last words"])


def test_a_line_without_end_is_not_kept_for_ever(tmp_path):
    with Log(tmp_path / "log.txt", 1) as log:
        Lines(log).write("out", b"x" * 70_000)
        assert (tmp_path / "log.txt").stat().st_size == 70_000
