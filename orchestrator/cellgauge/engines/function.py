"""Runs a job as a call of a function: for tests, for docs, and for measuring our own overhead."""

from collections.abc import Callable
from threading import Event

from cellgauge.engines.launch import Exit, Launch


class FunctionEngine:
    """An engine whose model is a Python function from a `Launch` to an exit code or an `Exit`."""

    name = "function"

    def __init__(self, function: Callable[[Launch], int | Exit]) -> None:
        self.sandbox = {"isolation": "none: a function call"}
        self._function = function

    def check(self) -> str:
        return "function"

    def run(self, launch: Launch, cancel: Event) -> Exit:
        if cancel.is_set():
            return Exit(code=None, cancelled=True)
        answer = self._function(launch)
        return answer if isinstance(answer, Exit) else Exit(code=answer)
