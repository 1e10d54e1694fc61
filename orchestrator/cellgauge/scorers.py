"""Scores in processes of their own, beside the loop over jobs; one that dies takes one result with it, not the run."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

DIED = "the scoring process died; the kernel kills the largest where memory runs out"


class Scorers:
    """Runs functions in `workers` processes, made when first needed.

    Where a process dies, nobody can tell which of the functions that ran killed it. So all of them are tried again,
    one at a time, and the one at which it happens again is given up.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: Executor | None = None
        self._alone: Executor | None = None
        self._suspects: deque[tuple[Callable[[], Any], Callable[[Any, str], None]]] = deque()
        self._lock = threading.RLock()
        self._closed = False

    def submit(self, function: Callable[[], Any], then: Callable[[Any, str], None]) -> None:
        """Call `function` in a process, and `then(value, "")` or `then(None, reason)` in some thread of this one."""
        with self._lock:
            for _ in range(2):
                self._pool = self._pool or _processes(self._workers)
                try:
                    future = self._pool.submit(function)
                    break
                except BrokenExecutor:
                    self._pool = None
        future.add_done_callback(lambda done: self._ended(done, function, then))

    def _ended(self, done: "Future[Any]", function: Callable[[], Any], then: Callable[[Any, str], None]) -> None:
        if done.cancelled():
            then(None, "stopped on request")
        elif isinstance(problem := done.exception(), BrokenExecutor):
            with self._lock:
                self._pool = None
                self._suspects.append((function, then))
                if len(self._suspects) == 1:
                    self._next_suspect()
        elif problem is not None:
            then(None, f"{type(problem).__name__}: {problem}")
        else:
            then(done.result(), "")

    def _next_suspect(self) -> None:
        function, then = self._suspects[0]
        if self._closed:
            self._suspects.popleft()
            then(None, "stopped on request")
            return
        self._alone = self._alone or _processes(1)

        def ended(done: "Future[Any]") -> None:
            problem = done.exception() if not done.cancelled() else None
            with self._lock:
                self._suspects.popleft()
                if isinstance(problem, BrokenExecutor):
                    self._alone = None
                if self._suspects:
                    threading.Thread(target=self._next_suspect).start()  # not in the thread of a pool that is broken
            then(None if problem or done.cancelled() else done.result(), DIED if problem else "")

        self._alone.submit(function).add_done_callback(ended)

    def close(self) -> None:
        """Drop what waits, and end the processes when what runs is done."""
        self._closed = True
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)


def _processes(workers: int) -> Executor:
    # Not forked: a child would inherit the locks of GPUs, and hold them after this process has ended.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_follow)


def _follow() -> None:
    """End with the process that started this one, also if that is killed; and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
