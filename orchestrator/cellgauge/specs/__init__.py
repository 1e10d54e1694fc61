"""The nouns: everything that modules pass to each other, frozen and validated.

The two messages that cross into a container, `RunRequest` and `RunResult`, are defined in `cellgauge_model.contract`.
"""

from cellgauge.specs.base import GeneIds, MatrixKind, Name, Spec, State, Verb, identity
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
)
from cellgauge.specs.plans import Job, JobDataset, Plan, Scoring, Skip, View
from cellgauge.specs.results import ItemRecord, Run, RunRecord, ScoreValue, TaskResult

__all__ = [
    "Dataset",
    "DatasetEntry",
    "DatasetSpec",
    "GeneIds",
    "ItemRecord",
    "Job",
    "JobDataset",
    "Matrix",
    "MatrixKind",
    "Model",
    "ModelSpec",
    "Name",
    "ParamSpec",
    "Plan",
    "Resources",
    "Run",
    "RunRecord",
    "ScoreValue",
    "Scoring",
    "Skip",
    "Spec",
    "State",
    "TaskResult",
    "Variant",
    "Verb",
    "VerbSpec",
    "View",
    "identity",
]
