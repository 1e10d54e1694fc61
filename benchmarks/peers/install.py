"""Makes an environment for each peer that we compare with: `install.py [--into FOLDER] [PEER ...]`.

A peer is a file of exact pins beside this one, `scib.txt` say, and its environment FOLDER/scib. One whose pins are
installed already is left alone. None of them holds CUDA; all together take about 6 GB. Standard library only.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PINS = Path(__file__).parent
PEERS = sorted(path.stem for path in PINS.glob("*.txt"))
FOLDER = PINS.parents[1] / ".cache" / "peers"


def python_of(peer: str, folder: Path = FOLDER) -> Path:
    """Where a peer's Python is, or will be."""
    return folder / peer / "bin" / "python"


def asks(peer: str) -> str:
    """Name the module that asks it. `harmonypy-0` is an older release of the same peer."""
    return f"ask_{peer.removesuffix('-0').replace('-', '_')}"


def install(peer: str, folder: Path = FOLDER) -> Path:
    """Make the environment of one peer unless its pins are in it; give its Python."""
    pins, stamp = PINS / f"{peer}.txt", folder / peer / ".pins"
    digest = f"{hashlib.sha256(pins.read_bytes()).hexdigest()} {sys.version_info[:2]}"
    if stamp.exists() and stamp.read_text() == digest:
        return python_of(peer, folder)
    print(f"peers: installing {peer} (minutes the first time)", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)  # half an environment must not look like a whole one
    venv.create(folder / peer, with_pip=True)
    words = [python_of(peer, folder), "-m", "pip", "install", "-qq", "--no-deps", "--requirement", pins]
    subprocess.run(words, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    if peer == "scib":
        compiled(python_of(peer, folder))
    stamp.write_text(digest)
    return python_of(peer, folder)


def compiled(python: Path) -> None:
    """Make the program that scib computes LISI with: the one in its wheel wants a newer C library than many have."""
    where = [python, "-c", "import importlib.util as of; print(of.find_spec('scib').submodule_search_locations[0])"]
    code = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()) / "knn_graph"
    words = ["g++", "-std=c++11", "-O3", "-o", code / "knn_graph.o", code / "knn_graph.cpp"]
    subprocess.run(words, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"one of {', '.join(PEERS)}; all of them if none")
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER")
    asked = parser.parse_args()
    if unknown := set(asked.peers) - set(PEERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    for peer in asked.peers or PEERS:
        print(install(peer, asked.into))


if __name__ == "__main__":
    main()
