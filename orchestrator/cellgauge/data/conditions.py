"""Tells what a dataset says of the conditions of its cells: targets, dose, time and context, and which are held out."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellgauge.data import check, joined, rows
from cellgauge.errors import DatasetError
from cellgauge.specs import Columns, Dataset, HeldOut, Split
from cellgauge_model.contract import Condition

if TYPE_CHECKING:
    import pandas as pd

ROLE = "condition"
"""What the role `perturbation` is called where a model meets it."""
DETAILS = ("target", "dose", "time", "context")
"""Roles that say more of a condition."""
BETWEEN = "+"
"""Stands between the targets of a combination."""
NOTHING = {"control", "ctrl", "non-targeting", "nontargeting", "nt"}
"""Words that stand for no target, in the name of a condition: `GENE+ctrl`."""
HOURS = {"", "h", "hr", "hrs", "hour", "hours"}


def table(obs: "pd.DataFrame", control: str, level: str = "cells") -> list[Condition]:
    """List the conditions of some cells, in the order of their names.

    Parameters
    ----------
    obs
        With `condition`, and those of `DETAILS` that there are; one row a cell. Cells that are controls, or of no
        condition, take no part.
    level
        `cells`: as many are wanted as there are; `means`: one.

    Returns
    -------
    Its dose, time and context are known only where all cells of a condition have the same, and it can be read.
    """
    names = words(obs[ROLE])
    found = []
    for name, cells in obs[names.notna()].groupby(names[names.notna()], sort=True):
        if str(name) == control:
            continue
        dose, unit = _dose(_one(cells, "dose"))
        found.append(
            Condition(
                id=str(name),
                targets=targets(str(name), _several(cells, "target"), control),
                dose=dose,
                unit=unit,
                time=_hours(_one(cells, "time")),
                context=_one(cells, "context") or None,
                n_cells=len(cells) if level == "cells" else 1,
            )
        )
    return found


def words(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Write each cell's condition as `table` names it, whatever the column holds: numbers and truth values, too.

    What is asked for is text, and 2 and '2' are not the same condition to a model, nor to whom looks up its cells.
    """
    return column.astype(object).map(str, na_action="ignore").astype(object)


def targets(name: str, told: Iterable[str], control: str) -> list[str]:
    """List what a condition targets: as the role `target` tells, or else as its name does.

    A combination is taken apart at each `+`, and words that stand for no target are left out.
    """
    words = [word.strip() for text in (list(told) or [name]) for word in text.split(BETWEEN)]
    return list(dict.fromkeys(word for word in words if word and word != control and word.lower() not in NOTHING))


def _several(cells: "pd.DataFrame", role: str) -> list[str]:
    return sorted({str(one) for one in cells[role].dropna().unique()} - {""}) if role in cells else []


def _one(cells: "pd.DataFrame", role: str) -> str:
    """Say what all cells of a condition have, or nothing."""
    found = _several(cells, role)
    return found[0] if len(found) == 1 and cells[role].notna().all() else ""


def _dose(text: str) -> tuple[float | None, str | None]:
    value, unit = _number(text)
    return (value, unit or None) if value is not None else (None, None)


def _hours(text: str) -> float | None:
    """Read a time; a plain number is one of hours, and days or minutes are not guessed at."""
    value, unit = _number(text)
    return value if unit.lower() in HOURS else None


def _number(text: str) -> tuple[float | None, str]:
    found = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\s\d]*)\s*", text)
    try:
        value = float(found[1]) if found else None
    except ValueError:
        value = None
    return (value, found[2]) if found and value is not None and math.isfinite(value) else (None, "")


def held_out(dataset: Dataset, split: Split) -> HeldOut:
    """Look which conditions a split holds out, and whether it holds out whole conditions.

    Raises
    ------
    DatasetError
        If the dataset's file was changed.
    """
    control = dataset.spec.control or ""
    try:
        train, test = rows.split(dataset, split)
    except DatasetError as problem:
        check.same(dataset)  # else that is what is wrong
        return HeldOut(reason=problem.message)
    given = {
        role: dataset.spec.obs[name]
        for role, name in ((ROLE, "perturbation"), *((one, one) for one in DETAILS))
        if name in dataset.spec.obs
    }
    obs = _read(dataset, given)
    trained, tested = (table(obs[mask], control) for mask in (train, test))
    known = {target for one in trained for target in one.targets}
    return HeldOut(
        reason=_whole(trained, tested, control in set(obs[ROLE][train].astype(str)), control),
        conditions=tuple(one.id for one in tested),
        unseen=tuple(one.id for one in tested if not known.issuperset(one.targets)),
        combined=tuple(one.id for one in tested if len(one.targets) > 1),
    )


def _whole(trained: Sequence[Condition], tested: Sequence[Condition], controls: bool, control: str) -> str:
    """Say why a split does not do for predictions, or nothing."""
    if not controls:
        return f"its split leaves no cell of the control '{control}' to a model"
    if not tested:
        return "its split holds out no condition"
    if not trained:
        return "its split holds out every condition, which leaves nothing to train on"
    if both := sorted({one.id for one in trained} & {one.id for one in tested}):
        return f"its split has cells of '{both[0]}' on both sides, and whole conditions have to be held out"
    known: dict[frozenset[str], list[Condition]] = {}
    for one in trained:
        known.setdefault(_parts(one, control), []).append(one)
    for one in tested:
        if other := next((each for each in known.get(_parts(one, control), []) if _alike(each, one)), None):
            return f"its split trains on '{other.id}' and holds out '{one.id}', which are the same condition"
    return ""


def _parts(condition: Condition, control: str) -> frozenset[str]:
    """Take a name apart: `A+B`, `B+A` and `B+A+ctrl` are the same.

    Not by the role `target`: two compounds may well have the same one.
    """
    return frozenset(targets(condition.id, (), control) or [condition.id])


def _alike(one: Condition, other: Condition) -> bool:
    """Say whether neither dose nor time nor context is known to differ."""
    pairs = zip(*((each.dose, each.unit, each.time, each.context) for each in (one, other)), strict=True)
    return all(a == b or a is None or b is None for a, b in pairs)


def _read(dataset: Dataset, given: Mapping[str, Columns]) -> "pd.DataFrame":
    """Read what roles say of every cell."""
    import pandas as pd

    with check.reopen(dataset) as file:
        found: Any = file.obs(joined.columns(given.values()))
    return pd.DataFrame({role: joined.values(found, columns).to_numpy() for role, columns in given.items()})
