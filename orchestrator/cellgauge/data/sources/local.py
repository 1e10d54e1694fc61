"""Files on this machine: by their path, or inside an installed Python package."""

import importlib.util
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cellgauge.data.sources import Fault

SCHEMES = ("file", "package")


def source(scheme: str, cellxgene: str) -> "Paths | Packages":
    """Make the source of a scheme."""
    return Paths() if scheme == "file" else Packages()


class Paths:
    """file:///PATH."""

    def path(self, address: str) -> Path:
        parts = urlsplit(address)
        if parts.netloc:
            hint = f"Three slashes: file:///{parts.netloc}{parts.path}, or a plain path."
            raise Fault(f"{address} is no path on this machine", hint)
        return Path(unquote(parts.path))


class Packages:
    """package://PACKAGE/PATH; the package is found without being imported."""

    def path(self, address: str) -> Path:
        parts = urlsplit(address)
        try:
            found = importlib.util.find_spec(parts.netloc)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise Fault(
                f"it lies in the Python package '{parts.netloc}', which is not installed",
                f"Run: pip install {parts.netloc}",
            )
        return Path(found.origin).parent / unquote(parts.path).lstrip("/")
