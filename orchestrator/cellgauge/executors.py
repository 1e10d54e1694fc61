"""Says where the loop over jobs runs: any `concurrent.futures.Executor`, by a short name."""

import os
from concurrent.futures import Executor, ThreadPoolExecutor

from cellgauge.errors import UsageError


def make(name: str) -> Executor:
    """Make an executor from a name such as `threads:4`.

    Raises
    ------
    UsageError
        If the name is not known.
    """
    kind, _, count = name.partition(":")
    if kind != "threads" or not count.isdigit() or int(count) < 1:
        raise UsageError(f"no executor named '{name}'", "Known: threads:N, with N jobs at once.")
    return ThreadPoolExecutor(max_workers=int(count), thread_name_prefix="job")


def cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
