"""Whole runs on several datasets as one: what a person would get of them, also where something goes wrong."""

import anndata
import numpy as np
import pytest

from cellgauge import catalog, offline, pipeline, plan, reproduce, supplies
from cellgauge.data import stack
from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.images import Runnable
from cellgauge.pipeline import Site
from cellgauge.report import explanation, outline
from cellgauge.scorers import Here
from cellgauge.specs import Run
from cellgauge_tasks import Score, Task, find
from lab import finished, scored
from species import LATIN, answer, embed_known, embed_pca, group, split, two, write
from support import made_model

INTEGRATION = {"cross_species_integration": find()["cross_species_integration"]}
TASKS = {name: task for name, task in find().items() if name.startswith("cross_species")}


def species(embedding, obs, *, seed):
    """Tell whose cells stand first, and how many there are of each."""
    first = float(str(np.asarray(obs["organism"])[0]) == LATIN["human"])
    return [Score("first", first, len(embedding)), Score("species", len({*obs["organism"]}), len(embedding))]


SPECIES = Task("count", "1", "t", ("cell_type", "organism"), species, {}, "pca", shown=("organism",))
KNOWS = {"organisms": [*LATIN.values()], "verbs": {"embed": {"scope": "cell", "shared_space": True}}}
FITS = {"verbs": {"embed": {"scope": "dataset"}}}


def prepare(lab, fields, datasets, tasks=INTEGRATION, name="m", **more):
    return lab.prepare(models=(made_model(name=name, **fields),), datasets=datasets, tasks=tasks, how=more)


def numbers(result):
    return {(one.metric, str(one.params)): (one.value, one.low, one.high) for one in result.scores}


def breaking(member, function=embed_known):
    """A model that fails on one member."""

    def run(launch):
        return 7 if (launch.input / f"{member}.h5ad").exists() else function(launch)

    return run


class TestRealCells:
    def test_two_files_of_two_species_score_as_the_one_they_come_from(self, lab, real_data, tmp_path):
        specs = catalog.entries([split(real_data, tmp_path)])
        prepared = prepare(lab, FITS, [specs["both"], specs["pancreas"]], TASKS)
        results = scored(lab.run(prepared, embed_pca))
        assert [one.state for one in results] == ["ok"] * 4, [one.reason for one in results]
        found = {(one.scoring.dataset, one.scoring.task): one for one in results}
        for task in TASKS:
            one, other = (numbers(found[name, task]) for name in ("both", "pancreas"))
            assert one.keys() == other.keys()
            # Rows come in another order, since opaque ids are keyed by the file: so components differ in last digits.
            for key, values in one.items():
                assert values[0] == pytest.approx(other[key][0], abs=1e-6), key
            draws = {score.resamples for name in ("both", "pancreas") for score in found[name, task].scores}
            assert draws == {score.resamples for score in found["both", task].scores}, "compared in pairs"
        genes = {one.name: one.genes.given for record in lab.records() for one in record.items}
        assert genes["both"] == genes["pancreas"] > 11_000


class TestTheModelsOwnSpace:
    def test_scores_as_the_same_cells_in_one_file_do(self, lab, tmp_path):
        """The oracle: a model that looks at each cell alone gives the same whichever way its cells are shown."""
        both = two(tmp_path)
        apart = scored(lab.run(prepare(lab, KNOWS, [both]), embed_known))
        together = scored(lab.run(prepare(lab, FITS, [both], name="other"), embed_known))
        assert [one.state for one in (*apart, *together)] == ["ok"] * 2, [one.reason for one in (*apart, *together)]
        for one, other in zip(apart, together, strict=True):
            assert numbers(one) == numbers(other)
            assert numbers(one)
        assert [len(one.scoring.parts) for one in (*apart, *together)] == [2, 0]

    def test_names_every_output_in_the_result(self, lab, tmp_path):
        prepared = prepare(lab, KNOWS, [two(tmp_path)])
        (result,) = scored(lab.run(prepared, embed_known))
        by_name = {record.items[0].name: record.items[0].sha256 for record in lab.records()}
        assert result.output == f"{by_name['human']}+{by_name['mouse']}"
        assert len({*by_name.values()}) == 2

    def test_takes_the_outputs_of_members_that_were_asked_for_alone(self, lab, tmp_path):
        both = two(tmp_path)
        lab.run(prepare(lab, KNOWS, both.datasets, {"embedding": find()["embedding"]}), embed_known)
        happened = lab.run(prepare(lab, KNOWS, [both]), breaking("human", breaking("mouse")))
        assert [one.state for one in finished(happened)] == ["ok", "ok"], "nothing ran"
        assert scored(happened)[0].state == "ok"

    def test_of_several_widths_is_no_space(self, lab, tmp_path):
        def uneven(launch):
            if (launch.input / "mouse.h5ad").exists():
                return embed_known(launch, width=12)
            return embed_known(launch)

        (result,) = scored(lab.run(prepare(lab, KNOWS, [two(tmp_path)]), uneven))
        assert result.state == "contract_violation"
        assert "different width (human 20, mouse 12), so not in one space" in result.reason

    def test_an_output_that_was_changed_since_is_not_scored(self, lab, tmp_path):
        both = two(tmp_path)
        lab.run(prepare(lab, KNOWS, both.datasets, {"embedding": find()["embedding"]}), embed_known)
        path = next((lab.store.root / "jobs").rglob("mouse/embedding.npy"))
        np.save(path, np.load(path) + 1)
        (result,) = scored(lab.run(prepare(lab, KNOWS, [both]), embed_known))
        assert (result.state, "mouse was changed since it was checked" in result.reason) == ("infrastructure", True)


