"""A job that is run again, against what is kept of it."""

import numpy as np
import pytest

from cellgauge import gpus, reproduce
from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import Interrupted, UsageError
from cellgauge.images import Runnable
from cellgauge.pipeline import Site
from cellgauge.specs import Run
from cellgauge_model import contract
from cellgauge_tasks import find
from lab import task
from support import embed_view, listed_gpus, made_model, make_cells

EMBEDDING = {"embedding": find()["embedding"]}


def shifted(by, columns=2):
    def function(launch):
        embed_view(launch)
        for item in contract.read_request(launch.input).items:
            path = launch.output / item.name / "embedding.npy"
            np.save(path, (np.load(path) + np.float32(by))[:, :columns])
        return 0

    return function


def ran(lab, tasks=EMBEDDING, **fields):
    """Run a job, as `cellgauge run` does, and give its record."""
    prepared = lab.prepare(models=(made_model(name="m", **fields),), tasks=tasks)
    lab.run(prepared)
    raw = {"id": "r1", "command": "", "started": "", "engine": "function", "ended": "2026", "cellgauge": "0"}
    lab.store.keep_run(Run(plan=prepared.plan, **raw))
    (record,) = lab.records()
    assert record.state == "ok", record.reason
    return record


def again(lab, record, function=embed_view, *, site=None, cancel=None, digest=None, **fields):
    model = made_model(name="m", **fields)
    image_of = lambda model: Runnable(digest or record.job.image, model.folder)  # noqa: E731
    more = (lab.store, FunctionEngine(function), site or Site(), lab.cache, image_of, cancel or Cancel())
    return reproduce.reproduce(record, model, {"d": lab.dataset("d")}, *more)


def rewritten(lab, **changes):
    (kept,) = lab.store.results()
    scores = tuple(one.model_copy(update={"value": one.value + 0.25}) for one in kept.scores)
    lab.store.keep_result(kept.model_copy(update={"scores": scores, **changes}))


def test_the_same_output_and_the_same_scores_agree(lab):
    found = again(lab, ran(lab))
    assert (found.identical, found.agrees, found.reason) == (True, True, "the output is the same, byte for byte")
    assert found.scores
    assert all(one.now == one.kept for one in found.scores)


def test_the_same_output_with_other_scores_does_not_agree(lab):
    record = ran(lab)
    rewritten(lab)
    found = again(lab, record)
    assert (found.identical, found.agrees) == (True, False)
    assert "yet scores differ: embedding" in found.reason


def test_a_score_of_the_output_before_is_compared_with_nothing(lab):
    record = ran(lab)
    rewritten(lab, output="of the output before")
    found = again(lab, record)
    assert (found.agrees, found.scores) == (True, ())


def test_a_task_that_is_no_longer_installed_is_named_and_stops_nothing(lab):
    found = again(lab, ran(lab, {**EMBEDDING, "gone": task("gone")}))
    assert (found.agrees, {one.task for one in found.scores}) == (True, {"embedding"})
    assert found.reason.endswith("; not scored, since no such task is installed: gone")


@pytest.mark.parametrize(
    ("determinism", "by", "columns", "agrees"),
    [
        ("bitwise", 1e-6, 2, False),
        ("seeded", 1e-6, 2, True),
        ("seeded", 1e-2, 2, False),
        ("none", 1e-2, 2, True),
        ("none", 0, 1, False),
    ],
)
def test_an_output_that_differs_agrees_as_far_as_the_manifest_promises(lab, determinism, by, columns, agrees):
    record = ran(lab, determinism=determinism)
    found = again(lab, record, shifted(by, columns), determinism=determinism)
    assert (found.identical, found.agrees) == (False, agrees)
    assert ("another shape" in found.reason) == (columns == 1)
    assert found.scores, "they are told, and decide nothing"


def test_the_scores_of_another_output_are_its_own(lab):
    def noise(launch):
        embed_view(launch)
        path = launch.output / "d" / "embedding.npy"
        np.save(path, np.random.default_rng(0).normal(size=np.load(path).shape).astype("float32"))
        return 0

    assert any(one.kept != one.now for one in again(lab, ran(lab), noise).scores)


def test_an_output_that_was_changed_since_it_was_checked_is_compared_with_nothing(lab):
    record = ran(lab)
    (path,) = (lab.store.root / "jobs").rglob("embedding.npy")
    np.save(path, np.load(path) + 1)
    with pytest.raises(UsageError, match="was changed since it was checked"):
        again(lab, record)


def test_another_file_of_the_dataset_is_refused(lab):
    record = ran(lab)
    make_cells(seed=99).write_h5ad(lab.folder / "d.h5ad")
    with pytest.raises(UsageError, match="is another file than that of the job"):
        again(lab, record)


def test_a_failure_does_not_agree(lab):
    found = again(lab, ran(lab), lambda launch: 7)
    assert (found.agrees, "this time it ended as model error" in found.reason) == (False, True)


def test_another_image_is_refused(lab):
    record = ran(lab)
    other = record.model_copy(update={"job": record.job.model_copy(update={"image": "sha256:other"})})
    with pytest.raises(UsageError, match="it ran from sha256:other, and here is sha256:m"):
        again(lab, other, digest="sha256:m")


class TestCtrlC:
    def test_while_it_waits_for_a_gpu(self, lab, tmp_path):
        record = ran(lab)
        inventory = listed_gpus(tmp_path, count=1)
        lessor, other = (gpus.Lessor(tuple(inventory.devices()), inventory, tmp_path / "locks") for _ in range(2))
        cancel = Cancel()
        cancel.ask()
        with other.lease(1, 0, lambda: False), pytest.raises(Interrupted, match="stopped on request"):
            again(lab, record, site=Site(lessor=lessor), cancel=cancel, resources={"gpu": "optional"})

    def test_while_the_model_runs(self, lab):
        record, cancel = ran(lab), Cancel()
        with pytest.raises(Interrupted, match="stopped on request"):
            again(lab, record, lambda launch: cancel.ask() or embed_view(launch), cancel=cancel)
