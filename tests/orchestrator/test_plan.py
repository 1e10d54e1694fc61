import time
from dataclasses import replace

import pytest

from cellgauge import ids as naming
from cellgauge import plan
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs import DatasetSpec, Matrix, ModelSpec, Plan, Rows, View
from cellgauge_tasks import find
from support import VIEW, a_job

TASKS = {name: task for name, task in find().items() if (task.roles, task.split) == (("cell_type",), None)}


def model(name="m", **fields):
    raw = {
        "name": name,
        "version": "1",
        "title": "t",
        "verbs": {"embed": {"scope": "cell"}},
        "determinism": "bitwise",
        "licence": "MIT",
    }
    return ModelSpec.model_validate({**raw, **fields})


def dataset(name="d", **fields):
    raw = {
        "name": name,
        "source": "file:///d",
        "organism": "Homo sapiens",
        "gene_ids": "symbol",
        "obs": {"cell_type": "label"},
    }
    return DatasetSpec.model_validate({**raw, **fields})


def chosen(spec, **fields):
    return plan.ModelChoice(spec=spec, **{"variant": "default", "params": {}, "image": "sha256:1", **fields})


def data(spec, sha256="a" * 64, **fields):
    return plan.DatasetChoice(spec=spec, sha256=sha256, **fields)


def one(model_choice=None, dataset_choice=None, tasks=("clustering",), seed=1):
    made = plan.make(
        [model_choice or chosen(model())], [dataset_choice or data(dataset())], [TASKS[t] for t in tasks], [seed]
    )
    assert len(made.jobs) == 1
    return made


def test_a_job_is_shared_by_the_tasks_that_score_it():
    made = one(tasks=TASKS)
    assert len(made.scorings) == len(TASKS)
    assert {scoring.job for scoring in made.scorings} == {made.jobs[0].id}


def test_the_same_choices_give_the_same_plan_and_it_survives_json():
    made = one(tasks=TASKS)
    assert made == one(tasks=TASKS)
    assert Plan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "other",
    [
        {"model_choice": chosen(model(), image="sha256:2")},
        {"model_choice": chosen(model(params={"k": {"type": "integer", "default": 1}}), params={"k": 2})},
        {"model_choice": chosen(model(variants={"big": {}}), variant="big")},
        {"model_choice": chosen(model(version="2"))},
        {"model_choice": chosen(model(), weights="w")},
        {"model_choice": chosen(model(), device="gpu")},
        {"model_choice": chosen(model(), allow=("network",))},
        {
            "model_choice": chosen(model(gene_ids="ensembl")),
            "dataset_choice": data(dataset(gene_columns={"ensembl": "e"})),
        },
        {"dataset_choice": data(dataset(), sha256="b" * 64)},
        {"dataset_choice": data(dataset(matrix={"slot": "layers/counts"}))},
        {"seed": 2},
    ],
)
def test_everything_that_could_change_an_output_changes_the_job(other):
    assert one(**other).jobs[0].id != one().jobs[0].id


def test_the_verb_and_the_version_of_the_contract_are_part_of_the_job(monkeypatch):
    choice, shown = data(dataset()), plan.view(model(), data(dataset()))
    ids = {plan.job(chosen(model()), choice, verb, shown, 1).id for verb in ("embed", "predict")}
    monkeypatch.setattr(naming, "CONTRACT_VERSION", naming.CONTRACT_VERSION + 1)
    assert len(ids | {plan.job(chosen(model()), choice, "embed", shown, 1).id}) == 3


def test_everything_in_a_view_is_in_its_id_and_a_changed_copy_has_another():
    changes = {
        "format": VIEW.format + 1,
        "sha256": "1" * 64,
        "matrix": Matrix(kind="corrected"),
        "organism": "Mus musculus",
        "gene_index": "ensembl",
        "gene_columns": {"ensembl": "e"},
        "gene_ids": "ensembl",
        "gene_table": "t",
        "obs": {"batch": "lane"},
        "rows": Rows(limit=1),
    }
    assert changes.keys() == View.model_fields.keys()
    ids = [VIEW.id, *(VIEW.model_copy(update={name: value}).id for name, value in changes.items())]
    assert len(set(ids)) == 1 + len(changes)
    assert ids[1:] == [View(**{**VIEW.model_dump(), name: value}).id for name, value in changes.items()]