class TestWhatGoesWrong:
    @pytest.mark.parametrize("member", LATIN)
    def test_a_member_that_fails_is_named_and_the_other_is_kept(self, lab, tmp_path, member):
        prepared = prepare(lab, KNOWS, [two(tmp_path)])
        (result,) = scored(lab.run(prepared, breaking(member)))
        assert (result.state, result.scores) == ("model_error", ())
        assert result.reason.startswith(f"member {member}: ")
        found = lab.document(prepared)
        assert (found.states, found.complete) == ({"model_error": 1}, False)
        assert {one.items[0].name: one.state for one in lab.records()} == {
            **dict.fromkeys(LATIN, "ok"),
            member: "model_error",
        }

    def test_the_next_run_does_only_what_is_missing(self, lab, tmp_path):
        both, ran = two(tmp_path), []

        def noting(launch):
            ran.extend(path.name for path in launch.input.glob("*.h5ad"))
            return embed_known(launch)

        lab.run(prepare(lab, KNOWS, [both]), breaking("mouse"))
        (result,) = scored(lab.run(prepare(lab, KNOWS, [both]), noting))
        assert (result.state, ran) == ("ok", ["mouse.h5ad"])
        happened = lab.run(prepare(lab, KNOWS, [both]), noting)
        assert ran == ["mouse.h5ad"]
        assert [one.reused for one in happened] == [True] * 3

    def test_a_job_that_is_left_out_counts_as_it_was(self, lab, tmp_path):
        prepared = prepare(lab, KNOWS, [two(tmp_path)])
        lab.run(prepared, breaking("human", breaking("mouse")))
        only = frozenset({plan.place(prepared.plan.jobs[0])})
        (result,) = scored(lab.run(prepared, embed_known, only=only))
        assert (result.state, result.reason[:13]) == ("model_error", "member mouse:")

    def test_after_ctrl_c_what_is_done_stays_and_no_half_result_is_made(self, lab, tmp_path):
        cancel, prepared = Cancel(), prepare(lab, KNOWS, [two(tmp_path)])

        def stopping(launch):
            done = embed_known(launch)
            cancel.ask()
            return done

        happened = lab.run(prepared, stopping, cancel=cancel, slots=1)
        assert scored(happened) == []
        assert len(finished(happened)) == 1
        assert lab.document(prepared).states == {"cancelled": 1}
        assert scored(lab.run(prepared, embed_known))[0].state == "ok"

    def test_a_member_that_is_not_there_is_named(self, lab, tmp_path):
        human, mouse = two(tmp_path).datasets
        gone = group(human, mouse.model_copy(update={"source": (tmp_path / "gone.h5ad").as_uri()}))
        for fields in (KNOWS, FITS):
            (result,) = scored(lab.run(prepare(lab, fields, [gone]), embed_known))
            assert result.state == "infrastructure"
            assert result.reason.startswith("member mouse: ")
            assert "gone.h5ad" in result.reason

    def test_members_that_share_no_gene_fail_only_where_they_are_shown_together(self, lab, tmp_path):
        human, _ = two(tmp_path).datasets
        strange = write(tmp_path, "strange", LATIN["mouse"])
        adata = anndata.read_h5ad(tmp_path / "strange.h5ad")
        adata.var_names = [f"Gm{n}" for n in range(90000, 90000 + adata.n_vars)]
        adata.write_h5ad(tmp_path / "strange.h5ad")
        both = group(human, strange)
        (together,) = scored(lab.run(prepare(lab, FITS, [both]), embed_known))
        assert together.state == "infrastructure"
        assert "no gene of its members is known to be the same" in together.reason
        (own,) = scored(lab.run(prepare(lab, KNOWS, [both]), _random))
        assert own.state == "ok"


def _random(launch):
    for path in launch.input.glob("*.h5ad"):
        adata = anndata.read_h5ad(path)
        answer(launch, path.stem, np.random.default_rng(1).normal(size=(adata.n_obs, 4)), adata.obs_names)
    return 0


