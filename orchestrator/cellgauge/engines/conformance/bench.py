"""Starts the probe program in an engine, and waits no longer for it than a good engine takes."""

import dataclasses
import importlib
import json
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import reduce
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import SkipTest

from cellgauge.engines.launch import GRACE, Cancel, Engine, Exit, Launch
from cellgauge.specs import Limits
from cellgauge_model import contract
from cellgauge_model.contract import Item, RunRequest

PROBE = Path(__file__).parent / "probe"
"""The folder of the probe program: a model like any other, with a Dockerfile and a model.yaml."""
CELLS = ("AAAC", "CCGTT", "GA")


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a start of the probe ended, and what it left."""

    exit: Exit
    launch: Launch
    seconds: float

    @property
    def log(self) -> bytes:
        return self.launch.log.read_bytes()

    def took(self, seconds: float) -> None:
        """Insist that it took no longer."""
        assert self.seconds <= seconds, f"it took {self.seconds:.1f} s, not {seconds:.1f} s"

    def told(self, name: str) -> Any:
        """Read what the probe wrote down."""
        return json.loads((self.launch.output / name).read_text())


class Running:
    """A start of the probe in a thread of its own."""

    def __init__(self, engine: Engine, launch: Launch, slack: float) -> None:
        self.launch, self.cancel = launch, Cancel()
        self._patience = launch.limits.time + GRACE + 6 * slack
        self._began, self._exit = time.monotonic(), Future[Exit]()

        def call() -> None:
            try:
                self._exit.set_result(engine.run(launch, self.cancel))
            except BaseException as problem:  # whoever waits gets it
                self._exit.set_exception(problem)

        Thread(target=call, daemon=True).start()  # an engine that never comes back must not stop the tests' end

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def wait_for(self, name: str) -> None:
        """Wait until a file is in the output."""
        path = self.launch.output / name
        until(lambda: path.exists() or self._exit.done(), self._patience, f"{path} is not there")
        assert path.exists(), f"it ended before it wrote '{name}': {self.end().exit}"

    def end(self) -> Ran:
        """Wait for the end."""
        left = max(1.0, self._patience - self.seconds)
        try:
            exit = self._exit.result(left)
        except TimeoutError:
            raise AssertionError(f"the engine has not come back within {self._patience:g} s") from None
        return Ran(exit, self.launch, self.seconds)


def until(condition: Callable[[], bool], patience: float, otherwise: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"{otherwise} after {patience:g} s"
        time.sleep(0.05)


def make(name: str) -> Engine:
    """Make an engine of what `remake` names."""
    module, _, path = name.partition(":")
    maker: Any = reduce(getattr, path.split("."), importlib.import_module(module))
    engine: Engine = maker()
    return engine


def beats(launch: Launch, *names: str) -> list[str]:
    """List which processes of the probe still show life, which they do ten times a second."""
    paths = {name: launch.output / f"beat {name}" for name in names}
    before = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    time.sleep(0.7)
    return [name for name, path in paths.items() if path.exists() and path.stat().st_size > before[name]]


class Bench:
    """What the tests of an engine share: what it can do, where its probe lies, and how a launch is made."""

    isolates = True
    """It keeps a model from its inputs, the network, and everything of the caller's but the folders of its launch."""
    kills_strays = True
    """It also ends processes that left their session."""
    limits_memory = True
    """It ends a model that takes more than its limit. Its sandbox has `memory` then, and only then."""
    limits_disk = True
    """It ends a model that writes more than its limit. Its sandbox has `disk` then, and only then."""
    replays = True
    """The shell command that it writes for a launch can be run on this machine."""
    has_images = True
    """It runs `Launch.image`, and not `Launch.command`."""
    leaves = True
    """What it starts goes on where its owner is killed, until somebody sweeps."""
    slack = 5.0
    """Seconds that it may take to start a model, and to see and remove it."""
    command: tuple[str, ...] = ("python", "probe.py")
    """`Launch.command`, where the engine needs another one for the probe."""
    folder: Path = PROBE
    """`Launch.folder`, where the engine needs another one for the probe."""

    def image(self) -> str:
        """Name the image of the probe; built of `PROBE`, if the engine has images."""
        return "probe"

    def unstartable(self, launch: Launch) -> Launch:
        """Change a launch so that its program cannot be started."""
        return launch.model_copy(update={"command": ("no-such-program",)})

    def remake(self, engine: Engine) -> str:
        """Name, as `module:callable`, what makes such an engine once more, here or in another process."""
        return f"{type(engine).__module__}:{type(engine).__qualname__}"

    def launch(self, place: Path, do: str, weights: Path | None = None, **limits: float) -> Launch:
        """Make the folders and the request of a launch that does what these words say."""
        job = secrets.token_hex(10)
        input, output, scratch = (place / name for name in ("input", "output", "scratch"))
        for folder in (input, output, scratch):
            folder.mkdir(parents=True)
        (input / "cells.txt").write_text("".join(f"{cell}\n" for cell in CELLS))
        request = RunRequest(1, job, "embed", "default", [Item("first", "cells.txt")], {"do": do})
        contract.write_atomically(input / contract.REQUEST, contract.to_json(request))
        usual = {"memory_mb": 512, "cpus": min(2, os.cpu_count() or 1), "pids": 64, "shm_mb": 16}
        usual |= {"disk_mb": 64, "log_mb": 1, "time": 60, "start": 60}
        return Launch(
            jobs=(job,),
            verb="embed",
            model="probe",
            image=self.image(),
            command=self.command,
            folder=self.folder,
            input=input,
            output=output,
            scratch=scratch,
            weights=weights,
            log=place / "log.txt",
            limits=Limits.model_validate({**usual, **limits}),
        )

    def start(self, engine: Engine, launch: Launch) -> Running:
        return Running(engine, launch, self.slack)

    def run(self, engine: Engine, launch: Launch) -> Ran:
        """Run a launch to its end."""
        return self.start(engine, launch).end()


def needs(able: bool, what: str) -> None:
    """Skip a test of what an engine does not claim to do."""
    if not able:
        raise SkipTest(what)
