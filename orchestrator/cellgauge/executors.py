"""Says where the loop over jobs runs: any `concurrent.futures.Executor` would do."""

from concurrent.futures import Executor, ThreadPoolExecutor


def threads(count: int) -> Executor:
    """Make threads of this process, so many at once."""
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix="job")
