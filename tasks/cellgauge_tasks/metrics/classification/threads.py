"""Works on several parts at a time, with the same bits whatever the number of threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Part = TypeVar("Part")
Found = TypeVar("Found")


def granted() -> int:
    """Tell how many threads this process may have: as many as whoever started it lets linear algebra have."""
    from threadpoolctl import threadpool_info

    return max([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"], default=1)


@contextmanager
def each_alone() -> Iterator[Callable[[Callable[[Part], Found], Iterable[Part]], Iterator[Found]]]:
    """Give a `map` over parts whose results come in order, each worked out by one thread.

    A product that BLAS shares out among threads may differ in its last bits with their number; parts that do not depend
    on it, each by one thread, do not.
    """
    from threadpoolctl import threadpool_limits

    threads = granted()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield pool.map if threads > 1 else map
