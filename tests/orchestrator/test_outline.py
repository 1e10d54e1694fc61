"""What a plan says before anything runs."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cellgauge import pipeline
from cellgauge.errors import ImageError
from cellgauge.images import present
from cellgauge.report import label, outline
from cellgauge.specs import Plan, Weight
from lab import task
from support import a_job, made_model


def render(found):
    console = Console(file=io.StringIO(), width=200)
    console.print(outline.render(found))
    return console.file.getvalue()


def outlined(lab, prepared):
    plan = prepared.plan
    return outline.make(plan, pipeline.reusable(plan, lab.store), pipeline.lacking(prepared, lab.cache))


class TestLabel:
    def test_a_job_is_named_with_all_that_sets_it_apart(self):
        job = a_job("01" * 10, "d", "e", variant="big", changed={"k": 5, "name": "[red]"})
        assert label.job(job) == "m:big k=5 name=[red] on d, e (seed 1)"
        assert label.job(a_job("01" * 10, "d")) == "m on d (seed 1)"

    def test_a_row_keeps_its_marks_by_the_name(self):
        assert label.model("pca", "default", {"k": 5}, " †") == "pca † k=5"


class TestOutline:
    def test_two_jobs_of_a_sweep_have_two_names(self):
        jobs = tuple(a_job(f"0{k}" * 10, "d", changed={"k": k, "name": "[b]"}) for k in (1, 2))
        found = outline.make(Plan(jobs=jobs, scorings=()), pipeline.Reuse(), {})
        assert all(f"m k={k} name=[b]" in render(found) for k in (1, 2))

    def test_what_runs_and_what_is_used_again(self, lab):
        prepared = lab.prepare()
        assert "jobs to run: 1, reused: 0; results skipped: 0" in render(outlined(lab, prepared))
        lab.run(prepared)
        found = outlined(lab, prepared)
        assert [(one.action, one.tasks) for one in found.jobs] == [("reuse", {"t": "reuse"})]
        assert "jobs to run: 0, reused: 1; results skipped: 0" in render(found)

    def test_what_would_be_pulled_is_marked_where_it_is_used(self, lab):
        far = {"source": "https://nowhere.invalid/far.h5ad"}
        datasets = ("d", lab.dataset("far", **far, size=1_234_567_890), lab.dataset("who", **far))
        prepared = lab.prepare(datasets=datasets, how={"pulling": None})
        found = outline.make(prepared.plan, pipeline.Reuse(), {}, prepared.unpulled)
        assert [one.to_pull for one in found.jobs] == [{}, {"far": 1_234_567_890}, {"who": None}]
        told = render(found)
        assert "far (to be pulled, 1.2 GB)" in told
        assert "who (to be pulled, size unknown)" in told
        assert "d (" not in told

    def test_a_dataset_that_is_lost_or_wrong_is_not_to_be_pulled(self, lab):
        lost = lab.dataset("lost", source=(lab.folder / "none.h5ad").as_uri())
        prepared = lab.prepare(datasets=("d", lost), how={"pulling": None})
        assert (prepared.unpulled, [*prepared.unusable]) == ({}, ["lost"])

    def test_a_model_whose_image_cannot_be_had_is_told(self, lab):
        def image_of(model):
            raise ImageError("there is no Dockerfile")

        found = outlined(lab, lab.prepare(image_of=image_of))
        assert [(one.action, one.problem) for one in found.jobs] == [("run", "there is no Dockerfile")]
        assert "m cannot run: there is no Dockerfile" in render(found)
        assert "jobs to run: 0, reused: 0, that cannot run: 1;" in render(found)

    def test_what_is_skipped_for_one_reason_is_a_line(self, lab):
        tasks = {name: replace(task(name), roles=("batch",)) for name in ("t", "u")}
        found = render(outlined(lab, lab.prepare(models=("m", "n"), datasets=("d", "e"), tasks=tasks)))
        (line,) = [one for one in found.split("skipped: ")[1:] if "m, n on d, e" in one]
        assert " ".join(line.split()).startswith("m, n on d, e (t, u): ")

    def test_a_model_with_neither_dockerfile_nor_image_has_none(self, tmp_path):
        with pytest.raises(ImageError, match=f"{tmp_path} has no Dockerfile, and its model.yaml names no image"):
            present(made_model().model_copy(update={"folder": tmp_path}), "python:3.11-slim")


class TestWeights:
    def lacking(self, lab, source, sha256="0" * 64):
        weights = [Weight(path="w.bin", source=source, sha256=sha256).model_dump()]
        model = made_model(variants={"default": {"weights": weights}})
        prepared = lab.prepare(models=(model.model_copy(update={"folder": lab.folder}),))
        return list(pipeline.lacking(prepared, lab.cache).values())

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("none.bin", "none.bin: No such file or directory"),
            ("file:///none.bin", "weights of m: /none.bin: No such file or directory"),
            ("gopher://host/w.bin", "weights of m: sources of the kind 'gopher://' cannot be read"),
            ("package://no_such_package/w.bin", "no_such_package"),
        ],
    )
    def test_what_is_not_there_is_told_before_a_run(self, lab, source, reason):
        (found,) = self.lacking(lab, source)
        assert reason in found

    def test_what_is_there_or_elsewhere_is_not(self, lab):
        (lab.folder / "w.bin").write_bytes(b"")
        assert self.lacking(lab, "w.bin") == []
        assert self.lacking(lab, "https://localhost:1/w.bin") == []
