"""Tells which column of obs plays which role, from its name and its values."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "cell_type": """celltype celltypes cellontologyclass authorcelltype bulklabels celltypelabel celllabel celllabels
        cellannotation annotation annotations annot labels label celltypemajor celltypebroad celltypefine""",
    "batch": "batch batchid library libraryid sample sampleid origident gemgroup lane channel tech technology",
    "donor": "donor donorid patient patientid individual individualid subject subjectid participant participantid",
    "perturbation": """perturbation perturbations condition perturbedgene targetgene genetarget treatment stim
        stimulation drug compound gene guidetarget cytokine""",
    "guide": "guide guideid guideids guideidentity sgrna grna sgid sgidab",
    "dose": "dose dosage dosevalue doseumol concentration",
    "time": "time timepoint timepoints day days hour hours stage samplingtime collectiontime",
    "split": "split traintest traintestsplit partition",
    "tissue": "tissue organ tissuegeneral",
    "region": "region brainregion",
    "assay": "assay protocol platform chemistry",
    "suspension_type": "suspensiontype",
    "dataset_id": "datasetid dataset study studyid",
    "sex": "sex gender",
    "disease": "disease diagnosis",
}
"""Role → names of columns, the surest first, in small letters and without punctuation."""
SURE = {"perturbation", "perturbations", "perturbedgene"}
"""Names that mean a perturbation also where no value looks like a control; the others can be anything."""
CLUSTERS = re.compile(r"(leiden|louvain|seurat_?clusters?|clusters?|phenograph)(_.*)?", re.IGNORECASE)
CONTROLS = (
    re.compile(r"ctrls?|controls?|unperturbed"),
    re.compile(r"nontarget(ing|ed)?([^a-z].*)?|nt|ntc|negctrl|negativecontrol|safetargeting|scrambled?"),
    re.compile(r"unstim(ulated)?|untreated|unexposed|mock|dmso|vehicle(dmso)?|pbs|nodrug|notreatment"),
)
"""Values that mean: not perturbed."""
GROUPS = 0.5
"""Distinct values a cell, above which a column does not group cells."""


def plain(text: str) -> str:
    """Write a name in small letters and without punctuation: `Cell.Type` → celltype."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def candidates(columns: Iterable[str]) -> dict[str, list[str]]:
    """Find the columns whose names fit a role: role → columns, the surest first."""
    columns = list(columns)
    found = {}
    for role, names in NAMES.items():
        order = {name: place for place, name in enumerate([plain(role), *names.split()][::-1])}
        fitting = [column for column in columns if plain(column) in order]
        if fitting:
            found[role] = sorted(fitting, key=lambda column: -order[plain(column)])
    return found


def fits(role: str, column: "pd.Series", cells: int) -> bool:
    """Tell whether the values of a column can play a role: there are some, and they group cells."""
    values = column.dropna()
    if values.empty:
        return False
    if role == "cell_type" and values.dtype.kind == "f":
        return False
    return role in ("dose", "time") or values.nunique() <= max(2, GROUPS * cells)


def control(values: Iterable[object]) -> str | None:
    """Find the value that means: not perturbed; None if there is none, or more than one that is as likely."""
    named = [str(value) for value in values]
    for pattern in CONTROLS:
        if fitting := [value for value in named if pattern.fullmatch(plain(value))]:
            return fitting[0] if len(fitting) == 1 else None
    return None


def sides(values: Iterable[object]) -> tuple[str, str] | None:
    """Find the values that mean training and testing, if a column has both."""
    named = {plain(str(value)): str(value) for value in values}
    train = next((named[one] for one in ("train", "training") if one in named), None)
    test = next((named[one] for one in ("test", "testing", "holdout", "heldout") if one in named), None)
    return (train, test) if train and test else None


def clusters(columns: Sequence[str]) -> list[str]:
    """Find columns that a clustering made: they are no cell types."""
    return [column for column in columns if CLUSTERS.fullmatch(column)]
