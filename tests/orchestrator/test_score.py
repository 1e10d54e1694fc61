import dataclasses
import re
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import cellgauge
from cellgauge import arrays, details, score
from cellgauge.errors import ContractViolation, StorageError
from cellgauge.specs import Rows, Scoring, TaskResult
from cellgauge_model import contract
from cellgauge_tasks import Interval, NotApplicable, Score, Scores, Task, find
from lab import scored
from support import VIEW, made_record, make_cells, write_item, written

SCORING = Scoring(
    id="s", job="ab" * 10, model="m", variant="default", dataset="d", task="t", task_version="1", roles={}, seed=5
)


def outcome(function, embedding=lambda: np.zeros((2, 2), dtype="float32"), **fields):
    """All that comes of scoring: the result and its arrays."""
    task = Task(name="t", version="1", title="t", roles=(), score=function, headline={}, baseline="pca", **fields)
    return score.run(SCORING, made_record(), task, embedding, lambda: pd.DataFrame(index=["a", "b"]))


def run(function, record=None, embedding=lambda: np.zeros((2, 2), dtype="float32")):
    task = Task(name="t", version="1", title="t", roles=(), score=function, headline={}, baseline="pca")
    return score.run(SCORING, record or made_record(), task, embedding, lambda: pd.DataFrame(index=["a", "b"])).result


WHOSE = f"the task 't' version 1 of module {__name__.partition('.')[0]}"


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
        (raising(ZeroDivisionError("oh")), "task_error", f"{WHOSE} failed: ZeroDivisionError: oh"),
        (raising(ZeroDivisionError()), "task_error", f"{WHOSE} failed: ZeroDivisionError"),
        (lambda *a, **b: [Score("x", float("nan"), 2)], "task_error", f"{WHOSE} gave no number for x"),
        (lambda *a, **b: [Score("x", float("inf"), 2)], "task_error", f"{WHOSE} gave no number for x"),
        (lambda *a, **b: None, "task_error", f"{WHOSE} failed: TypeError: 'NoneType' object is not iterable"),
        (raising(MemoryError("3 GB")), "infrastructure", "memory ran out while 't' scored: 3 GB"),
        (raising(StorageError("disk full")), "infrastructure", "disk full"),
    ],
)
def test_a_task_without_a_number_is_a_result_with_a_reason(function, state, words):
    result = run(function)
    assert (result.state, result.reason, result.scores) == (state, words, ())


def fail_deep(embedding, obs, *, seed):
    return [Score("x", 1 / 0, 2)]


class TestWhose:
    """A task that fails is told by name and package, with all that its author needs; the machine is told apart."""

    def test_a_task_of_ours_is_of_this_version_of_cellgauge(self):
        ours = find()["clustering"]
        found = score.attempt(SCORING, ours, lambda: np.full((2, 2), np.nan), lambda: {"cell_type": ["a", "b"]})
        whose = f"the task 'clustering' version {ours.version} of cellgauge {cellgauge.__version__}"
        assert found.result.reason.startswith(f"{whose} failed: ")
        assert "ValueError" in found.result.reason

    def test_the_traceback_lies_where_the_reason_says_until_it_is_mended(self, store):
        kept = score.keep(outcome(fail_deep), store)
        where = re.search(r"\(traceback: (\S+) in the results folder\)", kept.reason)[1]
        assert store.result("s") == kept
        assert "in fail_deep" in (store.root / where).read_text()
        assert (store.root / where).read_text().endswith("ZeroDivisionError: division by zero\n")
        score.keep(outcome(lambda *a, **b: [Score("x", 1.0, 2)]), store)
        assert not (store.root / where).exists()

    def test_what_goes_wrong_before_the_task_is_called_is_not_its_fault(self):
        found = run(lambda *a, **b: [], embedding=raising(KeyError("x")))
        assert (found.state, found.reason) == ("infrastructure", "before it was scored: KeyError: 'x'")


def test_one_score_that_is_no_number_is_left_out_and_named():
    def function(*args, **told):
        odd = Score("odd", float("nan"), 2, params={"k": 5})
        span = Interval(0.1, 0.9, "cells", 2, "abc", np.arange(3.0))
        return Scores([Score("x", 0.5, 2), odd, Score("y", 0.7, 2, interval=span)], {"clusters": [0, 1]})

    found = outcome(function)
    assert [(one.metric, one.value) for one in found.result.scores] == [("x", 0.5), ("y", 0.7)]
    assert (found.result.state, found.result.reason) == ("ok", "")
    assert found.result.warnings == ("UserWarning: the task gave no number for odd (k=5): left out",)
    assert list(found.arrays) == ["replicates/1", "clusters"]
    assert found.arrays["replicates/1"].tolist() == [0, 1, 2], "those of the score that has this number now"


