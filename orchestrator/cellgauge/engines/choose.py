"""Picks an engine by name; `auto` takes Docker where it answers and says why not where it does not."""

from cellgauge.engines.launch import Engine
from cellgauge.errors import EngineError


def choose(name: str, *, insist: bool = False) -> tuple[Engine, str]:
    """Return an engine that works, and a sentence on which and why.

    Parameters
    ----------
    name
        `docker`, `local` or `auto`.
    insist
        True where somebody named a Docker engine: then `auto` does not turn to another one.

    Raises
    ------
    EngineError
        If the named engine cannot run anything.
    """
    from cellgauge.engines.local import LocalEngine

    local = LocalEngine()
    if name == "local":
        return local, f"local engine ({local.check()}), as asked: models run as processes, not sealed off"
    try:
        from cellgauge.engines.docker import DockerEngine

        docker = DockerEngine()
        version = docker.check()
    except EngineError as problem:
        if name == "docker" or insist:
            raise
        return local, f"local engine, because {problem.message}: models run as processes, not sealed off"
    return docker, f"docker engine ({version}): every model sealed in its own container"


def every(name: str) -> list[Engine]:
    """Return the engines that a name may stand for, whether they answer or not."""
    from cellgauge.engines.docker import DockerEngine
    from cellgauge.engines.local import LocalEngine

    found: list[Engine] = [LocalEngine()] if name in ("auto", "local") else []
    return [*found, DockerEngine()] if name in ("auto", "docker") else found
