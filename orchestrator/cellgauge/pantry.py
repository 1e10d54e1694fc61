"""Prepares what jobs need while others compute: views of datasets, weights, and what is installed in images."""

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellgauge.data import conditions, masked, view, weights
from cellgauge.data.cache import Cache
from cellgauge.disk import explained
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import DatasetError, EngineError
from cellgauge.request import Given
from cellgauge.specs import Dataset, Job, JobDataset, Model
from cellgauge.store import Store
from cellgauge_model.contract import Item

PACE = 0.2
TRIES = 5
"""Times that an image is asked for its packages where the engine fails."""


class Pantry:
    """Makes each view, each folder of weights and each list of packages once, in the order of the jobs.

    Whoever takes one waits for it; what goes wrong in making it is raised there.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        models: Mapping[str, Model],
        datasets: Mapping[str, Dataset],
        engine: Engine,
        store: Store,
        cache: Cache,
        cancel: Cancel | None = None,
        unusable: Mapping[str, DatasetError] | None = None,
    ) -> None:
        self._models, self._datasets, self._engine, self._store = models, datasets, engine, store
        self._cache, self._cancel = cache, cancel or Cancel()
        self._unusable = unusable or {}
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._asker = ThreadPoolExecutor(2, thread_name_prefix="packages")
        self._made: dict[object, Future[Any]] = {}
        self._failures: Counter[object] = Counter()
        self._closed = False
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        for job in jobs:
            for one in job.datasets:
                if one.name not in self._unusable:
                    self._view(one)
            self._weights(job)
            self._packages(job.image)

    def given(self, job: Job) -> list[Given]:
        """The items of a job.

        Raises
        ------
        DatasetError
            If the dataset does not hold what the view needs.
        StorageError
            If the cache cannot be written.
        """
        return [self._wait(self._view(one)) for one in job.datasets]

    def weights(self, job: Job) -> Path | None:
        """The folder of a job's weights.

        Raises
        ------
        FetchError
            If they cannot be had.
        """
        found: Path | None = self._wait(self._weights(job))
        return found

    def packages(self, image: str) -> str:
        """The hash of the list of packages of an image; empty where the image cannot tell."""
        try:
            return str(self._wait(self._packages(image)))
        except CancelledError:
            return ""
        except EngineError:
            self._forget(("packages", image))
            return ""

    def close(self) -> None:
        """Drop what nobody needs any more; after Ctrl-C nobody waits for a large view either."""
        with self._lock:
            self._closed = True
        self._maker.shutdown(wait=not self._cancel.asked, cancel_futures=True)
        self._asker.shutdown(wait=True, cancel_futures=True)  # it hears of Ctrl-C, and has a container to remove
        if self._own is not None:
            self._own.cleanup()

    def _masked(self, given: Given, dataset: Dataset, one: JobDataset) -> Given:
        """Add cells of the conditions that are asked for, in which genes are masked; no other condition is asked for.

        They are not kept: views are, and from these they are made in a moment.
        """
        with explained(Path(tempfile.gettempdir()), "TMPDIR"):
            self._own = self._own or tempfile.TemporaryDirectory(prefix="cellgauge-", ignore_cleanup_errors=True)
            if not (chosen := masked.choose(dataset, one, self._cache)):
                return given  # the task does not apply, and says why
            path, n_cells = masked.write(dataset, one, chosen, self._cache, Path(self._own.name))
        name = f"{one.name}+masked.h5ad"
        asked = [replace(each, masked=chosen[each.id]) for each in given.item.conditions if each.id in chosen]
        item = replace(given.item, masked=name, conditions=asked)
        return replace(given, item=item, files={**given.files, name: path}, n_training=given.n_training + n_cells)

    def _wait(self, future: "Future[Any]") -> Any:
        while True:
            try:
                return future.result(timeout=PACE)
            except TimeoutError:
                if future.done():  # it was its own
                    raise
                if self._cancel.asked:
                    raise CancelledError from None

    def _view(self, one: JobDataset) -> "Future[Given]":
        if one.name in self._unusable:
            raise self._unusable[one.name]
        dataset = self._datasets[one.name]

        def make() -> Given:
            path = view.write(dataset, one.view, self._cache)
            cells = view.cells(dataset, one.view)
            name = f"{one.name}.h5ad"
            given = Given(Item(name=one.name, data=name), {name: path}, cells, coverage=view.coverage(path))
            given = _to_predict(given, dataset, one, self._cache) if one.held_out else given
            return self._masked(given, dataset, one) if one.masked else given

        key = ("view", one.name, *(shown.id for shown in one.views), one.level, one.masked)
        return self._once(self._maker, key, make)

    def _weights(self, job: Job) -> "Future[Path | None]":
        def given_up(done: int, total: int | None) -> None:
            if self._cancel.asked:  # a download of an hour is not waited for
                raise CancelledError

        make = lambda: weights.write(self._models[job.model], job.variant, self._cache, given_up)  # noqa: E731
        return self._once(self._maker, ("weights", job.weights), make)

    def _packages(self, image: str) -> "Future[str]":
        ask = lambda name: self._engine.packages(name, self._cancel)  # noqa: E731
        make = lambda: self._store.packages(image, ask)  # noqa: E731
        return self._once(self._asker, ("packages", image), make)

    def _once(self, pool: ThreadPoolExecutor, key: object, make: Callable[[], Any]) -> "Future[Any]":
        with self._lock:
            if key not in self._made:
                if self._closed:
                    raise CancelledError
                self._made[key] = pool.submit(make)
            return self._made[key]

    def _forget(self, key: object) -> None:
        """Have what failed made again for whoever asks next, a few times: an engine may have been away."""
        with self._lock:
            made = self._made.get(key)
            if made is not None and made.done() and self._failures[key] < TRIES - 1:  # else somebody asks already
                self._failures[key] += 1
                del self._made[key]


def _to_predict(given: Given, dataset: Dataset, one: JobDataset, cache: Cache) -> Given:
    """Add to the control cells what to train on, and which conditions are asked for.

    Raises
    ------
    DatasetError
        If no condition is left to be asked for.
    """
    item, files = given.item, dict(given.files)
    if one.training:
        name = f"{one.name}+training.h5ad"  # no dataset has a + in its name
        item, files[name] = replace(item, training=name), view.write(dataset, one.training, cache)
        given = replace(given, n_training=len(view.cells(dataset, one.training)))
    if one.held_out:
        told = view.annotations(dataset, one.held_out, one.held_out.obs)
        asked = conditions.table(told, dataset.spec.control or "", one.level or "cells")
        if not asked:
            raise DatasetError(f"dataset '{one.name}': its split holds out no condition")
        item = replace(item, conditions=asked)
    (path,) = given.files.values()
    return replace(given, item=item, files=files, genes=view.genes(path), level=one.level or "cells")
