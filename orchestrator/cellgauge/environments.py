"""Keeps what is installed where models ran: each list of packages once, and which list an image has."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cellgauge.disk import explained
from cellgauge.specs import identity
from cellgauge_model.contract import write_atomically


def keep(folder: Path, image: str, ask: Callable[[str], Sequence[str]], make: Callable[[Path], None]) -> str:
    """Keep what is installed in an image, and return the hash that names the list; empty if there is none.

    Parameters
    ----------
    ask
        Tells what is installed in an image; called once an image.
    make
        Makes the folder.
    """
    known = folder / f"{identity(image)}.image"
    with explained(folder):
        if known.exists():
            return known.read_text().strip()
        make(folder)
        packages = ask(image)
        name = identity(list(packages)) if packages else ""
        if name and not (folder / f"{name}.txt").exists():
            write_atomically(folder / f"{name}.txt", "".join(f"{line}\n" for line in packages))
        write_atomically(known, f"{name}\n")
    return name
