"""Waits for others without being held up by them: in threads that can be left behind, and with several attempts."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception, sleep_using_event
from tenacity import wait_random_exponential as growing

from cellgauge.data.sources import Fault

TICK = 0.2


@dataclass(frozen=True)
class Pace:
    """How a download goes about it."""

    chunk: int = 16 << 20
    """Bytes of a part."""
    threads: int = 6
    """Parts at once."""
    attempts: int = 8
    """In a row without a byte that was not there before."""
    first: int = 4
    """At the first question, whose answer a person waits for."""
    pause: float = 0.5
    """Seconds before the second attempt, on average; they grow."""
    longest: float = 30.0
    """Seconds of the longest pause."""


def attended(
    works: Sequence[Callable[[threading.Event], None]],
    tick: Callable[[], None],
    gate: AbstractContextManager[Any] | None = None,
) -> None:
    """Do work in threads that nobody has to wait for, so that a silent server never holds up Ctrl-C.

    Parameters
    ----------
    works
        Each is given what tells it to stop.
    tick
        Is called every few moments; what it raises stops them.
    gate
        Held by work that must not go on once this has returned.

    Raises
    ------
    Exception
        The first that one of them ended with; the others are stopped.
    """
    stop, ended = threading.Event(), SimpleQueue[BaseException | None]()

    def run(work: Callable[[threading.Event], None]) -> None:
        try:
            work(stop)
        except BaseException as problem:
            ended.put(problem)
        else:
            ended.put(None)

    try:
        for work in works:
            threading.Thread(target=run, args=(work,), name="download", daemon=True).start()
        for _ in works:
            if (problem := _next(ended, tick)) is not None:
                raise problem
    finally:
        stop.set()
        with gate or nullcontext():  # who writes now has written; nobody will any more
            pass


def _next(ended: "SimpleQueue[BaseException | None]", tick: Callable[[], None]) -> BaseException | None:
    while True:
        tick()
        with suppress(Empty):
            problem = ended.get(timeout=TICK)
            tick()
            return problem


def attempts(
    pace: Pace, stop: threading.Event, most: int, reached: Callable[[], int] = lambda: 0
) -> Iterator[AttemptManager]:
    """Try again after faults that may pass, as long as every few attempts get further.

    Parameters
    ----------
    most
        Attempts in a row that get no further.
    reached
        How far the work is.
    """
    furthest, vain = reached(), 0
    wait = growing(multiplier=pace.pause, max=pace.longest)

    def enough(state: RetryCallState) -> bool:
        nonlocal furthest, vain
        vain = 1 if reached() > furthest else vain + 1
        furthest = max(furthest, reached())
        return vain >= most or stop.is_set()

    def pause(state: RetryCallState) -> float:
        problem = state.outcome.exception() if state.outcome else None
        asked = min(problem.wait, 4 * pace.longest) if isinstance(problem, Fault) else 0.0
        return max(wait(state), asked)

    again = retry_if_exception(lambda problem: isinstance(problem, Fault) and problem.passing)
    return iter(Retrying(stop=enough, wait=pause, retry=again, sleep=sleep_using_event(stop), reraise=True))
