import numpy as np
import pandas as pd
import pytest

from cellgauge import score
from cellgauge.errors import ContractViolation
from cellgauge.specs import Scoring, TaskResult
from cellgauge_tasks import NotApplicable, Score, Task, find
from support import made_record

SCORING = Scoring(
    id="s", job="ab" * 10, model="m", variant="default", dataset="d", task="t", task_version="1", roles={}, seed=5
)


def run(function, record=None, embedding=lambda: np.zeros((2, 2), dtype="float32")):
    task = Task(name="t", version="1", title="t", roles=(), score=function, headline={}, baseline="pca")
    return score.run(SCORING, record or made_record(), task, embedding, lambda: pd.DataFrame(index=["a", "b"]))


def raising(problem):
    def function(*arguments, **options):
        raise problem

    return function


def test_scores_come_with_their_cells_and_survive_json():
    result = run(lambda embedding, obs, *, seed: [Score("x", 0.5, len(embedding), {"seed": seed})])
    assert (result.state, result.scores[0].value, result.scores[0].n_cells) == ("ok", 0.5, 2)
    assert result.scores[0].params == {"seed": 5}
    assert TaskResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("function", "state", "words"),
    [
        (raising(NotApplicable("one batch only")), "not_applicable", "one batch only"),
        (raising(ZeroDivisionError("oh")), "infrastructure", "the task failed: ZeroDivisionError: oh"),
        (lambda *a, **b: [Score("x", float("nan"), 2)], "infrastructure", "the task gave no number for x"),
        (lambda *a, **b: [Score("x", float("inf"), 2)], "infrastructure", "the task gave no number for x"),
    ],
)
def test_a_task_without_a_number_is_a_result_with_a_reason(function, state, words):
    result = run(function)
    assert (result.state, result.reason, result.scores) == (state, words, ())


def test_an_output_that_was_changed_since_is_not_scored():
    result = run(raising(AssertionError), embedding=raising(ContractViolation("rows are gone")))
    assert (result.state, result.reason) == ("contract_violation", "rows are gone")


def test_a_failed_job_gives_its_state_to_its_cells():
    result = run(raising(AssertionError), record=made_record(state="timeout", reason="stopped after its limit of 3 s"))
    assert (result.state, result.reason) == ("timeout", "stopped after its limit of 3 s")


def test_every_shipped_task_scores_what_the_host_gives_it():
    cells = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    obs = pd.DataFrame({"cell_type": pd.Categorical(["a", "b", "c"] * 20)})
    for task in find().values():
        assert score.run(SCORING, made_record(), task, lambda: cells, lambda: obs).state == "ok"
