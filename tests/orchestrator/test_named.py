"""Runs and jobs by the beginning of their ids."""

import pytest

from cellgauge import named
from cellgauge.errors import UnknownNameError, UsageError


@pytest.fixture
def runs(store):
    """Two runs, told apart by their last character, and one whose id begins as the others' do and is shorter."""
    for name in ("20260101-a", "20260101-aa", "20260101-ab"):
        (store.root / "runs" / f"{name}.json").touch()
    return store


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("20260101-ab", "20260101-ab"),
        ("20260101-a", "20260101-a"),  # a whole id is meant, though others begin so
        ("latest", "20260101-ab"),
        ("2027", None),
    ],
)
def test_a_run_by_its_id_or_the_beginning_of_it(runs, name, found):
    assert named.run_id(name, runs) == found


def test_a_beginning_that_several_share_names_them(runs):
    with pytest.raises(UsageError, match="3 runs begin with '2026'") as caught:
        named.run_id("2026", runs)
    assert "20260101-aa, 20260101-ab" in caught.value.hint


def test_of_no_run_the_latest_is_none_and_says_what_to_do(store):
    assert named.run_id("latest", store) is None
    with pytest.raises(UsageError, match="there are no results") as caught:
        named.run("latest", store)
    assert "cellgauge run" in caught.value.hint


def test_a_run_that_is_not_there_names_those_that_are(runs):
    with pytest.raises(UnknownNameError, match="no run named '2027'") as caught:
        named.run("2027", runs)
    assert "20260101-ab" in caught.value.hint


def test_a_job_that_runs_or_ran_by_the_beginning_of_its_id(store):
    (store.job_folder("abcd")).mkdir(parents=True)
    with store.workspace("abce"):
        assert [named.job_id(name, store) for name in ("abcd", "abce", "ff")] == ["abcd", "abce", None]
        assert named.job_id("ff", store, running=["ffee"]) == "ffee"
        with pytest.raises(UsageError, match="2 jobs begin with 'abc'"):
            named.job_id("abc", store)
