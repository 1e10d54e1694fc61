"""A group of datasets is compared as one where that means something, and nowhere else."""

from dataclasses import replace

import pytest

from cellgauge import groups, plan, shown, supplies
from cellgauge.data import stack
from cellgauge.report import standing
from cellgauge.specs import DatasetSpec, GroupSpec, ModelSpec
from cellgauge_tasks import find
from species import LATIN
from support import made_model

TASKS = {name: task for name, task in find().items() if "organism" in task.roles}
KNOWS = {"organisms": [*LATIN.values()], "verbs": {"embed": {"scope": "cell", "shared_space": True}}}
FITS = {"verbs": {"embed": {"scope": "dataset"}}}


def dataset(name, latin, **fields):
    obs = {"cell_type": "label", "donor": "donor"}
    raw = {"source": "x", "sha256": f"{sum(name.encode()):064x}", "gene_ids": "symbol", "obs": obs}
    return DatasetSpec(name=name, organism=latin, **{**raw, **fields})


HUMAN, MOUSE = (dataset(name, latin) for name, latin in LATIN.items())
FISH = dataset("fish", "Danio rerio", gene_ids="ensembl")


def group(*members, limit=None, **known):
    spec = GroupSpec(name="both", members=[one.name for one in members], datasets=members)
    choices = {one.name: supplies.entry(one).model_copy(update={"n_cells": 100, **known}) for one in members}
    return groups.choose(spec, choices, limit)


def chosen(**fields):
    return plan.ModelChoice(spec=made_model(**fields).spec, variant="default", params={}, image="sha256:0")


def make(fields, *several, tasks=TASKS, limit=None, **more):
    return plan.make([chosen(**fields)], several, tasks.values(), [1], {}, limit, **more)


class TestAModelWithOneSpaceForAllOrganisms:
    def test_is_shown_each_member_as_if_it_had_been_asked_for_alone(self):
        together = make(KNOWS, group(HUMAN, MOUSE))
        alone = make(KNOWS, *map(supplies.entry, (HUMAN, MOUSE)), tasks={"clustering": find()["clustering"]})
        assert together.jobs == alone.jobs
        both = make(KNOWS, group(HUMAN, MOUSE), supplies.entry(HUMAN))
        assert both.jobs == together.jobs, "so nothing is computed twice"

    def test_is_scored_once_over_all_members_in_their_order(self):
        made = make(KNOWS, group(HUMAN, MOUSE))
        assert [one.task for one in made.scorings] == list(TASKS)
        for one in made.scorings:
            assert [(part.dataset, part.organism) for part in one.parts] == [*LATIN.items()]
            assert (one.dataset, one.jobs, one.job) == ("both", tuple(job.id for job in made.jobs), made.jobs[0].id)
            assert one.parts[0].roles == {"cell_type": "label", "donor": "donor"}
        turned = make(KNOWS, group(MOUSE, HUMAN))
        assert {one.id for one in turned.jobs} == {one.id for one in made.jobs}
        assert {one.id for one in turned.scorings}.isdisjoint(one.id for one in made.scorings)

    def test_that_lacks_an_organism_does_not_apply_and_is_told_of_which_member(self):
        made = make({**KNOWS, "organisms": ["Homo sapiens"]}, group(HUMAN, MOUSE))
        assert (made.jobs, made.scorings) == ((), ())
        assert {one.reason for one in made.skips} == {
            "member mouse: the model knows Homo sapiens, the dataset is of Mus musculus"
        }

    def test_needs_no_table_of_orthologs(self):
        made = make({**KNOWS, "organisms": ["Homo sapiens", "Danio rerio"]}, group(HUMAN, FISH))
        assert len(made.scorings) == len(TASKS)

    def test_has_to_embed_cell_by_cell(self):
        with pytest.raises(ValueError, match="shared_space needs scope cell: what is fitted to one dataset"):
            made_model(verbs={"embed": {"scope": "dataset", "shared_space": True}})

    def test_says_so_in_no_manifest_that_does_not(self):
        plain = made_model().spec.model_dump(mode="json")
        assert plain["verbs"]["embed"].keys() == {"scope", "rows", "unseen_targets", "combinations"}, "old labels fit"
        told = made_model(**KNOWS).spec.model_dump(mode="json")
        assert ModelSpec.model_validate(told).verbs["embed"].shared_space


class TestAnyOtherModel:
    @pytest.mark.parametrize("verb", [{"scope": "dataset"}, {"scope": "batch"}, {"scope": "cell"}])
    def test_is_shown_the_members_together(self, verb):
        made = make({"verbs": {"embed": verb}}, group(HUMAN, MOUSE))
        (job,) = made.jobs
        (item,) = job.datasets
        assert item.name == "both"
        assert item.view.sha256 == item.stack.sha256
        assert [one.name for one in item.stack.members] == ["human", "mouse"]
        assert [(one.dataset, one.jobs, one.parts) for one in made.scorings] == [("both", (job.id,), ())] * len(TASKS)

    def test_is_not_compared_over_organisms_without_a_table(self):
        made = make(FITS, group(HUMAN, FISH))
        assert made.jobs == ()
        (reason,) = {one.reason for one in made.skips}
        assert reason.startswith("member fish: there is no table of one-to-one orthologs for Danio rerio")
        assert "`shared_space`" in reason

    def test_that_lacks_an_organism_does_not_apply(self):
        made = make({**FITS, "organisms": ["Homo sapiens"]}, group(HUMAN, MOUSE))
        assert made.jobs == ()
        assert "member mouse: the model knows Homo sapiens" in made.skips[0].reason

    def test_what_decides_what_it_is_shown_is_in_the_job(self):
        first = make(FITS, group(HUMAN, MOUSE)).jobs[0]
        others = [
            group(MOUSE, HUMAN),
            group(HUMAN, dataset("mouse", LATIN["mouse"], sha256="f" * 64)),
            group(HUMAN, dataset("mouse", LATIN["mouse"], obs={"cell_type": "other", "donor": "donor"})),
            group(HUMAN, MOUSE, limit=50),
        ]
        assert len({first.id, *(make(FITS, one).jobs[0].id for one in others)}) == 5
        told = plan.fields_of(first)
        assert told["member mouse.organism"] == "Mus musculus"
        assert told["member mouse.sha256"] == MOUSE.sha256


