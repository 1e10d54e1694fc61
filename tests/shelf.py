"""What tests of the cache put into it, as it would lie there after other processes used it."""

import hashlib
import os
import time

from cellgauge import owner
from cellgauge.data.cache import seal

CONTENT = b"cells" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def keep(cache, content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    part = cache.partial(digest[:8])
    part.write_bytes(content)
    return cache.keep(part, digest)


def view(cache, name, size=100_000, seconds_ago=0):
    """A view as `view.write` leaves it, used so long ago by a process that is gone."""
    path = cache.root / "views" / name / "view.h5ad"
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(size))
    path.with_name("seal").write_text(" ".join(map(str, [*seal.stamp(path), seal.checksum(path)])))
    used(cache, "views", name, dead(), seconds_ago)
    return path


def used(cache, kind, name, token, seconds_ago=0):
    marker = cache.root / "uses" / kind / name / token
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    then = time.time() - seconds_ago
    os.utime(marker, (then, then))


def dead(**changes):
    fields = {**vars(owner.me()), "pid": 2**22 + 1, **changes}
    return owner.Owner(**fields).token


def names(entries):
    return [one.name for one in entries]


def edit(path, content=b"other", **times):
    """Write into a file as an editor would, or so that its times look as they were."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    if times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def reachable(folder):
    """Let other users enter the folders above one, which pytest makes for its user alone."""
    folder.parent.chmod(0o777)
    for above in folder.parents:
        if above.stat().st_uid == os.getuid() and above.name.startswith("pytest-"):
            above.chmod(above.stat().st_mode | 0o055)
