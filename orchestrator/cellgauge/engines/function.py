"""Runs a model as a call of a function: for tests, for docs, and for measuring our own overhead."""

from collections.abc import Callable

from cellgauge.engines.launch import Cancel, Exit, Launch


class FunctionEngine:
    """An engine whose model is a Python function from a `Launch` to an exit code or an `Exit`."""

    name = "function"

    def __init__(self, function: Callable[[Launch], int | Exit]) -> None:
        self._function = function

    def check(self) -> str:
        return "function"

    def sandbox(self, launch: Launch) -> dict[str, str]:
        return {"isolation": "none: a function call"}

    def run(self, launch: Launch, cancel: Cancel) -> Exit:
        if cancel.asked:
            return Exit(code=None, cancelled=True)
        answer = self._function(launch)
        return answer if isinstance(answer, Exit) else Exit(code=answer)

    def replay(self, launch: Launch) -> tuple[str, ...]:
        return ()

    def packages(self, image: str, cancel: Cancel) -> tuple[str, ...]:
        return ()

    def gpus_in_use(self) -> frozenset[str]:
        return frozenset()

    def sweep(self) -> list[str]:
        return []
