"""Names what a dataset is checked for: each rule with a code that stays, so that it can be looked up."""

from typing import Literal, NamedTuple

from cellgauge.specs.base import Spec

VERSION = 2
"""Raised whenever a rule finds more or less than before: what was checked by older rules is checked again."""

Severity = Literal["error", "warning"]


class Rule(NamedTuple):
    """One thing that a dataset is checked for."""

    severity: Severity
    """`error`: it is refused. `warning`: it is told by `cellgauge datasets check`, and nothing more."""
    says: str
    """What must be so."""
    why: str
    """What would go wrong otherwise."""


RULES: dict[str, Rule] = {
    "D101": Rule("error", "The file is a readable h5ad.", "Nothing can be read of it, or wrong values."),
    "D102": Rule("error", "There are cells and genes.", "There is nothing to score."),
    "D103": Rule("error", "Every cell has its own id.", "A model's rows could not be put back to their cells."),
    "D104": Rule("error", "No cell id is empty.", "A model's rows could not be put back to their cells."),
    "D105": Rule("error", "Every gene has its own id.", "A model would read one gene's counts for another's."),
    "D106": Rule("warning", "No gene id is empty.", "Models do not see a gene without a name."),
    "D201": Rule("error", "The matrix that the entry names is there.", "There is nothing to show to a model."),
    "D202": Rule("error", "The matrix can be read, and every value lies within it.", "The file is damaged."),
    "D203": Rule("error", "No value is negative or not finite.", "Nothing that was counted is below zero."),
    "D204": Rule("error", "Counts are whole numbers, all of them.", "Models that expect counts give nonsense."),
    "D205": Rule(
        "error", "No cell stores two values of one gene.", "One program adds them up, another takes the last."
    ),
    "D206": Rule("error", "No more cells are empty than the entry puts up with.", "Nothing can be told of such cells."),
    "D207": Rule("error", "`total_counts` holds numbers above 0.", "Counts cannot be recovered from log1p values."),
    "D208": Rule("warning", "What is not declared as counts does not look like counts.", "They would be changed."),
    "D209": Rule("warning", "Some matrix of the file holds counts.", "Most models expect counts."),
    "D301": Rule("error", "Every obs column that the entry names is there.", "There is nothing to score against."),
    "D302": Rule("error", "No obs column that the entry names is empty.", "There is nothing to score against."),
    "D303": Rule(
        "warning", "The column of a role has more than one value.", "Scores that compare groups cannot be had."
    ),
    "D304": Rule("warning", "Times are numbers, hold one each, or have an order.", "Before and after cannot be told."),
    "D305": Rule("error", "The control occurs in the perturbation column.", "Nothing can be compared with it."),
    "D306": Rule("error", "The values of a split occur in its column.", "Cells would be trained on that are tested."),
    "D307": Rule("warning", "No value reads like none: `nan`, `None`, `NA`, or nothing.", "It counts as a label."),
    "D401": Rule("error", "The gene ids are of the declared kind.", "Models would know none of the genes."),
    "D402": Rule("error", "Every var column that the entry names is there, and holds ids of its kind.", "As D401."),
    "D403": Rule("error", "Ensembl ids are the declared organism's.", "Models would take another organism's genes."),
    "D404": Rule("warning", "No Ensembl id is of a third organism.", "Models know the declared organism's genes only."),
    "D405": Rule("warning", "Ensembl ids have no version (`.5`).", "It is left away, since models know ids without."),
    "D406": Rule("warning", "Symbols are written as the organism's are.", "The organism may be another one."),
}


class Misfit(Spec):
    """Something about a file that is not as it should be."""

    code: str
    severity: Severity
    message: str
    hint: str
    """What to do next."""


def misfit(code: str, message: str, hint: str) -> Misfit:
    """Say that a rule is broken."""
    return Misfit(code=code, severity=RULES[code].severity, message=message, hint=hint)


def listed(names: "list[str]", none: str = "none") -> str:
    """Name some of many."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") or none
