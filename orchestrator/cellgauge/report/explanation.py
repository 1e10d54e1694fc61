"""Says why a result is used again or not: field by field of its identity, against the nearest that is kept."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge import plan as planning
from cellgauge.attempts import RECORD
from cellgauge.pipeline import Reuse
from cellgauge.report import label
from cellgauge.specs import REUSABLE, Job, Plan, RunRecord, Scoring, Skip, Spec
from cellgauge.store import Store
from cellgauge.words import printable

ABSENT = "–"


class Field(Spec):
    """One part of an identity."""

    name: str
    now: str
    kept: str
    same: bool


class Explained(Spec):
    """A job or a scoring, and what becomes of it."""

    what: str
    id: str
    reused: bool
    reason: str
    kept: str = ""
    """The one it is compared with."""
    fields: tuple[Field, ...] = ()


class Explanation(Spec):
    """Everything that was asked about."""

    schema_version: int = 1
    explained: tuple[Explained, ...]
    skips: tuple[Skip, ...] = ()


def make(plan: Plan, store: Store, reuse: Reuse) -> Explanation:
    """Explain every job of a plan, and every scoring of it.

    Parameters
    ----------
    reuse
        What `pipeline.reusable` says: the verdicts, of which this tells the reasons.
    """
    found: list[Explained] = []
    for job in plan.jobs:
        found.append(_job(job, store, job.id in reuse.jobs))
        scorings = [scoring for scoring in plan.scorings if scoring.jobs[-1] == job.id]
        found += [_scoring(one, store, reuse.jobs.issuperset(one.jobs), one.id in reuse.scorings) for one in scorings]
    return Explanation(explained=tuple(found), skips=plan.skips)


def _job(job: Job, store: Store, reused: bool) -> Explained:
    what = label.job(job)
    record = store.intact(job.id)
    mine = planning.fields_of(job)
    if record is not None:
        fields = tuple(_compare(mine, planning.fields_of(record.job)))
        reason = f"is used again: kept since {record.started}, and every field agrees" if reused else _why(record)
        return Explained(what=what, id=job.id, reused=reused, reason=reason, kept=job.id, fields=fields)
    if (store.job_folder(job.id) / RECORD).exists():
        return Explained(what=what, id=job.id, reused=False, reason="runs: its record is damaged")
    others = (store.intact(one) for one in store.job_ids())
    near = [one.job for one in others if one is not None and _alike(one.job, job)]
    if not near:
        return Explained(what=what, id=job.id, reused=False, reason="runs: nothing is kept of this model on this data")
    nearest = min(near, key=lambda one: sum(not field.same for field in _compare(mine, planning.fields_of(one))))
    fields = tuple(_compare(mine, planning.fields_of(nearest)))
    differing = ", ".join(field.name for field in fields if not field.same) or "how identities are made"
    reason = f"runs: the nearest that is kept differs in {differing}"
    return Explained(what=what, id=job.id, reused=False, reason=reason, kept=nearest.id, fields=fields)


def _why(record: RunRecord) -> str:
    """Say why a job that is kept runs again."""
    if record.state in REUSABLE:
        return "runs again: its output was deleted"
    tries = len(record.attempts) + 1
    return f"runs again: it ended as {record.state.replace('_', ' ')} ({record.reason}), after {tries} tries"


def _alike(one: Job, other: Job) -> bool:
    names = [[item.name for item in job.datasets] for job in (one, other)]
    return (one.model, names[0]) == (other.model, names[1])


def _scoring(scoring: Scoring, store: Store, job_reused: bool, reused: bool) -> Explained:
    what = f"{scoring.task} of {scoring.dataset if scoring.parts else 'it'}"
    if reused:
        reason = "is used again: every field agrees"
        return Explained(what=what, id=scoring.id, reused=True, reason=reason, kept=scoring.id)
    result = store.intact_result(scoring.id)
    if result is None or not job_reused:
        near = _nearest_result(scoring, store) if job_reused else None
        reason = "is scored: " + ("no such score is kept" if job_reused else "its job runs")
        if near is not None:
            reason = "is scored again: task, its version, label columns or the scoring libraries differ"
        fields = _compare(planning.scoring_fields(scoring), planning.scoring_fields(near)) if near else ()
        return Explained(what=what, id=scoring.id, reused=False, reason=reason, fields=tuple(fields))
    reason = "is scored again: its job was computed again since, and this is of the output before"
    if result.state not in REUSABLE:
        reason = f"is scored again: it ended as {result.state.replace('_', ' ')} ({result.reason})"
    return Explained(what=what, id=scoring.id, reused=False, reason=reason)


def _nearest_result(scoring: Scoring, store: Store) -> Scoring | None:
    for result in store.results():
        other = result.scoring
        if (other.job, other.task, other.dataset) == (scoring.job, scoring.task, scoring.dataset):
            return other
    return None


def _compare(now: Mapping[str, str], kept: Mapping[str, str]) -> Iterator[Field]:
    for name in dict.fromkeys([*now, *kept]):
        mine, other = now.get(name, ABSENT), kept.get(name, ABSENT)
        yield Field(name=name, now=mine, kept=other, same=mine == other)


def render(explanation: Explanation) -> RenderableType:
    """Lay it out for a terminal: what differs in full, what agrees as a list of names."""
    parts: list[RenderableType] = []
    for one in explanation.explained:
        told = f"  {printable(one.reason)}  [{one.id[:8]}]"
        parts.append(Text(one.what, style="bold").append(told, style="not bold"))
        differing = [field for field in one.fields if not field.same]
        if differing:
            table = Table(box=box.SIMPLE_HEAD, header_style="bold")
            for name in ("field", "kept", "now"):
                table.add_column(name, overflow="fold")
            for field in differing:
                table.add_row(Text(field.name), Text(field.kept), Text(field.now))
            parts.append(table)
        agreeing = [field.name for field in one.fields if field.same]
        if agreeing:
            parts.append(Text(f"  agree: {', '.join(agreeing)}", style="dim"))
    parts += [Text(f"{skip.task} does not apply: {skip.reason}") for skip in explanation.skips]
    return Group(*parts)
