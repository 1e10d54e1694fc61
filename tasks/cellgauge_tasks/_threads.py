"""Works through tasks with the threads that were granted, and always in the same order of sums."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Found = TypeVar("Found")


def granted() -> int:
    """Count the threads that this process may use: those that BLAS was given, and no more than it has cores."""
    from threadpoolctl import threadpool_info

    given = [int(one["num_threads"]) for one in threadpool_info() if one["user_api"] == "blas"]
    said = os.environ.get("OMP_NUM_THREADS", "")
    given += [int(said)] if said.isdigit() and int(said) else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *given]))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have BLAS compute each product with one thread: among several it splits them, and rounds differently."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def each_alone() -> Iterator[Callable[[Callable[[Task], Found], Iterable[Task]], Iterator[Found]]]:
    """Give a `map` whose results come in order, each worked out by one thread; as `in_order`, for many calls."""
    threads = granted()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        yield pool.map if threads > 1 else map


def in_order(function: Callable[[Task], Found], tasks: Iterable[Task]) -> Iterator[Found]:
    """Call a function with each task, several at a time, and give what it returns in the order of the tasks.

    Whoever adds up what comes has the same sum for any number of threads.
    """
    threads = granted()
    with one_thread():
        if threads == 1:
            yield from map(function, tasks)
            return
        with ThreadPoolExecutor(threads) as pool:
            ahead: deque[Future[Found]] = deque()
            for task in tasks:
                ahead.append(pool.submit(function, task))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
