"""The connection to a Docker engine, and its errors in our words."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import docker
import docker.errors
import requests.exceptions

from cellgauge.engines.launch import Cancel
from cellgauge.errors import EngineError, GpuError, Phase

ANSWER = 60.0
"""Seconds that the Docker engine may take to answer."""
UNREACHABLE = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)
AWAY = 90.0
"""Seconds that the engine may be away, being restarted, before a job is given up."""
Answer = TypeVar("Answer")
NO_GPU = re.compile(r"nvidia|device driver|cdi", re.IGNORECASE)


@contextmanager
def translated(doing: str, phase: Phase | None = None) -> Iterator[None]:
    """Turn docker-py's errors into ours."""
    try:
        yield
    except docker.errors.ImageNotFound as problem:
        hint = "Run the same command again: it is built or pulled anew."
        raise EngineError(f"{doing}: {problem.explanation}", hint, lasting=True, phase=phase) from problem
    except docker.errors.APIError as problem:
        reason = problem.explanation or str(problem)
        if phase == "start" and NO_GPU.search(reason):
            hint = "Is the NVIDIA container toolkit installed for this engine? See: cellgauge doctor"
            raise GpuError(f"the engine cannot give a GPU: {reason}", hint, lasting=True, phase=phase) from problem
        wrong = problem.status_code == 400  # what we ask for is refused, and would be again
        raise EngineError(f"{doing}: {reason}", "See the Docker engine's log.", lasting=wrong, phase=phase) from problem
    except UNREACHABLE as problem:
        hint = "Is the engine running? Try: docker info"
        raise EngineError(f"{doing} ({_root(problem)})", hint, phase=phase) from problem


def _root(problem: BaseException) -> str:
    """Find the words that matter below the wrapping of three libraries."""
    text = str(problem)
    while problem.__context__ is not None or problem.__cause__ is not None:
        problem = problem.__cause__ or problem.__context__  # type: ignore[assignment]
        text = getattr(problem, "strerror", None) or text
    return text


@cache
def connect(answer: float = ANSWER) -> docker.DockerClient:
    """Connect to the engine that DOCKER_HOST names, or the default one; once a process."""
    with translated("no Docker engine answers"):
        client = docker.from_env(timeout=answer, max_pool_size=64)
        client.ping()
        return client


def patiently(ask: Callable[[], Answer], cancel: Cancel) -> Answer:
    """Ask an engine that is perhaps being restarted: jobs that are started meanwhile would all fail.

    A ping first would not do: an engine that shuts down still answers on the connections that are open.
    """
    until = time.monotonic() + AWAY
    while True:
        try:
            return ask()
        except requests.exceptions.ConnectionError:
            if cancel.asked or time.monotonic() > until:
                raise
        cancel.sleep(0.5)


def ended(container: Any, cancel: Cancel) -> None:
    """Wait for the end of a container that answers a question: not long, and in steps.

    Raises
    ------
    EngineError
        If it goes on, or somebody wishes to stop.
    """
    until = time.monotonic() + ANSWER
    while not cancel.asked and time.monotonic() < until:
        with suppress(requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):  # the step is over
            container.wait(timeout=1)
            return
        container.reload()  # which tells where it was the engine that went away
    why = "nobody waits for it any more" if cancel.asked else f"it goes on after {ANSWER:g} s"
    raise EngineError(f"the container gives no answer: {why}")
