"""Scores in processes of their own, beside the loop over jobs; one that dies takes one result with it, not the run."""

import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from cellgauge import accelerator

DIED = "the scoring process died; the kernel kills the largest where memory runs out"
STOPPED = "stopped on request"

Then = Callable[[Any, str], None]


class Scorers:
    """Runs functions in `workers` processes, made when first needed.

    Where a process dies, nobody can tell which of the functions that ran killed it. So all of them are tried again,
    one at a time, and the one at which it happens again is given up.
    """

    def __init__(self, workers: int, device: str = accelerator.HERE) -> None:
        self._workers, self._device = workers, device
        self._pool: Executor | None = None
        self._alone: Executor | None = None
        self._suspects: deque[tuple[Callable[[], Any], Then]] = deque()
        self._ends: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._others: set[BaseProcess] | None = None
        """Children of this process from before there were any of ours."""

    def submit(self, function: Callable[[], Any], then: Then) -> None:
        """Call `function` in a process, and `then(value, "")` or `then(None, reason)` in some thread of this one."""
        function = functools.partial(accelerator.on, self._device, function)
        with self._lock:
            if self._others is None:
                self._others = set(multiprocessing.active_children())
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="scores", daemon=True)
                self._listener.start()
            self._pool, future = _submitted(self._pool, self._workers, function)
        self._hear(future, functools.partial(self._ended, function, then))

    def _hear(self, future: "Future[Any]", ended: Callable[["Future[Any]"], None]) -> None:
        # A broken pool calls back while it holds a lock that submitting to it, or dropping it, wants too (from Python
        # 3.12 on), so nothing is done there but to take note.
        future.add_done_callback(lambda done: self._ends.put(functools.partial(ended, done)))

    def _listen(self) -> None:
        for ended in iter(self._ends.get, None):
            ended()

    # --- in the thread that listens -----------------------------------------------------------------------------------

    def _ended(self, function: Callable[[], Any], then: Then, done: "Future[Any]") -> None:
        if done.cancelled():
            then(None, STOPPED)
        elif isinstance(problem := done.exception(), BrokenExecutor):
            self._suspects.append((function, then))
            if len(self._suspects) == 1:
                self._next_suspect()
        elif problem is not None:
            then(None, f"{type(problem).__name__}: {problem}")
        else:
            then(done.result(), "")

    def _next_suspect(self) -> None:
        with self._lock:
            if not self._closed:
                self._alone, future = _submitted(self._alone, 1, self._suspects[0][0])
                self._hear(future, self._ended_alone)
                return
        while self._suspects:
            self._suspects.popleft()[1](None, STOPPED)

    def _ended_alone(self, done: "Future[Any]") -> None:
        function, then = self._suspects.popleft()
        if not done.cancelled() and isinstance(done.exception(), BrokenExecutor):
            then(None, DIED)
        else:
            self._ended(function, then, done)
        if self._suspects:
            self._next_suspect()

    # ------------------------------------------------------------------------------------------------------------------

    def close(self, *, at_once: bool = False) -> None:
        """Drop what waits, and end the processes when what runs is done, or at once; by then all is answered."""
        with self._lock:
            self._closed = True
        if at_once and self._others is not None:
            for process in set(multiprocessing.active_children()) - self._others:
                process.kill()
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        if self._listener is not None:
            self._ends.put(None)
            self._listener.join()


class Here(Scorers):
    """Runs functions in this very process, at once: for so little that starting another would take longer."""

    def __init__(self, device: str = accelerator.HERE) -> None:
        super().__init__(1, device)

    def submit(self, function: Callable[[], Any], then: Then) -> None:
        try:
            value = accelerator.on(self._device, function)
        except Exception as problem:
            then(None, f"{type(problem).__name__}: {problem}")
        else:
            then(value, "")


def _submitted(pool: Executor | None, workers: int, function: Callable[[], Any]) -> "tuple[Executor, Future[Any]]":
    """Submit to a pool, or to a new one where there is none that works."""
    if pool is not None:
        with suppress(BrokenExecutor):
            return pool, pool.submit(function)
    pool = _processes(workers)
    return pool, pool.submit(function)


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