@pytest.mark.parametrize(
    "fields", [{"model": "n"}, {"variant": "big"}, {"params": {"k": 2}}, {"seed": 2}, {"datasets": ()}], ids=str
)
def test_what_was_asked_for_has_a_place_of_its_own(fields):
    job = a_job("00" * 10, "d")
    assert plan.place(job.model_copy(update=fields)) != plan.place(job)
    assert plan.place(job.model_copy(update={"id": "11" * 10, "image": "sha256:1"})) == plan.place(job)


@pytest.mark.parametrize(
    "other",
    [
        {"dataset_choice": data(dataset(title="another title", licence="CC0", citation="x"))},
        {"dataset_choice": data(dataset(obs={"cell_type": "label", "batch": "b"}))},
        {"tasks": ("embedding",)},
    ],
)
def test_what_cannot_change_an_output_leaves_the_job_alone(other):
    assert one(**other).jobs[0].id == one().jobs[0].id


def test_another_label_column_is_another_scoring_of_the_same_job():
    other = one(dataset_choice=data(dataset(obs={"cell_type": "fine"})))
    assert other.jobs[0].id == one().jobs[0].id
    assert other.scorings[0].id != one().scorings[0].id


@pytest.mark.parametrize(
    ("model_fields", "dataset_fields", "words"),
    [
        ({"organisms": ["Mus musculus"]}, {}, "the model knows Mus musculus, the dataset is of Homo sapiens"),
        ({}, {"obs": {}}, "the task needs cell_type, which the dataset lacks"),
        (
            {"gene_ids": "ensembl"},
            {"organism": "Danio rerio"},
            "the model needs ensembl gene ids, the dataset has symbol ids",
        ),
        ({"obs_roles": ["batch"]}, {}, "the model needs batch, which the dataset lacks"),
        (
            {"obs_roles": ["batch"]},
            {"obs": {"cell_type": "label", "batch": "label"}},
            "the model sees batch, which the task scores",
        ),
        ({"obs_roles": ["cell_type"]}, {}, "the model sees cell_type, which the task scores"),
        ({"verbs": {"predict": {"scope": "cell"}}}, {}, "the task scores 'embed', the model can only predict"),
        ({"resources": {"gpu": "required"}}, {}, "the model needs a GPU"),
    ],
)
def test_what_does_not_apply_is_skipped_and_says_why(model_fields, dataset_fields, words):
    made = plan.make([chosen(model(**model_fields))], [data(dataset(**dataset_fields))], [TASKS["clustering"]], [1])
    assert made.jobs == made.scorings == ()
    assert words in made.skips[0].reason


def test_another_version_of_what_scores_is_another_scoring_of_the_same_job():
    def with_versions(**versions):
        return plan.make([chosen(model())], [data(dataset())], [TASKS["clustering"]], [1], versions)

    assert with_versions(igraph="1.0") == with_versions(igraph="1.0")
    assert with_versions(igraph="1.0").jobs == with_versions(igraph="1.1").jobs
    assert with_versions(igraph="1.0").scorings[0].id != with_versions(igraph="1.1").scorings[0].id


def test_another_version_of_a_task_is_another_scoring_of_the_same_job():
    def made(task):
        return plan.make([chosen(model())], [data(dataset())], [task], [1])

    now, next_one = made(TASKS["clustering"]), made(replace(TASKS["clustering"], version="next"))
    assert now.jobs == next_one.jobs
    assert now.scorings[0].id != next_one.scorings[0].id


def test_a_model_sees_the_roles_that_it_asks_for_and_no_others():
    spec = dataset(obs={"cell_type": "label", "batch": "lane", "donor": "who"})
    made = one(chosen(model(obs_roles=["batch"])), data(spec))
    assert made.jobs[0].datasets[0].view.obs == {"batch": "lane"}


def test_parameters_are_defaults_then_the_variant_then_overrides():
    spec = model(
        params={name: {"type": "integer", "default": 1, "maximum": 9} for name in "abc"},
        variants={"big": {"params": {"b": 2, "c": 2}}},
    )
    assert plan.params_for(spec, "big", {"c": 3}) == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(UnknownNameError, match="no parameter of m named 'd'"):
        plan.params_for(spec, "big", {"d": 1})
    with pytest.raises(UnknownNameError, match="no variant of m named 'bgi'"):
        plan.params_for(spec, "bgi", {})
    with pytest.raises(UsageError, match="10 is above the maximum 9"):
        plan.params_for(spec, "big", {"a": 10})
    with pytest.raises(UsageError, match="True is not of type integer"):
        plan.params_for(spec, "big", {"a": True})