def test_an_output_that_was_changed_since_is_not_scored():
    result = run(raising(AssertionError), embedding=raising(ContractViolation("rows are gone")))
    assert (result.state, result.reason) == ("contract_violation", "rows are gone")


def test_a_failed_job_gives_its_state_to_its_cells():
    result = run(raising(AssertionError), record=made_record(state="timeout", reason="stopped after its limit of 3 s"))
    assert (result.state, result.reason) == ("timeout", "stopped after its limit of 3 s")


def test_every_shipped_task_scores_what_the_host_gives_it():
    cells = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")
    obs = pd.DataFrame({"cell_type": pd.Categorical(["a", "b", "c"] * 40)})
    for role, groups in (("batch", 2), ("donor", 6), ("organism", 2), ("time", 4), ("technology", 2)):
        obs[role] = [str(number // 3 % groups) for number in range(120)]
    for task in (one for one in find().values() if one.verb == "embed" and one.split is None):
        space = score.shared(cells.copy(), [(task, lambda: obs)])
        scored = score.run(SCORING, made_record(), task, lambda space=space: space, lambda: obs)
        assert (scored.result.state, scored.result.reason) == ("ok", ""), task.name
        assert scored.result.scores
        assert TaskResult.model_validate_json(scored.result.model_dump_json()) == scored.result


class TestIntervals:
    SPAN = Interval(0.1, 0.9, "donors", 7, "abc", np.arange(3, dtype=np.float32))

    def test_they_are_kept_with_what_was_drawn_and_their_replicates_beside(self):
        scores = [Score("x", 0.5, 2), Score("y", 0.5, 2, interval=self.SPAN, better="lower")]
        found = outcome(lambda *a, **b: scores)
        first, second = found.result.scores
        assert (first.low, first.high, first.unit, first.n_units, first.resamples) == (None, None, "", None, "")
        assert (second.low, second.high, second.unit) == (0.1, 0.9, "donors")
        assert (second.n_units, second.resamples) == (7, "abc")
        assert (first.better, second.better) == ("higher", "lower")
        assert list(found.arrays) == ["replicates/1"]
        assert found.arrays["replicates/1"].tolist() == [0, 1, 2]

    def test_one_that_is_not_finite_is_none(self):
        span = Interval(float("nan"), 0.9, "cells", 2, "abc")
        assert outcome(lambda *a, **b: [Score("x", 0.5, 2, interval=span)]).result.scores[0].low is None

    def test_what_an_earlier_cellgauge_wrote_is_read(self):
        old = run(lambda *a, **b: [Score("x", 0.5, 2)]).model_dump(mode="json")
        for name in ("arrays", "repeated"):
            del old[name]
        for name in ("low", "high", "unit", "n_units", "resamples", "better"):
            del old["scores"][0][name]
        read = TaskResult.model_validate({**old, "schema_version": 2})
        assert (read.scores[0].value, read.scores[0].low, read.arrays) == (0.5, None, "")


class TestDetails:
    def test_small_arrays_are_kept_and_what_cannot_be_is_said(self, monkeypatch):
        monkeypatch.setattr(arrays, "LIMIT", 1000)
        details = {
            "clusters": [0, 1],
            "classes": np.array(["a", "b"], dtype=object),
            "odd": np.array([{}], dtype=object),
            "../x": [1],
            "large": np.zeros(1000),
            "after/it": np.zeros(3),
        }
        found = outcome(lambda *a, **b: Scores([Score("x", 0.5, 2)], details))
        assert list(found.arrays) == ["clusters", "classes", "after/it"]
        assert found.result.state == "ok"
        told = " ".join(found.result.warnings)
        for words in ("'odd' is not kept: it holds neither", "'../x' is not kept", "'large' is not kept: it is too"):
            assert words in told

    def test_a_result_without_a_value_has_none(self):
        found = outcome(lambda *a, **b: Scores([Score("x", float("nan"), 2)], {"clusters": [0]}))
        assert (found.result.state, dict(found.arrays)) == ("task_error", {})


class TestShared:
    OBS = staticmethod(lambda: pd.DataFrame({"cell_type": ["a", "b"]}))

    def test_what_one_task_asked_for_is_there_for_the_next(self):
        asked = []

        def expect(space, obs):
            asked.append(list(obs["cell_type"]))
            space.expect(neighbors=1)

        def fail(space, obs):
            raise ZeroDivisionError

        tasks = [(Task("t", "1", "t", (), None, {}, "pca", expect=one), self.OBS) for one in (fail, expect, None)]
        space = score.shared(np.eye(2, dtype="float32"), tasks)
        assert asked == [["a", "b"]]
        assert space.neighbors(1).indices.tolist() == [[1], [0]]

    def test_no_task_can_change_what_the_next_one_gets(self):
        def spoil(space, obs, *, seed):
            np.asarray(space)[:] = 0

        space = score.shared(np.eye(2, dtype="float32"), [])
        assert "read-only" in run(spoil, embedding=lambda: space).reason
        assert space.values.tolist() == [[1, 0], [0, 1]]

    def test_a_task_is_sent_by_name_where_it_is_installed(self):
        installed = find()["clustering"]
        assert score.sent(installed) == "clustering"
        other = dataclasses.replace(installed, version="other")
        assert score.sent(other) is other


class TestRepeated:
    @pytest.mark.parametrize(
        ("rows", "share"),
        [
            ([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]], 0),
            ([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 0.5),
            ([[1.0, 1.0]] * 10, 0.9),
            ([[1.0], [-1.0], [2.0], [-2.0]], 0),
            ([[1.0, 2.0]], 0),
        ],
    )
    def test_rows_that_are_the_same_are_counted(self, rows, share):
        for dtype in ("float32", "float64"):
            assert details.repeated(np.array(rows, dtype=dtype)) == pytest.approx(share)

    def test_rows_of_cells_that_are_the_same_are_right_to_be(self, made, tmp_path):
        """Ten cells of the dataset are there twice: a model that gives each pair one row has no fault."""
        twice = anndata.concat([made, made[:10]], index_unique="-")
        twice.X[3, 0] = twice.X[63, 0] = 0  # stored in one of them, and left out in the other
        twice.X = sp.vstack([twice.X[:60], sp.csr_matrix(twice.X[60:].toarray())]).tocsr()
        dataset = written(tmp_path, twice, gene_columns={})
        alike = details.alike([dataset], [VIEW])
        right = np.arange(140, dtype="float32").reshape(70, 2)
        right[60:] = right[:10]
        assert details.repeated(right) == pytest.approx(10 / 70)
        assert details.repeated(right, alike) == 0
        right[20] = right[0]
        assert details.repeated(right, alike) == pytest.approx(1 / 70), "of another cell"
        wrong = np.ones((70, 2), dtype="float32")
        assert details.repeated(wrong, alike) == pytest.approx(59 / 70)
        limited = VIEW.model_copy(update={"rows": Rows(limit=30)})
        assert details.repeated(wrong[:30], details.alike([dataset], [limited])) <= 29 / 30
        both = details.alike([dataset, dataset], [VIEW, VIEW])
        assert details.repeated(np.vstack([wrong, wrong]), both) == pytest.approx(119 / 140), "of two datasets"

    def test_a_run_does_not_flag_a_model_for_the_datasets_own_repeats(self, lab):
        path = lab.folder / "d.h5ad"
        made = make_cells(30)
        anndata.concat([made, made], index_unique="-").write_h5ad(path)

        def counts(launch):
            (item,) = contract.read_request(launch.input).items
            view = anndata.read_h5ad(launch.input / item.data)
            write_item(launch.output, item.name, list(view.obs_names))
            np.save(launch.output / item.name / "embedding.npy", view.X.toarray().astype("float32"))
            return 0

        (result,) = scored(lab.run(lab.prepare(datasets=(lab.dataset("d", gene_columns={}),)), counts))
        assert (result.state, result.repeated) == ("ok", 0.0)


def test_no_library_is_imported_for_its_version():
    code = "import sys; from cellgauge import score; print(score.versions()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "scikit-learn" in done.stdout
    assert not {"sklearn", "igraph", "scanpy", "matplotlib"} & {*done.stdout.splitlines()[-1].split()}
