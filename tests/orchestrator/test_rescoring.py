"""A score belongs to one output: what is computed again is scored again, and nothing is shown of what is gone."""

import os

import numpy as np
import pytest

from cellgauge import plan
from cellgauge.score import failed
from cellgauge.scorers import Scorers
from cellgauge.specs import ItemRecord
from cellgauge_model import contract
from cellgauge_tasks import Score, Space
from lab import scored, task
from support import a_scoring, embed_view, made_record


def first_number(embedding, obs, *, seed):
    return [Score("first", float(np.asarray(embedding).max()), len(embedding))]


def kill_itself(embedding, obs, *, seed):
    os._exit(9)


def fail(embedding, obs, *, seed):
    raise ZeroDivisionError("oh")


class Dying(Scorers):
    """Scorers whose process dies each time."""

    def __init__(self):
        super().__init__(1)

    def submit(self, function, then):
        then(None, "the scoring process died")


def scaled(factor):
    """A model whose outputs differ from one time to the next."""

    def function(launch):
        embed_view(launch)
        for item in contract.read_request(launch.input).items:
            path = launch.output / item.name / "embedding.npy"
            np.save(path, np.load(path) * np.float32(factor))
        return 0

    return function


BOTH = {"t": task("t", first_number), "u": task("u", first_number)}


def values(lab, prepared):
    return {one.task: one.scores[0].value if one.scores else one.state for one in lab.document(prepared).results}


def test_a_table_never_mixes_scores_of_two_outputs_of_one_job(lab):
    both, one = lab.prepare(tasks=BOTH), lab.prepare(tasks={"t": BOTH["t"]})
    lab.run(both, scaled(1))
    old = values(lab, both)
    lab.run(one, scaled(2), refresh=True)
    assert values(lab, both) == {"t": 2 * old["t"], "u": "cancelled"}, "what was scored of another output is not shown"
    happened = lab.run(both, scaled(3))
    assert [result.scoring.task for result in scored(happened) if result.run] == ["t", "u"]
    assert values(lab, both) == {"t": 2 * old["t"], "u": 2 * old["u"]}


def test_the_score_of_an_output_is_of_that_output_alone(store):
    record = made_record().model_copy(update={"items": (ItemRecord(name="d", state="ok", sha256="now"),)})
    scoring = a_scoring()
    assert store.score_of(scoring, record) is None
    for state, output, there in [
        ("ok", "now", True),
        ("ok", "before", False),
        ("infrastructure", "before", False),
        ("ok", "", False),  # of an earlier cellgauge, which did not say
        ("infrastructure", "", True),  # it came to no score: of this output there is none either
    ]:
        kept = failed(scoring, state, "").model_copy(update={"output": output})
        store.keep_result(kept)
        assert store.score_of(scoring, record) == (kept if there else None), (state, output)


def test_a_task_that_kills_its_process_takes_no_other_result_with_it(lab):
    tasks = {"t": task("t", first_number), "die": task("die", kill_itself), "u": task("u", first_number)}
    prepared = lab.prepare(tasks=tasks)
    lab.run(prepared, scorers=Scorers(1))
    found = {one.task: (one.state, one.reason) for one in lab.document(prepared).results}
    assert found["t"] == found["u"] == ("ok", "")
    assert found["die"][0] == "infrastructure"
    assert "the scoring process died" in found["die"][1]


@pytest.mark.parametrize(("factor", "run"), [(1, "r2"), (2, "r2"), (2, "r1")])
def test_a_score_that_was_there_before_never_stands_in_for_one_that_died(lab, factor, run):
    prepared = lab.prepare()
    lab.run(prepared, scaled(1))
    happened = lab.run(prepared, scaled(factor), refresh=True, scorers=Dying(), terms={"run": run})
    assert [(one.state, one.reason) for one in scored(happened)] == [("infrastructure", "the scoring process died")]
    assert lab.store.result(prepared.plan.scorings[0].id).state == "ok", "nor does that one replace it"


def test_a_score_that_failed_never_replaces_a_good_one(lab):
    good = lab.prepare()
    lab.run(good)
    bad = lab.prepare(tasks={"t": task("t", fail)})
    assert bad.plan == good.plan
    assert [one.state for one in scored(lab.run(bad, refresh=True, terms={"run": "r2"}))] == ["task_error"]
    kept = lab.store.result(good.plan.scorings[0].id)
    assert (kept.state, kept.run) == ("ok", "r1")


def test_a_missing_part_of_an_output_is_no_fault_of_the_model_and_is_made_again(lab):
    prepared = lab.prepare()
    lab.run(prepared)
    (path,) = (lab.store.root / "jobs").rglob("cells.txt")
    path.unlink()
    lab.run(prepared)
    assert path.exists()
    assert lab.document(prepared).complete


def test_all_tasks_of_an_output_share_one_space_and_its_repeated_rows_are_counted(lab):
    heard = []

    def hear(embedding, obs, *, seed):
        heard.append(embedding)
        return [Score("x", 1.0, len(embedding))]

    def constant(launch):
        embed_view(launch)
        for item in contract.read_request(launch.input).items:
            path = launch.output / item.name / "embedding.npy"
            np.save(path, np.zeros_like(np.load(path)))
        return 0

    prepared = lab.prepare(tasks={"t": task("t", hear), "u": task("u", hear)}, datasets=("d", "e"))
    lab.run(prepared, constant)
    assert len({id(one) for one in heard}) == 2
    assert {type(one) for one in heard} == {Space}
    for entry in lab.document(prepared).results:
        assert (entry.repeated, entry.flags) == (pytest.approx(59 / 60), ("repeated_rows",))


def test_a_bug_at_one_job_stops_no_other(lab):
    def act(launch):
        if "e" in str(contract.read_request(launch.input).items):
            raise KeyError("a bug of an engine")
        return embed_view(launch)

    prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"))
    lab.run(prepared, lambda launch: act(launch) if launch.model == "n" else embed_view(launch))
    states = {(one.model, one.dataset): one.state for one in lab.document(prepared).results}
    assert states["m", "d"] == states["m", "e"] == "ok"
    failed = [record for record in lab.records() if record.state != "ok"]
    assert failed
    assert all(record.reason == "internal error: KeyError: 'a bug of an engine'" for record in failed)
    assert all(any("KeyError" in line for line in record.log_tail) for record in failed)


def test_a_job_is_found_again_after_its_model_was_mended(lab):
    (before,) = lab.prepare().plan.jobs
    (after,) = lab.prepare(version="2").plan.jobs
    assert before.id != after.id
    assert plan.place(before) == plan.place(after)


def test_a_view_that_somebody_edited_is_made_again(lab):
    prepared = lab.prepare()
    lab.run(prepared, lambda launch: 1)
    (view,) = (lab.folder / "cache").rglob("view.h5ad")
    good = view.read_bytes()
    view.chmod(0o644)
    view.write_bytes(good[:-1] + b"x")
    lab.run(prepared)
    assert (lab.document(prepared).complete, view.stat().st_size) == (True, len(good))
    assert view.read_bytes()[-1:] != b"x" or good[-1:] == b"x"