class TestLater:
    def rescored(self, lab, prepared, tasks, *, controls=False):
        data = dict(prepared.datasets)
        choices = {name: plan.DatasetChoice.of(one) for name, one in data.items()}
        made = offline.again(
            prepared.plan.jobs, prepared.plan.scorings, choices, tasks, {}, controls=controls, asked=("both",)
        )
        bench = offline.Bench(data, tasks, lab.store, "r2")
        todo = offline.of_jobs(made, pipeline.reusable(made, lab.store), bench)
        todo += offline.of_controls(made.controls, bench)
        return made, list(offline.fill(todo, Here(), lab.store, "r2", Cancel()))

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_kept_outputs_are_scored_with_other_tasks(self, lab, tmp_path, fields):
        prepared = prepare(lab, fields, [two(tmp_path)])
        (before,) = scored(lab.run(prepared, embed_known))
        tasks = {**INTEGRATION, "count": SPECIES, "clustering": find()["clustering"]}
        made, results = self.rescored(lab, prepared, tasks, controls=True)
        assert made.datasets == ("both",)
        assert [(one.dataset, one.task) for one in made.skips] == [("both", "clustering")]
        assert "ask for the members of the group: human, mouse" in made.skips[0].reason
        assert {one.state for one in results} == {"ok"}, [one.reason for one in results]
        by_task = {one.scoring.task: one for one in results if one.scoring.control is None}
        assert numbers(by_task["cross_species_integration"]) == numbers(before)
        assert numbers(by_task["count"]) == {("first", "{}"): (1.0, None, None), ("species", "{}"): (2.0, None, None)}
        assert sum(one.scoring.control is not None for one in results) == 4

    @pytest.mark.parametrize("fields", [KNOWS, FITS])
    def test_a_job_runs_again_and_gives_the_same(self, lab, tmp_path, fields):
        both = two(tmp_path)
        prepared = prepare(lab, fields, [both])
        lab.run(prepared, embed_known)
        raw = {"id": "r1", "command": "", "started": "", "engine": "function", "ended": "2026", "cellgauge": "0"}
        lab.store.keep_run(Run(plan=prepared.plan, **raw))
        for record in lab.records():
            specs = {one.name: one for one in both.datasets if one.name in supplies.files([record.job])}
            image_of = lambda model, image=record.job.image: Runnable(image, model.folder)  # noqa: E731
            more = (lab.store, FunctionEngine(embed_known), Site(), lab.cache, image_of, Cancel())
            found = reproduce.reproduce(record, made_model(name="m", **fields), specs, *more)
            assert (found.identical, found.agrees) == (True, True), found.reason
            assert all(one.kept == one.now for one in found.scores)

    def test_plan_and_explain_show_every_job_and_the_score_once(self, lab, tmp_path):
        prepared = prepare(lab, KNOWS, [two(tmp_path)])
        reuse = pipeline.reusable(prepared.plan, lab.store)
        shown = outline.make(prepared.plan, reuse, {})
        assert (shown.planned, [[*one.tasks] for one in shown.jobs]) == (1, [["cross_species_integration"]] * 2)
        lab.run(prepared, embed_known)
        reuse = pipeline.reusable(prepared.plan, lab.store)
        told = explanation.make(prepared.plan, lab.store, reuse).explained
        assert [one.reused for one in told] == [True] * 3
        assert told[-1].what == "cross_species_integration of both"

    def test_a_table_shows_the_group_as_a_dataset_of_its_own_beside_its_members(self, lab, tmp_path):
        both = two(tmp_path)
        tasks = {**INTEGRATION, "embedding": find()["embedding"]}
        prepared = prepare(lab, KNOWS, [both, both.datasets[0]], tasks)
        lab.run(prepared, embed_known)
        found = lab.document(prepared)
        states = {(one.dataset, one.task): one.state for one in found.results}
        assert states == {
            ("both", "cross_species_integration"): "ok",
            ("both", "embedding"): "not_applicable",
            ("human", "cross_species_integration"): "not_applicable",
            ("human", "embedding"): "ok",
        }
        (entry,) = [one for one in found.results if one.dataset == "both" and one.state == "ok"]
        assert entry.scores[0].n_cells == 105
        assert entry.genes_known == 1.0

    def test_a_limit_is_one_of_each_member_whichever_way(self, lab, tmp_path):
        both = two(tmp_path)
        for fields, name in ((KNOWS, "own"), (FITS, "together")):
            prepared = prepare(lab, fields, [both], name=name, limit_cells=30)
            (result,) = scored(lab.run(prepared, embed_known))
            assert (result.scores[0].n_cells, result.scoring.limit_cells) == (60, 30)
        own, together = sorted(lab.store.results(), key=lambda one: one.scoring.model)
        assert numbers(own) == numbers(together), "of the very same cells"


def test_donors_of_two_members_are_two_whatever_they_are_called():
    assert stack.columns(["donor", "batch", "cell_type"]) == {
        "donor": (stack.HOME, "donor"),
        "batch": (stack.HOME, "batch"),
        "cell_type": "cell_type",
        "organism": "organism",
    }
