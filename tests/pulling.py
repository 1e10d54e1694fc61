"""What tests of downloading have in common: a file of 16 parts, and no patience."""

import hashlib

from cellgauge.data import fetch
from cellgauge.data.patience import Pace

CHUNK = 64 << 10
QUICK = Pace(chunk=CHUNK, threads=4, attempts=4, first=4, pause=0.01, longest=0.02)
CONTENT = bytes(range(256)) * 4096  # 1 MiB: 16 parts
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def pull(address, cache, *sha256s, report=None, pace=QUICK, **more):
    return fetch.file("dataset 'd'", (address,), sha256s, cache, report, pace=pace, **more)


def kept(cache):
    return sorted(path.name for path in (cache.root / "files").rglob("*") if path.is_file())


def begun(cache):
    return sorted(path.suffix for path in (cache.root / "partial").iterdir())
