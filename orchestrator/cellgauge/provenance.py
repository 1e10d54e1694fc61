"""Says which program text made a result: a version number alone does not tell two working copies apart."""

import functools
import hashlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cellgauge
import cellgauge_model
import cellgauge_tasks

LIBRARIES = ("numpy", "scipy", "scikit-learn", "igraph", "numba")
"""That score: another version may give another number."""


@functools.cache
def code() -> str:
    """Hash the Python files of cellgauge, its tasks and its SDK: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for package in (cellgauge, cellgauge_tasks, cellgauge_model):
        top = Path(str(package.__file__)).parent
        for path in sorted(top.rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{package.__name__}/{path.relative_to(top)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries that score, found without importing them."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
