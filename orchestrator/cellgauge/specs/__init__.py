"""The nouns: everything that modules pass to each other, frozen and validated.

The two messages that cross into a container, `RunRequest` and `RunResult`, are defined in `cellgauge_model.contract`.
"""

from cellgauge.specs.asked import Asked, Changes, Limits, relaxations
from cellgauge.specs.base import REUSABLE, GeneIds, MatrixKind, Name, Relaxation, Spec, State, Verb, identity
from cellgauge.specs.datasets import (
    Coverage,
    Dataset,
    DatasetEntry,
    DatasetSpec,
    Deprecation,
    Matrix,
    Rows,
    Split,
    View,
)
from cellgauge.specs.models import (
    Model,
    ModelSpec,
    ParamSpec,
    Resources,
    Variant,
    VerbSpec,
    Weight,
)
from cellgauge.specs.plans import Job, JobDataset, Plan, Scoring, Skip
from cellgauge.specs.results import (
    Attempt,
    GpuUse,
    Host,
    ItemRecord,
    Run,
    RunRecord,
    ScoreValue,
    TaskResult,
    Used,
)

__all__ = [
    "REUSABLE",
    "Asked",
    "Attempt",
    "Changes",
    "Coverage",
    "Dataset",
    "DatasetEntry",
    "DatasetSpec",
    "Deprecation",
    "GeneIds",
    "GpuUse",
    "Host",
    "ItemRecord",
    "Job",
    "JobDataset",
    "Limits",
    "Matrix",
    "MatrixKind",
    "Model",
    "ModelSpec",
    "Name",
    "ParamSpec",
    "Plan",
    "Relaxation",
    "Resources",
    "Rows",
    "Run",
    "RunRecord",
    "ScoreValue",
    "Scoring",
    "Skip",
    "Spec",
    "Split",
    "State",
    "TaskResult",
    "Used",
    "Variant",
    "Verb",
    "VerbSpec",
    "View",
    "Weight",
    "identity",
    "relaxations",
]
