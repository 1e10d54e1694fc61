import pytest

from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs import Changes, Limits, Resources, relaxations


def limits(cells, changes=None, cpus=2, **needs):
    return Limits.of(Resources(**needs), cells, changes or Changes(), cpus)


class TestLimits:
    def test_they_are_the_manifests_and_the_cpus_those_that_are_granted(self):
        found = limits([], memory_mb=100, disk_mb=200, log_mb=3, shm_mb=4, pids=5, time_limit=6, start_limit=7)
        assert found == Limits(memory_mb=100, disk_mb=200, log_mb=3, shm_mb=4, pids=5, time=6, start=7, cpus=2)

    def test_memory_grows_with_the_largest_item_disk_with_all_and_time_with_their_number(self):
        found = limits(
            [10_000, 30_000, 5_000],
            **{"memory_mb": 100, "memory_mb_per_10k_cells": 10, "disk_mb": 200, "disk_mb_per_10k_cells": 20},
            time_limit=60,
        )
        assert (found.memory_mb, found.disk_mb, found.time) == (130, 290, 180)

    def test_a_few_cells_are_counted_exactly(self):
        assert limits([3], memory_mb=100, memory_mb_per_10k_cells=10_000).memory_mb == 103

    def test_what_was_set_for_this_run_counts_before_the_manifest(self):
        changes = Changes(memory_mb=1, cpus=9, pids=3, shm_mb=4, disk_mb=5, log_mb=6, time=7.5, start=8, pull=9)
        found = limits([10_000], changes)
        assert found == Limits(memory_mb=1, cpus=9, pids=3, shm_mb=4, disk_mb=5, log_mb=6, time=7.5, start=8)

    def test_a_time_that_was_set_is_that_of_one_item(self):
        assert limits([1, 1, 1], Changes(time=10)).time == 30


class TestChanges:
    @pytest.mark.parametrize(
        ("text", "fields"),
        [
            ("memory=16GiB", {"memory_mb": 16384}),
            ("memory=16GB", {"memory_mb": 15258}),
            ("memory=500000000", {"memory_mb": 476}),
            ("disk=1TiB", {"disk_mb": 1 << 20}),
            ("shm=1KB", {"shm_mb": 1}),
            ("log=64MiB", {"log_mb": 64}),
            ("cpus=4", {"cpus": 4}),
            ("pids=4096", {"pids": 4096}),
            ("time=90", {"time": 90.0}),
            ("time=1.5h", {"time": 5400.0}),
            ("start=2m", {"start": 120.0}),
            ("pull=2d", {"pull": 172_800.0}),
        ],
    )
    def test_sizes_and_times_come_with_their_units(self, text, fields):
        assert Changes.parse([text]) == Changes(**fields)

    def test_several_at_once_and_the_last_word_counts(self):
        assert Changes.parse(["time=1h", "cpus=2", "time=2h"]) == Changes(time=7200, cpus=2)
        assert Changes.parse([]) == Changes()

    @pytest.mark.parametrize(
        "text",
        [
            "memory",
            "memory=",
            "memory=much",
            "memory=-1GB",
            "memory=0",
            "memory=0GB",
            "cpus=0",
            "cpus=1.5",
            "cpus=-1",
            "pids=x",
            "time=0",
            "time=-1",
            "time=1w",
            "time=1.2.3",
            "time=.",
            "time=inf",
            "time=nan",
            "time=1h30m",
        ],
    )
    def test_what_is_no_value_is_named(self, text):
        with pytest.raises(UsageError, match=f"--limit {text}: '.*' is not a value for") as caught:
            Changes.parse([text])
        assert "memory=16GB" in caught.value.hint

    @pytest.mark.parametrize(("text", "hint"), [("memroy=1GB", "Did you mean 'memory'?"), ("=1", "Known: cpus, disk")])
    def test_an_unknown_limit_comes_with_the_nearest(self, text, hint):
        with pytest.raises(UnknownNameError, match="no limit named") as caught:
            Changes.parse([text])
        assert hint in caught.value.hint


def test_relaxations_come_in_one_order_each_once():
    assert relaxations(["writable-root", "network", "network"]) == ("network", "writable-root")
    with pytest.raises(UnknownNameError, match="no relaxation of the sandbox named 'netwrok'") as caught:
        relaxations(["netwrok"])
    assert "'network'" in caught.value.hint
