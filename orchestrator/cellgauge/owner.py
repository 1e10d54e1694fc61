"""Tells who started a thing, and whether they still live: for containers, processes and folders left by a `kill -9`."""

import functools
import os
import re
import uuid
from dataclasses import astuple, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """One process, named so that no other is taken for it: not after a reboot, not in another container."""

    uid: int
    machine: str
    """Of `/etc/machine-id` and the host's name, since copied systems share the first: eight hexadecimal digits."""
    boot: str
    """Of the kernel's boot id: eight hexadecimal digits."""
    namespace: int
    """Of process ids: in another one the same number is another process."""
    pid: int
    started: int
    """Clock ticks between boot and the process's start."""

    @property
    def token(self) -> str:
        """All of it as one word, fit for a file name, a label and an environment variable."""
        return "~".join(map(str, astuple(self)))

    @classmethod
    def parse(cls, token: str) -> "Owner | None":
        """Read a token; None if it is not one."""
        found = re.fullmatch(r"(\d+)~([0-9a-f]{8})~([0-9a-f]{8})~(\d+)~(\d+)~(\d+)", token)
        if not found:
            return None
        uid, machine, boot, namespace, pid, started = found.groups()
        return cls(int(uid), machine, boot, int(namespace), int(pid), int(started))

    def alive(self) -> bool:
        """Tell whether this process runs; of one that cannot be seen from here, assume so."""
        here = me()
        if self.machine != here.machine:
            return True
        if self.boot != here.boot:
            return False
        return self.namespace != here.namespace or _started(self.pid) == self.started

    def abandoned(self) -> bool:
        """Tell whether what it started is ours to remove: the same user's, and surely dead."""
        return self.uid == os.getuid() and not self.alive()


def me() -> Owner:
    """This process."""
    return _of(os.getpid())  # not cached alone: a forked child is somebody else


@functools.cache
def _of(pid: int) -> Owner:
    machine, boot = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")
    name = machine.read_text().strip() if machine.exists() else ""
    return Owner(
        uid=os.getuid(),
        machine=uuid.uuid5(uuid.NAMESPACE_OID, name + os.uname().nodename).hex[:8],
        boot=boot.read_text().strip()[:8],
        namespace=Path("/proc/self/ns/pid").stat().st_ino,
        pid=pid,
        started=_started(pid) or 0,
    )


def _started(pid: int) -> int | None:
    """Read when a process started, in ticks since boot; None if there is none, or only its corpse."""
    try:
        # The second field is the program's name in parentheses, which may hold blanks and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
