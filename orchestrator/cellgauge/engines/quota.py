"""Keeps what a model writes within its limit, by looking now and then."""

import time

from cellgauge import disk
from cellgauge.engines.launch import Launch

PACE = 1.0
"""Seconds between two looks, at least."""
SHARE = 10
"""A look that took long is followed by a pause so many times as long, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0


class Quota:
    """What one start of a model may write to output and scratch together."""

    def __init__(self, launch: Launch) -> None:
        self._folders = (launch.output, launch.scratch)
        self._most = launch.limits.disk_mb << 20
        self._next = time.monotonic() + PACE

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() >= self._next

    def exceeded(self, process: int | None = None) -> bool:
        """Look whether there is more than allowed.

        Parameters
        ----------
        process
            The model's first one, where it runs: deleted files that it or one below it holds open count too.
        """
        began = time.monotonic()
        found = disk.used(self._folders, self._most)
        if process and found <= self._most:
            found += disk.held(process, self._folders[0], self._most)
        now = time.monotonic()
        self._next = now + min(max(PACE, SHARE * (now - began)), LONGEST_PAUSE)
        return found >= self._most  # a file that was cut off at the limit is just as long
