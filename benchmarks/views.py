"""Measures what it costs to show a large dataset to a model, against a plain copy of its file in the same run.

The promise is for 100,000 cells x 30,000 genes of which 10 % are there, uncompressed, from the disk, against a plain
copy, which need not be on the disk when it is done, as a view is. What else there is, a copy that is, a file that lies
in memory already, gzip, and genes that are left out, is measured and told too.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anndata
import h5py
import numpy as np
import pandas as pd

Row = tuple[str, str, str, bool]
"""What, measured, promised, kept."""
CELLS, GENES, DENSITY, ROUNDS = 100_000, 30_000, 0.1, 3
TIMES, MEMORY = 1.5, 500
SHOW = """
import json, resource, sys, time
from pathlib import Path
from cellgauge.data import view
from cellgauge.data.cache import Cache
from cellgauge.specs import Dataset, View
import anndata, h5py, scipy.sparse, pandas  # not what is measured
told = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
view.write(Dataset.model_validate(told[0]), View.model_validate(told[1]), Cache(Path(sys.argv[2])))
took = time.perf_counter() - began
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def make(path: Path, *, compression: str | None = None, cells: int = CELLS) -> None:
    """Write a made dataset as anndata does, a thousand cells at a time."""
    random = np.random.default_rng(0)
    kinds = pd.Categorical.from_codes(np.arange(cells) % 20, [f"type {n}" for n in range(20)])
    obs = pd.DataFrame({"cell_type": kinds}, index=[f"barcode{n}" for n in range(cells)])
    # Every tenth gene has no Ensembl id.
    var = pd.DataFrame(
        {"ensembl": [f"ENSG{n:011}" if n % 10 else None for n in range(GENES)]}, index=[f"G{n}" for n in range(GENES)]
    )
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    sizes = random.binomial(GENES, DENSITY, cells)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    with h5py.File(path, "r+") as file:
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [cells, GENES]})
        matrix["indptr"] = bounds.astype("int32")
        blocks = [(first, min(first + 1000, cells)) for first in range(0, cells, 1000)]
        for name, kind in (("data", "f4"), ("indices", "i4")):  # one behind the other, as anndata puts them
            how = {"shape": (int(bounds[-1]),), "maxshape": (None,), "compression": compression}
            array = matrix.create_dataset(name, dtype=kind, **how)
            for first, end in blocks:
                low, high = bounds[first], bounds[end]
                if name == "data":
                    array[low:high] = random.geometric(0.6, high - low)
                else:
                    array[low:high] = np.concatenate([np.flatnonzero(_chosen(random, n)) for n in sizes[first:end]])


def _chosen(random: np.random.Generator, size: int) -> np.ndarray:
    """Choose exactly so many genes."""
    drawn = random.random(GENES, dtype="float32")
    chosen = np.zeros(GENES, dtype=bool)
    chosen[np.argpartition(drawn, size)[:size]] = True
    return chosen


def told(path: Path, gene_ids: str) -> str:
    """What the other process needs to know: a dataset that is checked, as it is before any view is made of it."""
    from cellgauge.data import check
    from cellgauge.data.cache.seal import stamp
    from cellgauge.specs import DatasetSpec, View

    spec = DatasetSpec(
        name="large",
        source=path.as_uri(),
        organism="Homo sapiens",
        gene_ids="symbol",
        gene_columns={"ensembl": "ensembl"},
        obs={"cell_type": "cell_type"},
    )
    digest = "0" * 64
    dataset = check.check(spec, path, digest, stamp(path))
    fields = {"matrix": spec.matrix, "gene_index": "symbol", "gene_columns": spec.gene_columns, "gene_ids": gene_ids}
    shown = View(sha256=digest, obs={}, **fields)
    return json.dumps([dataset.model_dump(mode="json"), shown.model_dump(mode="json")])


