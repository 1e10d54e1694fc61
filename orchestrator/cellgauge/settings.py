"""The only reader of the environment: one frozen `Settings`, known to `cli` alone and passed down as plain values."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cellgauge.errors import UsageError
from cellgauge.machine import cpus

Paths = Annotated[tuple[Path, ...], NoDecode]
"""Several paths in one variable, separated as in PATH."""


class Settings(BaseSettings):
    """What can be set by an environment variable `CELLGAUGE_…`; an option of the command line comes first."""

    model_config = SettingsConfigDict(
        env_prefix="CELLGAUGE_", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    results: Path = Path("cellgauge-results")
    """Where finished work is kept."""
    cache: Path = Field(default_factory=lambda: platformdirs.user_cache_path("cellgauge"))
    """Where datasets, weights and views are kept; may be deleted at any time."""
    shared_caches: Paths = ()
    """Caches of others on this machine, read and never written; looked into first."""
    cellxgene_api: str = "https://api.cellxgene.cziscience.com"
    """Where CELLxGENE Discover is asked for the address of a dataset."""
    catalog: Paths = ()
    """Further dataset catalogues; those of `--catalog`, or of `catalogs` in Python, stand in their place."""
    models_path: Paths = ()
    """Further folders with one folder per model; those of `--models-path` stand in their place."""
    engine: Literal["auto", "docker", "local"] = "auto"
    """What isolates a job; `auto` takes docker where it answers."""
    docker_host: str = Field(default="", validation_alias="DOCKER_HOST")
    """The Docker engine's address; where it is set, `auto` does not fall back to processes."""
    jobs: int = Field(default=1, ge=1)
    """Starts of models that run at once; with `--warm` one start does several jobs."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one job may take; absent: what the model's manifest says."""
    gpus: str = "all"
    """GPUs that models may use: `all`, `none`, or indices and UUIDs with commas."""
    gpu_wait: float | None = Field(default=None, gt=0)
    """Seconds that a job may wait for a GPU; absent: as long as it takes."""
    gpu_locks: Path | None = None
    """Folder of the GPUs' lock files, the same for everybody on the machine; absent: below /run/lock or /tmp."""
    gpu_inventory: Path | None = None
    """A JSON file that lists GPUs, read instead of asking the driver: for trying things out without one."""
    retries: int = Field(default=2, ge=0)
    """Further attempts at a job after an infrastructure fault."""
    scorers: int = Field(default_factory=lambda: max(1, cpus() // 2), ge=1)
    """Processes that score while models run."""
    score_device: str = "cpu"
    """Where all pairs of cells are compared: `cpu`, or a GPU as torch, an extra, names it: `cuda`, `cuda:1`."""
    base_image: str = "python:3.11-slim"
    """What model images are built on."""
    build_network: str = ""
    """Network of image builds, for instance `host`; absent: the engine's default."""

    @field_validator("catalog", "models_path", "shared_caches", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(Path(part) for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @property
    def catalogs(self) -> tuple[Path, ...]:
        """Every dataset catalogue, the shipped one first."""
        return (shipped("datasets.yaml"), *self.catalog)

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """Every folder with one folder per model, the shipped one first."""
        return (shipped("model-images"), *self.models_path)


def read(**options: Any) -> Settings:
    """Read the settings; an option that is None was not given.

    Raises
    ------
    UsageError
        Naming the variable or option that does not fit.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as problem:
        first = problem.errors()[0]
        name = str(first["loc"][0])
        message = f"--{name.replace('_', '-')} or CELLGAUGE_{name.upper()}: {first['msg']}"
        raise UsageError(message, "See `cellgauge run --help`.") from problem


def shipped(name: str) -> Path:
    """Find a file that comes with cellgauge: inside the installed package, or in the clone it was installed from."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.exists() else package.parents[1] / name