def test_planning_is_linear_enough_for_thousands_of_cells():
    models = [chosen(model(f"m{n}")) for n in range(20)]
    sets = [data(dataset(f"d{n}"), sha256=f"{n:064}") for n in range(25)]
    began = time.perf_counter()
    made = plan.make(models, sets, TASKS.values(), [1])
    assert (len(made.jobs), len(made.scorings)) == (500, 1500)
    assert time.perf_counter() - began < 5  # benchmarks/ measures; this only catches the quadratic


def test_a_model_does_not_see_what_tells_what_is_scored():
    """A batch that is one cell type each is as good as a label."""
    made = model(obs_roles=["batch"])
    found = dataset(obs={"cell_type": "label", "batch": "lane"})
    told = plan.make([chosen(made)], [data(found, tells={"batch": ("cell_type",)})], [TASKS["clustering"]], [1])
    assert told.jobs == ()
    assert "the model sees batch, from which cell_type can be told" in told.skips[0].reason
    follows = plan.make([chosen(made)], [data(found, tells={"cell_type": ("batch",)})], [TASKS["clustering"]], [1])
    assert "the model sees batch, which follows from cell_type" in follows.skips[0].reason
    assert len(one(chosen(made), data(found, tells={"batch": ("donor",)})).jobs) == 1


class TestGeneIds:
    def test_are_converted_by_a_table_where_the_dataset_lacks_them(self):
        (job,) = one(chosen(model(gene_ids="ensembl")), data(dataset())).jobs
        assert job.datasets[0].view.gene_ids == "ensembl"
        assert job.datasets[0].view.gene_table != ""

    def test_of_the_dataset_itself_come_first(self):
        assert one(chosen(model(gene_ids="symbol"))).jobs[0].datasets[0].view.gene_table == ""
        fish = dataset(organism="Danio rerio", gene_columns={"ensembl": "e"})
        assert one(chosen(model(gene_ids="ensembl")), data(fish)).jobs[0].datasets[0].view.gene_table == ""

    def test_that_the_datasets_own_column_leaves_out_are_looked_up(self):
        (job,) = one(chosen(model(gene_ids="ensembl")), data(dataset(gene_columns={"ensembl": "e"}))).jobs
        shown = job.datasets[0].view
        assert (shown.gene_columns, shown.gene_table != "") == ({"ensembl": "e"}, True)

    def test_without_a_table_are_a_reason(self):
        fish = dataset(organism="Danio rerio")
        (skip,) = plan.make([chosen(model(gene_ids="ensembl"))], [data(fish)], [TASKS["clustering"]], [1]).skips
        assert "there is no table for Danio rerio" in skip.reason


class TestLimitedCells:
    def made(self, limit, n_cells=100, **fields):
        found = data(dataset(**fields), n_cells=n_cells)
        return plan.make([chosen(model())], [found], [TASKS["clustering"]], [1], limit_cells=limit)

    def test_are_another_job_and_say_so_in_every_score(self):
        limited, whole = self.made(50), self.made(None)
        assert limited.jobs[0].id != whole.jobs[0].id
        assert plan.place(limited.jobs[0]) != plan.place(whole.jobs[0])
        assert (limited.scorings[0].limit_cells, whole.scorings[0].limit_cells) == (50, None)

    def test_are_all_of_them_where_there_are_no_more(self):
        assert self.made(100).jobs[0].id == self.made(None).jobs[0].id
        assert self.made(100).scorings[0].limit_cells is None

    def test_are_asked_for_also_of_a_dataset_that_is_not_here(self):
        limited = self.made(50, n_cells=None)
        assert limited.jobs[0].id == self.made(50).jobs[0].id
        assert limited.scorings[0].limit_cells == 50

    def test_keep_the_shares_of_the_first_role_that_the_dataset_has(self):
        rows = self.made(50, obs={"donor": "who", "batch": "lane", "cell_type": "label"}).jobs[0].datasets[0].view.rows
        assert (rows.stratify, rows.columns) == ("cell_type", {"cell_type": "label"})


def test_a_model_that_was_trained_on_a_dataset_is_marked():
    assert one(chosen(model(trained_on=["d"]))).scorings[0].seen
    assert one(dataset_choice=data(dataset(seen_by=["m"]))).scorings[0].seen
    assert not one().scorings[0].seen