def forget(path: Path) -> None:
    """Have a file come from the disk when it is read next."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def show(wanted: str, folder: Path, ready: Callable[[], None]) -> tuple[float, float]:
    """Make a view in another process; seconds and the most memory it had, MiB.

    Parameters
    ----------
    ready
        Called when that process waits for nothing else.
    """
    cache = folder / "cache"
    command = [sys.executable, "-c", SHOW, wanted, str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        ready()
        output, _ = process.communicate("go\n")
    assert process.returncode == 0
    shutil.rmtree(cache)
    took, memory = json.loads(output)
    return took, memory


def copied(path: Path, folder: Path, *, kept: bool) -> float:
    """Copy a file; `kept`: until it is on the disk, as a view is."""
    target = folder / "copy"
    began = time.perf_counter()
    shutil.copyfile(path, target)
    if kept:
        handle = os.open(target, os.O_RDWR)
        os.fsync(handle)
        os.close(handle)
    took = time.perf_counter() - began
    target.unlink()
    return took


class Compared(NamedTuple):
    """A view against copies of the uncompressed file, seconds; memory in MiB."""

    view: list[float]
    copy: list[float]
    kept: list[float]
    memory: float

    @property
    def ratio(self) -> float:
        return statistics.median(self.view) / statistics.median(self.copy)

    @property
    def synced(self) -> float:
        return statistics.median(self.view) / statistics.median(self.kept)

    def __str__(self) -> str:
        words = f"{self.ratio:.2f} × : {spread(self.view)} against {spread(self.copy)}"
        return f"{words}; {self.synced:.2f} × one until it is on the disk, {spread(self.kept)}; {self.memory:.0f} MiB"


def compared(path: Path, plain: Path, folder: Path, *, disk: bool, gene_ids: str = "symbol") -> Compared:
    """Show a dataset and copy the uncompressed one, in turns; `disk`: each time the file comes from there."""
    found = Compared([], [], [], 0)
    wanted = told(path, gene_ids)

    def ready(path: Path) -> None:
        # A virtual machine gets memory faster that it has just given back: so each of the three follows two copies,
        # with nothing between them.
        for _ in range(2):
            copied(plain, folder, kept=False)
            if disk:
                forget(plain)
                forget(path)

    for _ in range(ROUNDS):
        ready(plain)
        found.copy.append(copied(plain, folder, kept=False))
        ready(plain)
        found.kept.append(copied(plain, folder, kept=True))
        took, most = show(wanted, folder, lambda: ready(path))
        found.view.append(took)
        found = found._replace(memory=max(found.memory, most))
    return found


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} s ({min(times):.1f}–{max(times):.1f})"


def rows(say: Callable[[object], object] = lambda text: None) -> list[Row]:
    """Measure everything; takes ten minutes and 12 GB in the folder for temporary files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, packed = folder / "plain.h5ad", folder / "packed.h5ad"
        make(plain)
        say(f"made {plain.stat().st_size >> 20} MiB")
        what = f"view of {CELLS:,} × {GENES:,}, {DENSITY:.0%} dense, against a copy of the file"
        one = compared(plain, plain, folder, disk=True)
        kept = one.ratio <= TIMES and one.memory < MEMORY
        promised = f"≤ {TIMES} ×, < {MEMORY} MiB"
        found: list[Row] = [(f"{what}, from the disk", str(one), promised, kept)]
        say(found[-1])
        found.append((f"{what}, from memory", str(compared(plain, plain, folder, disk=False)), "", True))
        say(found[-1])
        fewer = compared(plain, plain, folder, disk=True, gene_ids="ensembl")
        found.append((f"{what}, a tenth of the genes left out", str(fewer), "", True))
        say(found[-1])
        make(packed, compression="gzip")
        say(f"packed {packed.stat().st_size >> 20} MiB")
        found.append((f"{what}, packed with gzip", str(compared(packed, plain, folder, disk=True)), "", True))
        say(found[-1])
        return found


if __name__ == "__main__":
    sys.exit(0 if all(kept for *_, kept in rows(print)) else 1)
