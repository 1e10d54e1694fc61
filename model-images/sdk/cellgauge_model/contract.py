"""The contract between the orchestrator and a model, version 1: messages, folders and exit codes.

Standard library only, and Python 3.9 or newer: it is imported in every model's environment. The orchestrator
validates the same classes with pydantic, so there is one definition. A model need not use it: any program that
reads `request.json` and writes the files below fulfils the contract.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

CONTRACT_VERSION = 1

Param = Union[bool, int, float, str]

REQUEST = "request.json"
"""In the input folder: what is asked (:class:`RunRequest`)."""
RESULT = "result.json"
"""In each item's output folder, written last and by rename: what became of it (:class:`RunResult`)."""
EMBEDDING = "embedding.npy"
"""float32, C order, cells x dimensions."""
CELLS = "cells.txt"
"""The cell id of each row of the embedding, one a line."""
PREDICTION = "prediction.h5ad"
"""Rows are predicted cells or condition means, as counts; obs has `condition`; var is named as in the input."""
PROGRESS = "progress.jsonl"
"""In the output folder: one JSON object a line, for whoever watches."""

EXIT_OK = 0
EXIT_MODEL_ERROR = 1
EXIT_BAD_REQUEST = 2
EXIT_INVALID_INPUT = 3
EXIT_WEIGHTS = 4
EXIT_RESOURCES = 5
EXIT_SELFTEST = 6
EXIT_NOT_APPLICABLE = 99
"""The convention of Open Problems for 'this model is not meant for this input'."""
EXIT_CANCELLED = (130, 143)


@dataclass(frozen=True)
class Condition:
    """One condition to predict: what was done to the cells, and how many cells are wanted."""

    id: str
    targets: List[str] = field(default_factory=list)
    """Genes or compounds, one entry each; never joined into one string."""
    type: str = "unknown"
    """`knockout`, `knockdown`, `overexpression`, `compound`, `stimulation` or `unknown`."""
    dose: Optional[float] = None
    unit: Optional[str] = None
    time: Optional[float] = None
    """In hours."""
    context: Optional[str] = None
    """Cell line or cell type."""
    n_cells: int = 1
    masked: List[str] = field(default_factory=list)
    """With `Item.masked`: the genes that are 0 in this condition's cells there, and are asked for, as named in var."""


@dataclass(frozen=True)
class Item:
    """One dataset's view, and what is wanted for it."""

    name: str
    """Letters, digits, `.`, `_` and `-`: it names the item's output folder."""
    data: str
    """The `.h5ad`, relative to the input folder. For `predict`: the control cells."""
    training: Optional[str] = None
    """For `predict`: cells to train on, with a `condition` column in obs, relative to the input folder. The control
    cells are among them, under the same ids; of the conditions that are asked for there is none."""
    conditions: List[Condition] = field(default_factory=list)
    """For `predict`: what to predict."""
    masked: Optional[str] = None
    """For `predict`, of a model whose manifest says `masked_genes`, where a task masks genes: cells of the conditions
    that are asked for, in which the masked genes of each are 0, with a `condition` column in obs, relative to the input
    folder."""


@dataclass(frozen=True)
class RunRequest:
    """What one start of a model is asked to do. Weights load once for all items."""

    contract: int
    job: str
    verb: str
    """`embed` or `predict`."""
    variant: str
    items: List[Item]
    params: Dict[str, Param] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    """`cpu`, or `cuda` with the leased devices visible."""
    threads: int = 1
    """Equal to the CPUs granted; the thread variables of BLAS and OpenMP say the same."""
    precision: str = "float32"
    batch_size: Optional[int] = None
    time_limit: Optional[float] = None
    """Seconds for the whole start, after which it is stopped."""


@dataclass(frozen=True)
class Output:
    """One file that an item produced."""

    file: str
    shape: List[int]
    dtype: str
    sha256: str


@dataclass(frozen=True)
class Problem:
    """Why an item has no output."""

    type: str
    """`model_error`, `not_applicable`, `invalid_input`, `out_of_memory` or `gpu_out_of_memory`."""
    message: str


@dataclass(frozen=True)
class RunResult:
    """What became of one item."""

    contract: int
    status: str
    """`ok`, `failed` or `not_applicable`."""
    outputs: List[Output] = field(default_factory=list)
    error: Optional[Problem] = None
    dropped_cells: int = 0
    gene_coverage: Optional[float] = None
    """Share of the input's genes that the model knows, 0 to 1."""
    seed: Optional[int] = None
    """The seed that was really used; null where the model cannot be seeded."""
    timings: Dict[str, float] = field(default_factory=dict)
    """Wall seconds by phase: load, embed or predict."""
    cpu_seconds: Dict[str, float] = field(default_factory=dict)
    """CPU seconds by phase, of the model's process and its children that have ended."""
    peaks: Dict[str, int] = field(default_factory=dict)
    """Bytes, resident, of the model's process, by the end of each phase."""
    peak_memory: Optional[int] = None
    """Bytes, resident, of the model's process."""
    versions: Dict[str, str] = field(default_factory=dict)
    warnings: List[str] = field(default_factory=list)


class BadRequest(ValueError):
    """A request that this contract version does not define."""


@dataclass(frozen=True)
class Folders:
    """Where a model reads and writes. The environment moves them, so one program runs anywhere."""

    input: Path
    output: Path
    weights: Path
    scratch: Path

    @classmethod
    def from_environment(cls) -> Folders:
        return cls(
            input=Path(os.environ.get("CELLGAUGE_INPUT", "/job/input")),
            output=Path(os.environ.get("CELLGAUGE_OUTPUT", "/job/output")),
            weights=Path(os.environ.get("CELLGAUGE_WEIGHTS", "/weights")),
            scratch=Path(os.environ.get("CELLGAUGE_SCRATCH", "/scratch")),
        )


def read_request(folder: Path) -> RunRequest:
    """Read the request in an input folder.

    Raises
    ------
    BadRequest
        If it is missing, is not JSON, or is not a request of this contract version.
    """
    path = folder / REQUEST
    try:
        return request_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as problem:
        raise BadRequest(f"{path}: {problem}") from problem


def request_from_dict(raw: Any) -> RunRequest:
    """Build a request from parsed JSON, refusing what this version does not know."""
    if not isinstance(raw, dict):
        raise BadRequest("the request is not a JSON object")
    if raw.get("contract") != CONTRACT_VERSION:
        raise BadRequest(f"contract version {raw.get('contract')!r}; this model speaks {CONTRACT_VERSION}")
    try:
        items = [
            Item(**{**item, "conditions": [Condition(**condition) for condition in item.get("conditions", [])]})
            for item in raw["items"]
        ]
        request = RunRequest(**{**raw, "items": items})
    except (KeyError, TypeError, AttributeError) as problem:
        raise BadRequest(f"not a request: {problem}") from problem
    if request.verb not in ("embed", "predict"):
        raise BadRequest(f"unknown verb {request.verb!r}; there are 'embed' and 'predict'")
    return request


def to_json(message: Union[RunRequest, RunResult]) -> str:
    """Write a message as JSON; numbers that JSON cannot hold (NaN, infinity) are refused.

    What only models ask for that know of it is left out where it says nothing: others may have an older copy of this.
    """
    raw = dataclasses.asdict(message)
    for item in raw.get("items", []):
        for one in (item, *item["conditions"]):
            if not one["masked"]:
                del one["masked"]
    return json.dumps(raw, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write a text so that a reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        with partial.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
