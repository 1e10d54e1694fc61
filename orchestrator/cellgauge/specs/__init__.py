"""The nouns: everything that modules pass to each other, frozen and validated.

The two messages that cross into a container, `RunRequest` and `RunResult`, are defined in `cellgauge_model.contract`.
"""

from cellgauge.specs.asked import Asked, Changes, Limits, relaxations
from cellgauge.specs.base import GeneIds, MatrixKind, Name, Relaxation, Spec, State, Verb, identity
from cellgauge.specs.catalogue import (
    Dataset,
    DatasetEntry,
    DatasetSpec,
    Matrix,
    Model,
    ModelSpec,
    ParamSpec,
    Resources,
    Variant,
    VerbSpec,
    Weight,
)
from cellgauge.specs.plans import Job, JobDataset, Plan, Scoring, Skip, View
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
    "Asked",
    "Attempt",
    "Changes",
    "Dataset",
    "DatasetEntry",
    "DatasetSpec",
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
    "Run",
    "RunRecord",
    "ScoreValue",
    "Scoring",
    "Skip",
    "Spec",
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
