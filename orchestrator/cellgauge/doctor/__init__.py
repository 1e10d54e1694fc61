"""Looks at everything that a run needs of this machine, and says what to do about what is wrong."""

import os
import platform
import resource
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cellgauge import catalog, machine
from cellgauge.doctor import engine, gpu, host
from cellgauge.doctor.finding import Finding, FindingName, Report, softened, warning
from cellgauge.engines import docker_info
from cellgauge.engines.docker_info import DockerInfo
from cellgauge.specs import Spec

__all__ = ["Asked", "Finding", "FindingName", "Report", "examine"]

PATIENCE = 10.0
"""Seconds that a check may take: a dead network disk answers nobody."""
CDI: tuple[Path, ...] = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where CDI specifications lie unless somebody moved them."""
FREE = "Free some space there: `docker system df` tells what images take, `docker image prune` removes unused ones."

T = TypeVar("T")
Check = tuple[FindingName, Callable[[], Finding | Sequence[Finding]]]


class Asked(Spec):
    """What the settings say that the doctor must know."""

    engine: str
    docker_host: str
    results: Path
    cache: Path
    models: tuple[Path, ...]
    """Folders of models."""


def examine(asked: Asked) -> Report:
    """Look at everything; what cannot be looked at is a warning, and the rest goes on."""
    try:
        info: DockerInfo | Exception = within(PATIENCE, lambda: _ask(asked.docker_host or docker_info.DEFAULT))
    except Exception as reason:
        info = reason
    skew = None if isinstance(info, Exception) else (info.time - datetime.now(UTC)).total_seconds()
    sealed = [finding for check in _engine_checks(asked, info) for finding in looked(check)]
    if asked.engine == "local":
        sealed = [softened(finding) for finding in sealed]
    others = [finding for check in _host_checks(asked, skew) for finding in looked(check)]
    found = (*sealed, *others)
    return Report(ok=all(one.state != "problem" for one in found), findings=found)


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do something in a thread that is left behind if it does not come back.

    Raises
    ------
    TimeoutError
        If it does not; otherwise whatever `work` raises.
    """
    done: list[T] = []
    failed: list[Exception] = []

    def go() -> None:
        try:
            done.append(work())
        except Exception as reason:
            failed.append(reason)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return done[0]


def looked(check: Check, patience: float = PATIENCE) -> Sequence[Finding]:
    """Do one check, whatever becomes of it."""
    name, look = check
    try:
        found = within(patience, look)
    except Exception as reason:  # whatever it is, the other checks are worth having
        said = f"{type(reason).__name__}: {reason}"
        return [warning(name, f"could not be checked: {said}", "Look at it yourself; if it is fine, report a bug.")]
    return [found] if isinstance(found, Finding) else found


def _ask(address: str) -> DockerInfo:
    docker_info.probe(address)
    return docker_info.read()


def _engine_checks(asked: Asked, info: DockerInfo | Exception) -> Iterator[Check]:
    where, here = asked.docker_host, os.uname().nodename
    if isinstance(info, Exception):
        reason = info
        yield "engine", lambda: engine.unreachable(asked.engine, where, reason, engine.door(where))
        yield "engine address", lambda: engine.address(where, None, here)
        folders, cgroup, manager = CDI, "", ""  # what is not known is taken to be well
    else:
        answer = info
        yield "engine", lambda: engine.reachable(asked.engine, answer)
        yield "engine address", lambda: engine.address(where, answer, here)
        yield "shared folders", lambda: engine.shared(answer, os.getuid())
        yield "cgroup limits", lambda: engine.limits(answer)
        yield "seccomp", lambda: engine.seccomp(answer)
        yield "image disk", lambda: _images(answer, here)
        folders, cgroup, manager = answer.cdi, answer.cgroup, answer.cgroup_driver
    yield "gpu toolkit", lambda: _way_in(folders, cgroup, manager)


def _images(info: DockerInfo, here: str) -> Sequence[Finding]:
    if info.machine != here:  # its disks are not ours to see
        return ()
    return (host.space("image disk", host.disk(info.images), 20, 2, FREE),)


def _way_in(folders: tuple[Path, ...], cgroup: str, manager: str) -> Sequence[Finding]:
    driver = gpu.driver()
    if not driver.devices:
        return ()
    tools = gpu.toolkit(tuple(dict.fromkeys((*folders, *CDI))))
    return gpu.way_in(driver, tools, folders), gpu.links(gpu.linked(), cgroup, manager)


def _host_checks(asked: Asked, skew: float | None) -> Iterator[Check]:
    results, cache = asked.results, asked.cache
    named = "Free some space, or name another folder with"
    yield "gpu", lambda: gpu.devices(gpu.hardware(), gpu.driver())
    yield "results folder", lambda: host.folder("results folder", results, host.refusal(results), "--results")
    yield "results disk", lambda: host.space("results disk", host.disk(results), 20, 2, f"{named} --results.")
    yield "cache folder", lambda: host.folder("cache folder", cache, host.refusal(cache), "CELLGAUGE_CACHE")
    yield "cache disk", lambda: host.space("cache disk", host.disk(cache), 20, 2, f"{named} CELLGAUGE_CACHE.")
    yield "temporary disk", lambda: _scratch(f"{named} TMPDIR.")
    yield "clock", lambda: host.clock(datetime.now(UTC), skew)
    yield "cpu", lambda: host.processor(machine.cpu_flags(), _needs(asked.models))
    yield "open files", lambda: host.files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield "logout", lambda: host.logout(_logind(), engine.user(), _lingers())
    yield "tasks", lambda: host.tasks(list(catalog.tasks()), list(catalog.broken_tasks().values()))
    yield "versions", lambda: host.installed({"Python": platform.python_version(), **host.versions()})


def _scratch(fix: str) -> Finding:
    return host.space("temporary disk", host.disk(Path(tempfile.gettempdir())), 1, 0, fix)


def _needs(folders: tuple[Path, ...]) -> dict[str, tuple[str, ...]]:
    return {name: model.spec.resources.cpu_features for name, model in catalog.models(folders).items()}


def _logind() -> dict[str, str]:
    return host.logind() if Path("/run/systemd/system").is_dir() else {}


def _lingers() -> bool:
    return (Path("/var/lib/systemd/linger") / engine.user()).exists()