class TestWhatDoesNotApply:
    def test_a_task_that_compares_no_organisms(self):
        for fields in (KNOWS, FITS):
            made = make(fields, group(HUMAN, MOUSE), tasks={"clustering": find()["clustering"]})
            assert made.jobs == ()
            told = "the task compares no organisms, so ask for the members of the group: human, mouse"
            assert [one.reason for one in made.skips] == [told]

    def test_a_group_of_one_organism(self):
        made = make(KNOWS, group(HUMAN, dataset("other", LATIN["human"])))
        assert made.skips[0].reason == "its members are all of Homo sapiens, and the task compares organisms"

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_one_file_under_two_names(self, fields):
        made = make(fields, group(HUMAN, dataset("mouse", LATIN["mouse"], sha256=HUMAN.sha256)))
        assert (made.jobs, made.skips[0].reason) == ((), "its members human and mouse are the same file")

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_a_member_that_lacks_a_role(self, fields):
        made = make(fields, group(HUMAN, dataset("mouse", LATIN["mouse"], obs={"donor": "donor"})))
        told = "member mouse: the task needs cell_type, which it lacks (it has: donor)"
        assert (made.jobs, made.skips[0].reason) == ((), told)

    def test_a_model_that_sees_what_is_scored(self):
        made = make({**KNOWS, "obs_roles": ["cell_type"]}, group(HUMAN, MOUSE))
        assert made.skips[0].reason == "member human: the model sees cell_type, which the task scores"

    def test_a_task_with_a_split(self):
        task = replace(TASKS["cross_species_integration"], split="test")
        made = make(FITS, group(HUMAN, MOUSE), tasks={task.name: task})
        assert made.skips[0].reason == "the task needs a split, and a group has none"


class TestBothWays:
    def test_are_ranked_together_since_they_are_of_the_same_cells(self):
        own, shown_together = (make(fields, group(HUMAN, MOUSE)).scorings[0] for fields in (KNOWS, FITS))
        assert standing.ground(own) == standing.ground(shown_together)
        assert own.roles == stack.columns(["cell_type", "donor"])

    def test_share_their_controls(self):
        own, together = (make(fields, group(HUMAN, MOUSE), with_controls=True).controls for fields in (KNOWS, FITS))
        assert [one.scoring.id for one in own] == [one.scoring.id for one in together]
        assert len(own) == 4 * len(TASKS)
        assert [len(one.others) for one in own] == [1] * len(own)

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_have_controls_of_their_own_where_other_labels_or_organisms_are_compared(self, fields):
        def ids(*members):
            return {one.scoring.id for one in make(fields, group(*members), with_controls=True).controls}

        plain = ids(HUMAN, MOUSE)
        assert not plain & ids(HUMAN, dataset("mouse", LATIN["mouse"], obs={"cell_type": "other"}))
        assert not plain & ids(dataset("human", LATIN["mouse"]), dataset("mouse", LATIN["human"]))

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_take_so_many_cells_of_each_member_and_say_so(self, fields):
        made = make(fields, group(HUMAN, MOUSE, limit=50), limit=50)
        assert {one.limit_cells for one in made.scorings} == {50}
        whole = make(fields, group(HUMAN, MOUSE, limit=100), limit=100)
        assert {one.limit_cells for one in whole.scorings} == {None}
        assert {one.id for one in whole.jobs} == {one.id for one in make(fields, group(HUMAN, MOUSE)).jobs}

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_a_donor_is_read_only_where_all_members_have_one(self, fields):
        made = make(fields, group(HUMAN, dataset("mouse", LATIN["mouse"], obs={"cell_type": "label"})))
        assert {frozenset(one.roles) for one in made.scorings} == {frozenset({"cell_type", "organism"})}

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_a_model_that_was_trained_on_one_member_has_seen_the_group(self, fields):
        assert make({**fields, "trained_on": ["mouse"]}, group(HUMAN, MOUSE)).scorings[0].seen
        assert make(fields, group(HUMAN, dataset("mouse", LATIN["mouse"], seen_by=["m"]))).scorings[0].seen
        assert not make(fields, group(HUMAN, MOUSE)).scorings[0].seen


def test_a_stack_scores_nothing_but_the_comparison_of_organisms_later_either():
    choice = group(HUMAN, MOUSE).stacked
    (job,) = make(FITS, group(HUMAN, MOUSE)).jobs
    assert shown.unfit(job, choice, TASKS["cross_species_integration"]) == ""
    assert "the task compares no organisms" in shown.unfit(job, choice, find()["clustering"])
