"""Finds what became of the output that a scoring is of: one job's, or those of a group's members together."""

from collections.abc import Callable, Sequence

from cellgauge.specs import ItemRecord, RunRecord, Scoring

BETWEEN = "+"
"""Stands between the checksums of the members' outputs."""


def record(scoring: Scoring, known: Callable[[str], RunRecord | None]) -> RunRecord | None:
    """Give the record that tells of an output; of a group one that is made of its members' records.

    Parameters
    ----------
    known
        Gives a job's record, or None.

    Returns
    -------
    A record with an item of the scoring's dataset. Of a group it is `ok` if every member's is, and its checksum is
    theirs in their order; otherwise it ended as the first member that is not, which its reason names. None where a
    record is not there.
    """
    if not scoring.parts:
        return known(scoring.job)
    records = [known(part.job) for part in scoring.parts]
    found = [one for one in records if one is not None]
    if len(found) < len(records):
        return None
    items = [_item(one, part.dataset) for one, part in zip(found, scoring.parts, strict=True)]
    item = _together(scoring, items)
    return found[0].model_copy(update={"state": item.state, "reason": item.reason, "items": (item,)})


def _item(record: RunRecord, dataset: str) -> ItemRecord:
    none = ItemRecord(name=dataset, state=record.state, reason=record.reason)
    return next((one for one in record.items if one.name == dataset), none)


def _together(scoring: Scoring, items: Sequence[ItemRecord]) -> ItemRecord:
    for one in items:
        if one.state != "ok":
            return ItemRecord(name=scoring.dataset, state=one.state, reason=f"member {one.name}: {one.reason}")
    least = min(items, key=_known)
    shapes = [one.shape for one in items if one.shape]
    told = [f"{one.name}: {text}" for one in items for text in one.warnings]
    return ItemRecord(
        name=scoring.dataset,
        state="ok",
        shape=(sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else (),
        sha256=BETWEEN.join(one.sha256 for one in items),
        genes=least.genes,
        gene_coverage=least.gene_coverage,
        warnings=tuple(told),
    )


def _known(item: ItemRecord) -> float:
    """Tell the share of a member's genes that its model knows: that of the least counts for the group."""
    named = item.genes.share if item.genes else 1.0
    return named * (1.0 if item.gene_coverage is None else item.gene_coverage)
