"""Gets datasets onto this machine and checks them, and makes those one that are to be shown together."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from cellgauge import groups
from cellgauge.data import check, fetch, stack
from cellgauge.data.cache import Cache
from cellgauge.errors import DatasetError
from cellgauge.groups import GroupChoice
from cellgauge.shown import DatasetChoice
from cellgauge.specs import Dataset, DatasetSpec, GroupSpec, Job
from cellgauge_tasks import Task

UNPULLED = "unpulled:"
"""Stands before a dataset's name where its checksum is not known."""
Pulling = Callable[[str], AbstractContextManager[fetch.Report | None]]
Choice = DatasetChoice | GroupChoice


def silently(name: str) -> AbstractContextManager[None]:
    """Show nothing."""
    return nullcontext()


@dataclass(frozen=True)
class Supplies:
    """What was found of the datasets that were asked for, and of the members of groups among them."""

    datasets: dict[str, Dataset]
    """Those that are here, and groups that were made one, by name."""
    unusable: dict[str, DatasetError]
    """Those that are not, and why."""
    choices: list[Choice]
    """In the order asked for."""


def get(
    specs: Collection[DatasetSpec | GroupSpec],
    tasks: Collection[Task],
    cache: Cache,
    *,
    limit_cells: int | None = None,
    pulling: Pulling | None = silently,
    needed: Callable[[Choice], bool] = lambda choice: True,
    together: Callable[[Choice], bool] = lambda choice: True,
) -> Supplies:
    """Get everything that is needed.

    Parameters
    ----------
    pulling
        Shows how far the pull of a dataset is; None: nothing is pulled.
    needed
        Tells by its entry alone whether anything applies to a dataset; if not, it is not pulled for nothing.
    together
        Tells whether anybody needs the members of a group as one.

    Raises
    ------
    DatasetError
        If something is needed, and nothing can be used.
    StorageError
        If the cache cannot be written.
    """
    grouped = [spec for spec in specs if isinstance(spec, GroupSpec)]
    single = {one.name: one for spec in specs for one in (spec.datasets if isinstance(spec, GroupSpec) else (spec,))}
    known = {name: entry(spec) for name, spec in single.items()}
    wanted: dict[str, DatasetSpec] = {}
    for spec in specs:
        if isinstance(spec, GroupSpec):
            if needed(groups.choose(spec, known, limit_cells)):
                wanted |= {one.name: one for one in spec.datasets}
        elif needed(known[spec.name]):
            wanted[spec.name] = spec
    datasets, unusable = _checked(wanted.values(), cache, pulling)
    known |= {name: DatasetChoice.of(one, tasks) for name, one in datasets.items()}
    found = Supplies(datasets, unusable, [])
    several = {one.name: groups.choose(one, known, limit_cells) for one in grouped}
    for name, one in several.items():
        if needed(one) and together(one):
            several[name] = _made_one(one, found, tasks, cache)
    asked: dict[str, Choice] = {**known, **several}
    return replace(found, choices=[asked[spec.name] for spec in specs])


def _made_one(group: GroupChoice, found: Supplies, tasks: Iterable[Task], cache: Cache) -> GroupChoice:
    """Make the members of a group one, if they are all here; if not, or if it cannot be done, say so."""
    name, stacked = group.spec.name, group.stacked
    if stacked is None or stacked.stack is None:
        return group
    for member in group.spec.members:
        if problem := found.unusable.get(member):
            found.unusable[name] = type(problem)(f"member {member}: {problem.message}", problem.hint)
            return group
    try:
        made = stack.dataset(name, stacked.stack, found.datasets, cache)
    except DatasetError as problem:
        found.unusable[name] = problem
        return group
    found.datasets[name] = made
    return group.model_copy(update={"stacked": DatasetChoice.of(made, tasks)})


def files(jobs: Iterable[Job]) -> list[str]:
    """Name the datasets that jobs are of; of several that were made one, these."""
    items = [one for job in jobs for one in job.datasets]
    names = ([part.name for part in one.stack.members] if one.stack else [one.name] for one in items)
    return list(dict.fromkeys(name for several in names for name in several))


def stacks(jobs: Iterable[Job], datasets: Mapping[str, Dataset], cache: Cache) -> dict[str, Dataset]:
    """Make again, or find, what jobs were shown of several datasets as one.

    Raises
    ------
    DatasetError
        If it cannot be made.
    StorageError
        If the cache cannot be written.
    """
    found = {one.name: one.stack for job in jobs for one in job.datasets if one.stack}
    return {name: stack.dataset(name, made, datasets, cache) for name, made in found.items()}


def entry(spec: DatasetSpec) -> DatasetChoice:
    """Choose a dataset by what the catalogue says of it."""
    return DatasetChoice(spec=spec, sha256=spec.sha256s[0] if spec.verified else f"{UNPULLED}{spec.name}")


def _checked(
    specs: Collection[DatasetSpec], cache: Cache, pulling: Pulling | None
) -> tuple[dict[str, Dataset], dict[str, DatasetError]]:
    """Find and check every dataset; one that cannot be used does not stop the others."""
    found, unusable = {}, dict[str, DatasetError]()
    for spec in specs:
        try:
            with (pulling or silently)(spec.name) as report:
                file = fetch.fetch(spec, cache, report, pull=pulling is not None)
            found[spec.name] = check.check(spec, *file, seals=cache.root / "checked")
        except DatasetError as problem:
            unusable[spec.name] = problem
    if pulling is not None and unusable and not found:
        problems = list(unusable.values())
        raise DatasetError("\n".join(problem.message for problem in problems), problems[0].hint)
    return found, unusable
