"""What a `model.yaml` says."""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cellgauge.specs.base import Name, Spec, Verb
from cellgauge.specs.datasets import without
from cellgauge_model.contract import Param


class ParamSpec(Spec):
    """One parameter of a model: its type, default and bounds."""

    type: Literal["integer", "number", "string", "boolean"]
    default: Param
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Param, ...] = ()
    description: str = ""

    @model_validator(mode="after")
    def _default_is_allowed(self) -> "ParamSpec":
        reason = self.refuses(self.default)
        if reason:
            raise ValueError(f"the default {reason}")
        return self

    def refuses(self, value: Any) -> str:
        """Say why a value is not allowed, or nothing."""
        types = {"integer": int, "number": (int, float), "string": str, "boolean": bool}
        if not isinstance(value, types[self.type]) or (isinstance(value, bool) and self.type != "boolean"):  # type: ignore[arg-type]
            return f"{value!r} is not of type {self.type}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value!r} is not a finite number"
        if self.minimum is not None and isinstance(value, int | float) and value < self.minimum:
            return f"{value!r} is below the minimum {self.minimum:g}"
        if self.maximum is not None and isinstance(value, int | float) and value > self.maximum:
            return f"{value!r} is above the maximum {self.maximum:g}"
        if self.choices and value not in self.choices:
            return f"{value!r} is not one of {', '.join(map(str, self.choices))}"
        return ""


class VerbSpec(Spec):
    """What comes out of one verb."""

    scope: Literal["cell", "batch", "dataset"]
    """A row depends on its own cell alone, on the cells computed with it, or on the whole dataset."""
    shared_space: bool = False
    """Of `embed` with `scope: cell`: cells of several organisms, shown in the genes of each, come out in one space."""
    rows: Literal["cells", "means"] = "cells"
    """For `predict`: single cells, or one mean per condition."""
    unseen_targets: bool = False
    combinations: bool = False
    masked_genes: bool = False
    """For `predict`: it looks at cells of the conditions that are asked for, in which some genes are masked."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        later = ("shared_space", "masked_genes")
        return without(dump(self), {name for name in later if not getattr(self, name)})  # images have it in a label

    @model_validator(mode="after")
    def _space_outlasts_a_start(self) -> "VerbSpec":
        if self.shared_space and self.scope != "cell":
            raise ValueError("shared_space needs scope cell: what is fitted to one dataset is not the space of another")
        return self


class Weight(Spec):
    """One file of trained weights."""

    path: str = Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """Where the model finds it, below its weights folder."""
    source: str
    """As for datasets; a plain path is relative to the model's folder."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Variant(Spec):
    """A named setting of a model."""

    params: dict[str, Param] = {}
    weights: tuple[Weight, ...] = ()
    description: str = ""


class Resources(Spec):
    """What one start of a model needs, and what it may not exceed."""

    gpu: Literal["none", "optional", "required"] = "none"
    """`optional`: it can also run on the CPU, which happens only when asked for."""
    gpus: int = Field(default=1, ge=1)
    """Devices that it uses at once."""
    gpu_memory_mb: int = Field(default=0, ge=0)
    """On each device; 0: not known, so it gets an empty one."""
    cpu_features: tuple[str, ...] = ()
    """Flags of /proc/cpuinfo without which its programs end with SIGILL, for instance `avx2`."""
    memory_mb: int = Field(default=2048, gt=0)
    memory_mb_per_10k_cells: int = Field(default=1024, ge=0)
    disk_mb: int = Field(default=8192, gt=0)
    """What it may write: outputs and scratch together."""
    disk_mb_per_10k_cells: int = Field(default=2048, ge=0)
    log_mb: int = Field(default=64, gt=0)
    """What is kept of its log: the beginning and the end."""
    shm_mb: int = Field(default=64, gt=0)
    pids: int = Field(default=1024, gt=0)
    """Processes and threads."""
    time_limit: float = Field(default=3600, gt=0)
    """Seconds that one item may take."""
    start_limit: float = Field(default=120, gt=0)
    """Seconds that the engine may take to start it."""
    pull_limit: float = Field(default=3600, gt=0)
    """Seconds that pulling or building its image may take."""


class ModelSpec(Spec):
    """One `model.yaml`."""

    name: Name
    version: str
    title: str
    description: str = ""
    parent: str | None = None
    """The model that this one was derived from."""
    baseline: bool = False
    """True for the plain methods that every claim must beat."""
    image: str | None = None
    """An image from a registry, instead of a Dockerfile in the folder."""
    command: tuple[str, ...] = ("python", "model.py")
    """For the local engine, run in the model's folder; in a container the image's entrypoint counts."""
    verbs: dict[Verb, VerbSpec] = Field(min_length=1)
    variants: dict[Name, Variant] = {}
    """Beside `default`, which sets nothing unless it stands here."""
    params: dict[str, ParamSpec] = {}
    organisms: tuple[str, ...] = ("any",)
    gene_ids: Literal["any", "symbol", "ensembl"] = "any"
    matrix: Literal["counts"] = "counts"
    obs_roles: tuple[str, ...] = ()
    """Roles whose obs columns the model must see."""
    uses_labels: bool = False
    determinism: Literal["bitwise", "seeded", "none"]
    resources: Resources = Resources()
    licence: str
    non_commercial: bool = False
    citation: str = ""
    trained_on: tuple[str, ...] = ()
    """Names of datasets, or collections in words."""

    @model_validator(mode="after")
    def _variants_are_allowed(self) -> "ModelSpec":
        for name, variant in self.variants.items():
            for key, value in variant.params.items():
                if key not in self.params:
                    raise ValueError(f"variant '{name}' sets '{key}', which is not in params")
                if reason := self.params[key].refuses(value):
                    raise ValueError(f"variant '{name}': {key} {reason}")
        return self


class Model(Spec):
    """A model as found on this machine."""

    spec: ModelSpec
    folder: Path
