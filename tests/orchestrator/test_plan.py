import time

import pytest

from cellgauge import plan
from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs import DatasetSpec, ModelSpec, Plan
from cellgauge_tasks import find

TASKS = find()


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


def data(spec, sha256="a" * 64):
    return plan.DatasetChoice(spec=spec, sha256=sha256)


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
        ({"gene_ids": "ensembl"}, {}, "the model needs ensembl gene ids, the dataset has symbol ids"),
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
