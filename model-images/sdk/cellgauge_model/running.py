"""Runs a model's functions on every item of a request, and writes what came out of each."""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import sys
import time
import traceback
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

from cellgauge_model import contract, files, outcomes
from cellgauge_model.contract import Condition, Folders, Item, RunRequest, RunResult

Load = Callable[[Path, str, Mapping[str, contract.Param]], Any]
Verb = Callable[[Any, Any, "Context"], Any]


@dataclass(frozen=True)
class Context:
    """What `embed` and `predict` may want to know beside the data."""

    item: str
    params: Mapping[str, contract.Param]
    seed: int
    device: str
    threads: int
    batch_size: Optional[int]
    scratch: Path
    conditions: List[Condition]
    training: Any
    """AnnData to train on, or None."""
    masked: Any
    """AnnData of the conditions that are asked for, in which some genes of each are 0 (`Condition.masked`), or None."""
    report: Callable[[int, int], None]
    """`report(done, total)` tells how far the item is."""
    warn: Callable[[str], None]
    """`warn(message)` puts something into the item's result that its reader must know."""


class _Meter:
    """What each phase takes."""

    def __init__(self) -> None:
        self.wall: Dict[str, float] = {}
        self.cpu: Dict[str, float] = {}
        self.peaks: Dict[str, int] = {}
        self._since = (time.perf_counter(), _cpu())

    def copy(self) -> _Meter:
        """Begin an item with what came before all items."""
        other = _Meter()
        other.wall, other.cpu, other.peaks = dict(self.wall), dict(self.cpu), dict(self.peaks)
        return other

    def lap(self, phase: str) -> None:
        now = (time.perf_counter(), _cpu())
        self.wall[phase], self.cpu[phase] = now[0] - self._since[0], now[1] - self._since[1]
        self.peaks[phase] = _peak()
        self._since = now


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _peak() -> int:
    # Linux counts ru_maxrss in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(request: RunRequest, folders: Folders, load: Optional[Load], verb: Verb) -> int:
    """Load the model, do every item, and return the exit code: that of the first item that failed."""
    meter = _Meter()
    try:
        seed_everything(request.seed)
        model = load(folders.weights, request.device, request.params) if load else None
    except Exception as problem:
        traceback.print_exc()
        error, code = outcomes.describe(problem)
        for item in request.items:
            _finish(folders, item, RunResult(contract.CONTRACT_VERSION, _status(error), error=error, seed=request.seed))
        return code
    meter.lap("load")
    codes = [_do(request, folders, item, model, verb, meter.copy()) for item in request.items]
    return next((code for code in codes if code), contract.EXIT_OK)


def _do(request: RunRequest, folders: Folders, item: Item, model: Any, verb: Verb, meter: _Meter) -> int:
    _progress(folders, item, state="running")
    code = contract.EXIT_OK
    outputs: List[contract.Output] = []
    warnings: List[str] = []
    error = None
    try:
        seed_everything(request.seed)  # per item, so that a result does not depend on its neighbours
        adata = files.read(folders.input / item.data)
        answer = verb(model, adata, _context(request, folders, item, warnings.append))
        folder = folders.output / item.name
        folder.mkdir(exist_ok=True)
        write = files.write_embedding if request.verb == "embed" else files.write_prediction
        outputs = write(folder, answer, adata)
    except Exception as problem:
        traceback.print_exc()
        error, code = outcomes.describe(problem)
    meter.lap(request.verb)
    result = RunResult(
        contract=contract.CONTRACT_VERSION,
        status=_status(error),
        outputs=outputs,
        error=error,
        seed=request.seed,
        timings=meter.wall,
        cpu_seconds=meter.cpu,
        peaks=meter.peaks,
        peak_memory=_peak(),
        versions=versions(),
        warnings=warnings,
    )
    _finish(folders, item, result)
    return code


def _context(request: RunRequest, folders: Folders, item: Item, warn: Callable[[str], None]) -> Context:
    return Context(
        item=item.name,
        params=request.params,
        seed=request.seed,
        device=request.device,
        threads=request.threads,
        batch_size=request.batch_size,
        scratch=folders.scratch,
        conditions=item.conditions,
        training=files.read(folders.input / item.training) if item.training else None,
        masked=files.read(folders.input / item.masked) if item.masked else None,
        report=lambda done, total: _progress(folders, item, state="running", done=done, total=total),
        warn=warn,
    )


def _status(error: Optional[contract.Problem]) -> str:
    if error is None:
        return "ok"
    return "not_applicable" if error.type == "not_applicable" else "failed"


def _finish(folders: Folders, item: Item, result: RunResult) -> None:
    folder = folders.output / item.name
    folder.mkdir(exist_ok=True)
    contract.write_atomically(folder / contract.RESULT, contract.to_json(result))
    _progress(folders, item, state=result.status)


def _progress(folders: Folders, item: Item, **fields: Any) -> None:
    line = json.dumps({"time": time.time(), "item": item.name, **fields})
    with (folders.output / contract.PROGRESS).open("a", encoding="utf-8") as handle:
        handle.write(line + "\n")


def seed_everything(seed: int) -> None:
    """Seed the global generators of the libraries that the model has imported."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def versions() -> Dict[str, str]:
    """Versions of Python and of the libraries in use that could change a number."""
    known = {name: name for name in ("numpy", "scipy", "pandas", "anndata", "scanpy", "torch", "jax", "transformers")}
    known["sklearn"] = "scikit-learn"
    used = {package: version(package) for module, package in known.items() if module in sys.modules}
    return {"python": platform.python_version(), **used}
