"""Which GPUs the Container Device Interface knows by name: what the files of its folders say."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KIND = "nvidia.com/gpu"
_NAME = re.compile(r"""["']?\bname["']?\s*:\s*["']?([\w/-]+)""")
"""In YAML and in JSON: eight GPUs and their parts are thousands of lines, which a YAML parser reads in seconds."""


def names(folders: Iterable[Path]) -> frozenset[str]:
    """List the names of NVIDIA's devices: indices, UUIDs or both, as their administrator chose."""
    found: set[str] = set()
    for path in (path for folder in folders for path in folder.glob("*.[yj]*")):
        with suppress(OSError):  # it may be root's alone
            text = path.read_text(errors="replace")
            found |= set(_NAME.findall(text)) if KIND in text else set()
    return frozenset(found)
