"""What a model is shown of a dataset, and from what it would know an answer."""

from dataclasses import replace

import anndata
import numpy as np

from cellgauge import plan, shown
from cellgauge.specs import DatasetSpec, Split
from cellgauge_tasks import Score, Task
from lab import finished, scored
from support import checked, embed_view, entry, made_model, make_cells

ROLES = {"cell_type": "label", "donor": "donor", "batch": "lane", "barcode": "name"}


def dataset(**fields):
    return DatasetSpec(name="d", **entry("/d", **{"obs": ROLES, **fields}))


def task(name="t", split=None, roles=("cell_type",), score=None):
    return Task(name, "1", "t", roles, score or (lambda output, obs, **told: []), {}, "pca", split=split)


def why_not(asks, roles=("cell_type",), **known):
    choice = shown.DatasetChoice(spec=dataset(), sha256="0" * 64, **known)
    return shown.why_not(made_model(obs_roles=asks).spec, choice, task(roles=roles))


def why_not_of(asks, scored, **known):
    choice = shown.DatasetChoice(spec=dataset(), sha256="0" * 64, **known)
    return shown.why_not(made_model(obs_roles=asks).spec, choice, scored)


class TestLeaks:
    def test_two_roles_that_tell_it_together_are_not_shown_together(self):
        tells = {"batch+donor": ("cell_type",)}
        assert why_not(["donor", "batch"], tells=tells) == (
            "the model sees batch and donor, from which cell_type can be told, which the task scores"
        )
        assert why_not(["donor"], tells=tells) == why_not(["batch"], tells=tells) == ""

    def test_what_follows_from_two_that_are_scored_is_not_shown(self):
        tells = {"cell_type+donor": ("batch",)}
        assert "batch, which follows from cell_type and donor" in why_not(
            ["batch"], ("donor", "cell_type"), tells=tells
        )
        assert why_not(["batch"], tells=tells) == ""

    def test_a_column_that_is_part_of_a_scored_role_is_shown_under_no_role(self):
        obs = {
            "cell_type": "label",
            "batch": ("lane", "donor"),
            "donor": "donor",
            "who": "donor",
            "run": ("lane", "day"),
        }
        choice = shown.DatasetChoice(spec=dataset(obs=obs), sha256="0" * 64)

        def says(asks, scored):
            return shown.why_not(made_model(obs_roles=[asks]).spec, choice, task(roles=(scored,)))

        assert says("donor", "batch") == "the model sees donor, and with it donor of batch, which the task scores"
        assert "donor of batch" in says("who", "batch")
        assert "lane of batch" in says("run", "batch")
        assert "donor of donor" in says("batch", "donor")
        assert says("batch", "batch") == "the model sees batch, which the task scores"
        assert says("batch", "cell_type") == says("run", "donor") == says("cell_type", "batch") == ""

    def test_a_role_that_names_cells_is_shown_to_nobody(self):
        assert "sees barcode, which no model may" in why_not(["barcode"], ids=("barcode",))
        assert why_not(["donor"], ids=("barcode",)) == ""

    def test_it_is_found_in_the_data(self, tmp_path):
        adata = make_cells(200)
        left, right = np.arange(200) % 2, np.arange(200) // 2 % 2
        adata.obs["label"], adata.obs["donor"], adata.obs["lane"] = left ^ right, left, right
        for column in ("label", "donor", "lane"):
            adata.obs[column] = adata.obs[column].astype(str)
        adata.obs["name"] = adata.obs_names
        adata.write_h5ad(tmp_path / "d.h5ad")
        path = tmp_path / "d.h5ad"
        found = checked(DatasetSpec(name="d", **{**entry(path, obs=ROLES), "source": path.as_uri()}))
        choice = shown.DatasetChoice.of(found)
        assert (choice.ids, choice.n_cells) == (("barcode",), 200)
        for asks, allowed in ((["donor"], True), (["batch"], True), (["donor", "batch"], False), (["barcode"], False)):
            assert (shown.why_not(made_model(obs_roles=asks).spec, choice, task()) == "") is allowed


