"""Puts what is said of results into a line a reason, with the models, datasets and tasks that it is said of."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cellgauge.faults import TRACE

Names = tuple[str, ...]
MANY = 8
"""Models that are named; of more, where it is said of all of them, their number is."""


class Said(NamedTuple):
    """Something that is said of one result."""

    model: str
    dataset: str
    task: str
    kind: str
    reason: str


def grouped(said: Iterable[Said], models: Iterable[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Give of each kind and reason once what it is said of, for instance `pca, hvg on d (clustering, embedding)`.

    Parameters
    ----------
    models
        Every model that there is.
    """
    every = [*dict.fromkeys(models)]
    reasons: dict[tuple[str, str], list[Said]] = {}
    for one in said:  # a task that failed has a traceback for each model: the first is as good as another
        reasons.setdefault((one.kind, one.reason.partition(TRACE)[0]), []).append(one)
    for (kind, _), alike in reasons.items():
        yield _where(alike, every), kind, alike[0].reason


def _where(alike: Iterable[Said], every: list[str]) -> str:
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in alike:
        tasks.setdefault((one.model, one.dataset), []).append(one.task)
    models: dict[tuple[str, Names], list[str]] = {}
    for (model, dataset), several in tasks.items():
        models.setdefault((dataset, tuple(dict.fromkeys(several))), []).append(model)
    datasets: dict[tuple[Names, Names], list[str]] = {}
    for (dataset, those), several in models.items():
        datasets.setdefault((tuple(several), those), []).append(dataset)
    parts = ((_named(which, every), ", ".join(on), ", ".join(those)) for (which, those), on in datasets.items())
    return "; ".join(f"{which} on {on} ({those})" for which, on, those in parts)


def _named(models: Names, every: list[str]) -> str:
    return f"all {len(every)} models" if len(models) > MANY and {*models} == {*every} else ", ".join(models)
