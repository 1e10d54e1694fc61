"""Names jobs and rows as a person would: the same in every table and line, and no two jobs of a sweep alike."""

import re
from collections.abc import Mapping

from cellgauge.specs import Job
from cellgauge_model.contract import Param


def model(name: str, variant: str, changed: Mapping[str, Param], marks: str = "") -> str:
    """Name a model as it was asked for: its variant, and what was set for this run."""
    settings = "".join(f" {key}={value}" for key, value in changed.items())
    return name + ("" if variant == "default" else f":{variant}") + marks + settings


def folded(name: str, width: int) -> str:
    """Put a name on lines of at most so many characters, broken behind `_`, `-`, `.`, `:` or a space if it can be."""
    lines = [""]
    for part in re.findall(r"[^_.: -]+[_.: -]*|[_.: -]+", name):
        if lines[-1] and len(lines[-1] + part.rstrip(" ")) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip(" ")) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip(" ") for line in lines)


def job(one: Job) -> str:
    """Name a job."""
    datasets = ", ".join(shown.name for shown in one.datasets)
    return f"{model(one.model, one.variant, one.changed)} on {datasets} (seed {one.seed})"