class TestRolesOfTasks:
    def fits(self, asks, scored, **known):
        return why_not_of(asks, scored, **known) == ""

    def test_a_role_that_a_task_allows_is_seen_though_it_is_read(self):
        integration = replace(task(roles=("batch", "cell_type")), shown=("batch",))
        assert self.fits(["batch"], integration)
        assert "sees cell_type, which the task scores" in why_not_of(["cell_type"], integration)
        assert "sees batch" in why_not_of(["batch"], replace(integration, shown=()))

    def test_what_it_allows_may_still_give_away_what_it_hides(self):
        integration = replace(task(roles=("batch", "cell_type")), shown=("batch",))
        told = why_not_of(["batch"], integration, tells={"batch": ("cell_type",)})
        assert told == "the model sees batch, from which cell_type can be told, which the task scores"

    def test_what_is_read_where_it_is_there_forbids_nothing(self):
        assert self.fits(["donor"], replace(task(), optional=("donor", "batch")))

    def test_it_is_read_where_it_is_there_and_the_model_does_not_know_it(self):
        one = replace(task(roles=("batch",)), optional=("donor", "cell_type", "time"), shown=("batch",))

        def roles(*sees, **known):
            return set(shown.read(sees, shown.DatasetChoice(spec=dataset(), sha256="0" * 64, **known), one))

        assert roles() == roles("batch") == {"batch", "donor", "cell_type"}
        assert roles("cell_type") == {"batch", "donor"}, "what it saw is not scored"
        assert roles("donor") == {"batch", "donor", "cell_type"}, "which cells were drawn together is no answer"
        assert roles("batch", tells={"batch": ("cell_type",)}) == {"batch", "donor"}

    def test_it_is_part_of_what_a_score_is_known_by(self):
        choice = shown.DatasetChoice(spec=dataset(), sha256="0" * 64)
        model = plan.ModelChoice(spec=made_model().spec, variant="default", params={}, image="sha256:0")
        plain, more = (
            plan.make([model], [choice], [one], [1]).scorings[0]
            for one in (task(), replace(task(), optional=("donor",)))
        )
        assert plain.id != more.id
        assert (plain.roles, more.roles) == ({"cell_type": "label"}, {"cell_type": "label", "donor": "donor"})
        lacking = plan.make([model], [choice], [replace(task(), optional=("time",))], [1]).scorings[0]
        assert lacking == plain


class TestSplits:
    def made(self, *tasks, **fields):
        choice = shown.DatasetChoice(spec=dataset(**fields), sha256="0" * 64, n_cells=100)
        model = plan.ModelChoice(spec=made_model().spec, variant="default", params={}, image="sha256:0")
        return plan.make([model], [choice], tasks, [1])

    def test_of_the_catalogue_are_those_of_the_job_and_stand_in_the_score(self):
        split = Split(by="donor", test=("d1",))
        made = self.made(task(split="donors"), splits={"donors": split})
        (rows,) = (job.datasets[0].view.rows for job in made.jobs)
        assert (rows.split, rows.columns, rows.limit) == (split, {"donor": "donor"}, None)
        assert [one.split for one in made.scorings] == [split]

    def test_that_the_catalogue_lacks_are_drawn_the_same_for_everybody(self):
        drawn = Split(fraction=0.2, seed=0, stratify="cell_type")
        (one,) = self.made(task(split="donors")).scorings
        assert one.split == drawn
        (rows,) = (job.datasets[0].view.rows for job in self.made(task(split="x")).jobs)
        assert (rows.split, rows.columns) == (drawn, {"cell_type": "label"})
        bare = shown.DatasetChoice(spec=dataset(obs={}), sha256="0" * 64)
        assert shown.view(made_model().spec, bare, split="x").rows.split == Split(fraction=0.2)

    def test_each_is_a_job_of_its_own_and_tasks_of_one_share_it(self):
        splits = {"a": Split(by="donor", test=("d1",)), "b": Split(by="donor", test=("d0",))}
        tasks = [task("all"), task("one", "a"), task("two", "a"), task("three", "b"), task("four")]
        made = self.made(*tasks, splits=splits)
        jobs = {one.task: one.job for one in made.scorings}
        assert (jobs["one"], jobs["all"]) == (jobs["two"], jobs["four"])
        assert len(made.jobs) == len({*jobs.values()}) == len({plan.place(job) for job in made.jobs}) == 3

    def test_without_one_every_cell_is_shown(self):
        made = self.made(task(), splits={"donors": Split(by="donor", test=("d1",))})
        assert (made.jobs[0].datasets[0].view.rows, made.scorings[0].split) == (None, None)


def test_held_out_cells_never_reach_a_model_and_the_task_is_told_which_they_are(lab):
    heard, seen = [], []
    source = make_cells(seed=sum(b"d"))

    def score(output, obs, *, seed, train, test):
        heard.append((output, obs, train, test))
        return [Score("held out", float(test.sum()), len(output))]

    def look(launch):
        (path,) = launch.input.glob("*.h5ad")
        seen.append(anndata.read_h5ad(path))
        return embed_view(launch)

    spec = lab.dataset("d", splits={"donors": Split(by="donor", test=("d1",)).model_dump(exclude_defaults=True)})
    asked = {
        "t": task(split="donors", score=score),
        "u": task("u", score=lambda *a, seed: [Score("x", 1.0, len(a[0]))]),
    }
    prepared = lab.prepare(datasets=(spec,), tasks=asked)
    happened = lab.run(prepared, look)
    assert [one.state for one in finished(happened)] == ["ok", "ok"], lab.reasons()
    assert sorted(len(one) for one in seen) == [30, 60]
    assert {(one.scoring.task, one.scores[0].value) for one in scored(happened)} == {("t", 30.0), ("u", 1.0)}
    ((output, obs, train, test),) = heard
    held = (source.obs["donor"] == "d1").to_numpy()
    assert (test == held).all()
    assert (train == ~held).all()
    assert len(output) == train.sum()
    assert list(obs["cell_type"]) == list(source.obs["label"])
    few = min(seen, key=len)
    assert not set(few.obs_names) & set(obs.index[held])
    shown_rows = {row.tobytes() for row in few.X.toarray()}
    assert not shown_rows & {row.tobytes() for row in source.X.toarray()[held]}, "their counts, that is"
