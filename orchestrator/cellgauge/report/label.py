"""Names jobs and rows as a person would: the same in every table and line, and no two jobs of a sweep alike."""

from collections.abc import Mapping

from cellgauge.specs import Job
from cellgauge_model.contract import Param


def model(name: str, variant: str, changed: Mapping[str, Param], marks: str = "") -> str:
    """Name a model as it was asked for: its variant, and what was set for this run."""
    settings = "".join(f" {key}={value}" for key, value in changed.items())
    return name + ("" if variant == "default" else f":{variant}") + marks + settings


def job(one: Job) -> str:
    """Name a job."""
    datasets = ", ".join(shown.name for shown in one.datasets)
    return f"{model(one.model, one.variant, one.changed)} on {datasets} (seed {one.seed})"
