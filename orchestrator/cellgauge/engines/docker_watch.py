"""Looks after one container: hears its log, keeps its limits, stops it, and tells how it ended."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker.errors
import requests.exceptions

from cellgauge.engines.docker_client import AWAY, UNREACHABLE
from cellgauge.engines.launch import GRACE, Cancel, Exit, Launch
from cellgauge.engines.log import Lines, Log
from cellgauge.engines.quota import Quota
from cellgauge.errors import EngineError
from cellgauge.specs import Used

PACE = 0.2
"""Seconds between looks at the clock and at `cancel`."""
SAMPLE_PACE = 2.0
KILLED = (130, 137, 143)
"""Exit codes of SIGINT, SIGKILL and SIGTERM, which may have come from outside."""


class Watch:
    """One container, from before its start to its end."""

    def __init__(self, container: Any, launch: Launch, cancel: Cancel, log: Log) -> None:
        self._container, self._launch, self._cancel, self._log = container, launch, cancel, log
        self._began = time.time()
        self._quota = Quota(launch)
        self._sample_at = time.monotonic() + SAMPLE_PACE / 4
        self._used = Used()
        self._lost = False
        self._pid: int | None = None
        self._listen()

    def _listen(self) -> None:
        stream = self._container.attach(stream=True, stdout=True, stderr=True, demux=True)
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: Any) -> None:
        lines = Lines(self._log)
        with suppress(*UNREACHABLE, ValueError):  # the engine went away; or the log is closed, since nobody waits
            for out, err in stream:
                lines.write("out", out or b"")
                lines.write("err", err or b"")
        with suppress(*UNREACHABLE, ValueError):
            lines.flush()
        with suppress(*UNREACHABLE):
            stream._response.close()  # docker-py's own `close` leaves the socket to the garbage collector

    def until_the_end(self) -> Exit:
        """Wait for the end, or bring it about where a limit is reached or somebody wishes it.

        Raises
        ------
        EngineError
            If the container was ended by somebody else, or the engine went away.
        """
        deadline = time.monotonic() + self._launch.limits.time
        while True:
            self._reader.join(PACE)
            if why := self._why_stop(deadline):
                self._stop()
                break
            self._sample()
            # Its streams end with it, as a rule; a program may also close them and go on.
            if not self._reader.is_alive() and not self._runs():
                break
        self._reader.join(GRACE)
        state = self._state()
        code = int(state["ExitCode"])
        if not why and not state["OOMKilled"]:
            self._refuse_other_hands(code)
            why = ["disk_full"] if self._quota.exceeded() else []
        return Exit(code=code, oom_killed=bool(state["OOMKilled"]), used=self._used, **dict.fromkeys(why, True))

    def _why_stop(self, deadline: float) -> list[str]:
        now = time.monotonic()
        if self._cancel.asked:
            return ["cancelled"]
        if now >= deadline:
            return ["timed_out"]
        return ["disk_full"] if self._quota.due and self._quota.exceeded(self._process()) else []

    def _process(self) -> int | None:
        """Name the container's first process, where it is one of this machine."""
        if self._pid is None:
            pid = int(self._state()["Pid"])
            with suppress(OSError):
                if self._container.id in Path(f"/proc/{pid}/cgroup").read_text():
                    self._pid = pid
        return self._pid

    def _runs(self) -> bool:
        with suppress(requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
            # docker-py raises ConnectionError on this time-out, not the documented ReadTimeout, and so does an engine
            # that goes away (docker/docker-py#1966). `_state` tells the two apart.
            self._container.client.api.wait(self._container.id, timeout=1)
        runs = self._state()["Status"] in ("running", "created", "restarting", "paused")
        if runs and self._lost:
            self._lost = False
            self._log.write(b"\n[the engine was away; what was said meanwhile is lost]\n")
            self._listen()
        return runs

    def _state(self) -> dict[str, Any]:
        """Ask for the container's state, waiting for an engine that is being restarted."""
        patience = time.monotonic() + AWAY
        while True:
            try:
                self._container.reload()
                return dict(self._container.attrs["State"])
            except docker.errors.NotFound as problem:
                raise EngineError("the container was removed by somebody else", phase="run") from problem
            except UNREACHABLE:
                self._lost = True
                if self._cancel.asked:  # then nobody waits for it to come back; `clean` does the rest
                    patience = min(patience, time.monotonic() + GRACE)
                if time.monotonic() > patience or self._cancel.hurry:
                    raise
                time.sleep(0.5)

    def _refuse_other_hands(self, code: int) -> None:
        """Raise if it was not the model that ended: then it is no word on the model."""
        if self._lost and code != 0:
            raise EngineError("the Docker engine was stopped while the model ran", "It is tried again.", phase="run")
        if code in KILLED and self._signalled():
            reason = "the container was ended from outside: by `docker stop`, `docker kill`, or the engine's own end"
            raise EngineError(reason, "It is tried again.", phase="run")

    def _signalled(self) -> bool:
        told = {"container": self._container.id, "event": "kill"}
        until = int(time.time()) + 1
        events = self._container.client.events(since=int(self._began), until=until, filters=told, decode=True)
        return bool(list(events))  # all of them: the connection is closed after the last

    def _stop(self) -> None:
        """Send SIGTERM, and SIGKILL after the grace, or at once for somebody in a hurry; then see it gone."""
        self._signal("SIGTERM")
        patience = time.monotonic() + GRACE
        while time.monotonic() < patience and not self._cancel.hurry:
            self._reader.join(PACE)
            if not self._reader.is_alive() and self._state()["Status"] != "running":
                return
        self._signal("SIGKILL")
        with suppress(requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
            self._container.client.api.wait(self._container.id, timeout=2 * GRACE)
        if self._state()["Status"] == "running":
            hint = (
                "A process that waits for a device or a network file system may do so. Reboot, or see the kernel log."
            )
            raise EngineError("the container cannot be killed", hint, lasting=True, phase="run")

    def _signal(self, name: str) -> None:
        with suppress(docker.errors.APIError):  # it has ended
            self._container.kill(signal=name)

    def _sample(self) -> None:
        if time.monotonic() < self._sample_at:
            return
        self._sample_at = time.monotonic() + SAMPLE_PACE
        with suppress(*UNREACHABLE, KeyError):
            told = self._container.stats(stream=False, one_shot=True)
            memory = told["memory_stats"]["stats"]
            resident = int(memory.get("anon", memory.get("total_rss", 0)))  # cgroup v2, v1
            seconds = told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
            self._used = Used(cpu_seconds=round(seconds, 3), peak_memory=max(resident, self._used.peak_memory or 0))
