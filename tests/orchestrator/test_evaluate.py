"""A run from plan to results: real data, files, threads, locks; models are functions, and GPUs come out of a list."""

import json
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from cellgauge import executors, gpus, pipeline, plan
from cellgauge.engines import Cancel, Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError, ImageError, StorageError
from cellgauge.evaluate import Advanced, Finished, Scored, evaluate
from cellgauge.images import Runnable
from cellgauge.pipeline import Reuse, Site, Wanted
from cellgauge.report import document
from cellgauge.request import Terms
from cellgauge.scorers import Scorers
from cellgauge.specs import DatasetSpec, Run
from cellgauge.worker import Kit, Started
from cellgauge_tasks import Score, Task, find
from support import ScoredAtOnce, begin_item, embed_view, entry, made_model, make_cells, write_item

GPU = {"gpu": "optional"}


def count_cells(embedding, obs, *, seed):
    return [Score("cells", float(len(embedding)), len(embedding))]


def task(name="t", score=count_cells):
    return Task(name=name, version="1", title="t", roles=("cell_type",), score=score, headline={}, baseline="pca")


class Lab:
    """Datasets, models and a results folder."""

    def __init__(self, folder, store):
        self.folder, self.store = folder, store

    def dataset(self, name, **fields):
        path = self.folder / f"{name}.h5ad"
        if not path.exists():
            make_cells(seed=sum(name.encode())).write_h5ad(path)
        return DatasetSpec(name=name, **{**entry(path), "source": path.as_uri(), **fields})

    def prepare(self, *, models=("m",), datasets=("d",), tasks=None, seeds=(1,), site=None, image_of=None, **fields):
        """Lay out a plan; a dataset or a model is a name, or made already; fields are those of each model."""
        made = [made_model(name=one, **fields) if isinstance(one, str) else one for one in models]
        specs = [self.dataset(one) if isinstance(one, str) else one for one in datasets]
        image_of = image_of or (lambda model: Runnable(f"sha256:{model.spec.name}", model.folder))
        wanted = [Wanted(model, "default", {}) for model in made]
        return pipeline.prepare(wanted, specs, tasks or {"t": task()}, seeds, image_of, site or Site())

    def kit(self, function=embed_view, *, slots=2, site=None, engine=None, terms=None, **fields):
        return Kit(
            store=self.store,
            engine=engine or FunctionEngine(function),
            executor=executors.make(f"threads:{slots}"),
            slots=slots,
            scorers=fields.pop("scorers", None) or ScoredAtOnce(),
            cache=self.folder / "cache",
            site=site or Site(),
            terms=Terms(**{"run": "r1", "pause": 0.0, **(terms or {})}),
            **fields,
        )

    def run(self, prepared, function=embed_view, *, cancel=None, **fields):
        """Do what the plan says, and give what happened."""
        reuse = pipeline.reusable(prepared.plan, self.store)
        return list(evaluate(prepared, reuse, self.kit(function, **fields), cancel or Cancel()))

    def document(self, prepared):
        raw = {"id": "r1", "command": "", "started": "", "engine": "function", "ended": "2026", "cellgauge": "0"}
        return document.collect(Run(plan=prepared.plan, **raw), self.store)

    def records(self):
        return [self.store.record(job) for job in self.store.job_ids()]


@pytest.fixture
def lab(tmp_path, store):
    return Lab(tmp_path, store)


def finished(happened):
    return [one.record for one in happened if isinstance(one, Finished)]


def scored(happened):
    return [one.result for one in happened if isinstance(one, Scored)]


class TestLedger:
    def test_every_planned_result_ends_in_exactly_one_state(self, lab):
        """Eight models that each do something else, on three datasets of which one has no labels."""
        ends = {
            "fine": None,
            "crash": Exit(code=1),
            "oom": Exit(code=137, oom_killed=True),
            "slow": Exit(code=143, timed_out=True),
            "silent": Exit(code=0),
            "unfit": Exit(code=99),
            "away": EngineError("the engine is away"),
        }

        def act(launch):
            end = ends[launch.model]
            if isinstance(end, Exception):
                raise end
            return end or embed_view(launch)

        def image_of(model):
            if model.spec.name == "lost":
                raise ImageError("there is no such image")
            return Runnable(f"sha256:{model.spec.name}", model.folder)

        datasets = ("d", "e", lab.dataset("f", obs={"donor": "donor"}))
        prepared = lab.prepare(models=(*ends, "lost"), datasets=datasets, seeds=(1, 2), image_of=image_of)
        happened = lab.run(prepared, act, slots=3, terms={"retries": 1})
        found = lab.document(prepared)
        assert (found.planned, found.complete) == (48, False)
        each = {
            **{"ok": 4, "model_error": 4, "out_of_memory": 4, "timeout": 4, "contract_violation": 4},
            **{"infrastructure": 8, "not_applicable": 4 + 16},
        }
        assert found.states == each
        assert sum(found.states.values()) == found.planned
        assert all(one.reason for one in found.results if one.state != "ok")
        assert Counter(one.scoring.id for one in scored(happened)) == Counter(one.id for one in prepared.plan.scorings)
        assert Counter(one.job.id for one in finished(happened)) == Counter(one.id for one in prepared.plan.jobs)
        assert {len(one.attempts) for one in lab.records() if one.job.model == "away"} == {1}
        assert {len(one.attempts) for one in lab.records() if one.job.model != "away"} == {0}

    def test_a_complete_run_is_complete_and_the_next_one_does_nothing(self, lab):
        prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"))
        happened = lab.run(prepared)
        assert lab.document(prepared).complete
        assert {score.value for one in scored(happened) for score in one.scores} == {60.0}
        again = lab.run(prepared, lambda launch: pytest.fail("it began"))
        assert all(one.reused for one in again)
        assert finished(again) == [lab.store.record(job.id) for job in prepared.plan.jobs]
        assert len(scored(again)) == 4

    def test_what_is_missing_is_done_and_nothing_else(self, lab):
        first = lab.prepare(datasets=("d",))
        lab.run(first)
        begun = []
        both = lab.prepare(datasets=("d", "e"), tasks={"t": task(), "u": task("u")})
        happened = lab.run(both, lambda launch: begun.append(launch) or embed_view(launch))
        assert len(begun) == 1
        assert [one.reused for one in happened if isinstance(one, Finished)] == [True, False]
        assert sorted((one.result.scoring.dataset, one.reused) for one in happened if isinstance(one, Scored)) == [
            ("d", False),
            ("d", True),
            ("e", False),
            ("e", False),
        ]

    def test_a_refused_image_is_infrastructure_with_its_reason_and_the_others_go_on(self, lab):
        def image_of(model):
            if model.spec.name == "lost":
                raise ImageError("the registry says no", phase="pull")
            return Runnable("sha256:1", model.folder)

        prepared = lab.prepare(models=("lost", "m"), image_of=image_of)
        assert prepared.unavailable == {"lost": "the registry says no"}
        lab.run(prepared, lambda launch: embed_view(launch) if launch.model == "m" else pytest.fail("it began"))
        found = {one.model: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found == {"lost": ("infrastructure", "the registry says no"), "m": ("ok", "")}
        assert {one.phase for one in lab.records() if one.job.model == "lost"} == {"prepare"}

    def test_a_processor_that_lacks_something_is_named_before_anything_starts(self, lab):
        site = Site(flags=frozenset({"sse2"}))
        prepared = lab.prepare(resources={"cpu_features": ["sse2", "avx512f"]}, site=site)
        lab.run(prepared, lambda launch: pytest.fail("it began"), site=site)
        (found,) = lab.document(prepared).results
        assert found.reason == "it needs a processor with avx512f, which this one lacks"

    def test_a_view_that_cannot_be_made_is_the_failure_of_that_dataset_alone(self, lab):
        datasets = ("d", lab.dataset("e", matrix={"kind": "log1p"}), "f")
        prepared = lab.prepare(datasets=datasets)
        lab.run(prepared)
        found = {one.dataset: one.state for one in lab.document(prepared).results}
        assert found == {"d": "ok", "e": "infrastructure", "f": "ok"}
        (record,) = [one for one in lab.records() if one.state != "ok"]
        assert (record.phase, "no integer counts come out" in record.reason) == ("prepare", True)

    def test_weights_that_are_not_there_are_the_failure_of_that_model_alone(self, lab):
        weight = {"path": "w.bin", "source": "/no/such/w.bin", "sha256": "0" * 64}
        models = (made_model(name="heavy", variants={"default": {"weights": [weight]}}), made_model(name="m"))
        prepared = lab.prepare(models=models)
        lab.run(prepared)
        found = {one.model: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found["m"] == ("ok", "")
        assert found["heavy"][0] == "infrastructure"
        assert "/no/such/w.bin: No such file" in found["heavy"][1]

    def test_results_are_kept_the_moment_they_exist(self, lab):
        prepared = lab.prepare(datasets=("d", "e", "f"))
        reuse, kit = Reuse(), lab.kit(slots=1)
        following = evaluate(prepared, reuse, kit, Cancel())
        for one in following:
            if isinstance(one, Finished):
                assert lab.store.record(one.record.job.id) == one.record
            if isinstance(one, Scored):
                assert lab.store.result(one.result.scoring.id) == one.result

    def test_a_record_says_which_run_and_engine_and_what_is_installed(self, lab):
        class Telling(FunctionEngine):
            asked = []

            def packages(self, image):
                self.asked.append(image)
                return ("numpy==2.0",)

        engine = Telling(embed_view)
        prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"), seeds=(1, 2))
        lab.run(prepared, engine=engine, engine_version="function 1", slots=4)
        assert sorted(engine.asked) == ["sha256:m", "sha256:n"], "each image is asked once"
        (known,) = {(one.run, one.engine_version, one.packages) for one in lab.records()}
        assert known[:2] == ("r1", "function 1")
        assert (lab.store.root / "environments" / f"{known[2]}.txt").read_text() == "numpy==2.0\n"

    def test_how_long_a_good_job_took_is_noted(self, lab):
        prepared = lab.prepare(models=("m", "bad"))
        lab.run(prepared, lambda launch: embed_view(launch) if launch.model == "m" else 1)
        assert list(lab.store.history()) == [("m:default", "d", "cpu")]


class TestOnlyAndRefresh:
    def test_only_the_jobs_that_are_named_run(self, lab):
        prepared = lab.prepare(datasets=("d", "e", "f"))
        chosen = prepared.plan.jobs[1].id
        happened = lab.run(prepared, only=frozenset([chosen]))
        assert [one.job.id for one in finished(happened)] == [chosen]
        assert lab.document(prepared).states == {"cancelled": 2, "ok": 1}

    def test_refresh_does_everything_again(self, lab):
        prepared = lab.prepare(datasets=("d", "e"))
        lab.run(prepared)
        begun = []
        happened = lab.run(
            prepared, lambda launch: begun.append(launch) or embed_view(launch), refresh=True, terms={"run": "r2"}
        )
        assert len(begun) == 2
        assert not any(one.reused for one in happened if isinstance(one, Finished | Scored))
        assert {one.run for one in lab.records()} == {"r2"}
        assert {one.run for one in scored(happened)} == {"r2"}

    def test_a_refresh_that_fails_says_so_and_takes_nothing_good_away(self, lab):
        prepared = lab.prepare(datasets=("d",))
        lab.run(prepared)
        happened = lab.run(prepared, lambda launch: 1, refresh=True, terms={"run": "r2"})
        assert [one.state for one in finished(happened)] == ["model_error"]
        assert [one.state for one in scored(happened)] == ["model_error"]
        assert [(one.state, one.run) for one in lab.records()] == [("ok", "r1")]
        kept = lab.store.result(prepared.plan.scorings[0].id)
        assert (kept.state, kept.run) == ("ok", "r1")

    def test_what_failed_before_comes_with_its_attempts_and_their_logs(self, lab):
        def fails(launch):
            launch.log.write_text(f"log of {launch.run}\n")
            return 1

        prepared = lab.prepare()
        for run in ("r1", "r2"):
            lab.run(prepared, fails, terms={"run": run})
        lab.run(prepared, terms={"run": "r3"})
        (record,) = lab.records()
        assert (record.state, [(one.run, one.state) for one in record.attempts]) == (
            "ok",
            [("r1", "model_error"), ("r2", "model_error")],
        )
        place = lab.store.job_folder(record.job.id)
        assert [(place / one.log).read_text() for one in record.attempts] == ["log of r1\n", "log of r2\n"]

    def test_a_damaged_record_is_computed_again(self, lab):
        prepared = lab.prepare()
        lab.run(prepared)
        (job,) = prepared.plan.jobs
        (lab.store.job_folder(job.id) / "record.json").write_text("{")
        happened = lab.run(prepared)
        assert [one.reused for one in happened if isinstance(one, Finished)] == [False]
        assert lab.document(prepared).complete


class TestWarm:
    def test_all_datasets_of_a_model_variant_are_done_in_one_start(self, lab):
        begun = []
        prepared = lab.prepare(models=("m", "n"), datasets=("d", "e", "f"), seeds=(1, 2))
        happened = lab.run(prepared, lambda launch: begun.append(launch.jobs) or embed_view(launch), warm=True)
        assert sorted(map(len, begun)) == [3, 3, 3, 3]
        assert lab.document(prepared).states == {"ok": 12}
        assert len([one for one in happened if isinstance(one, Started)]) == 12
        assert all(len(one.together) == 3 for one in lab.records())

    def test_one_start_gives_what_many_give(self, lab):
        prepared = lab.prepare(datasets=("d", "e"))
        for warm in (False, True):
            lab.run(prepared, warm=warm, refresh=True)
            digests = [[item.sha256 for item in one.items] for one in lab.records()]
            if not warm:
                before = digests
        assert digests == before
        again = lab.run(prepared, lambda launch: pytest.fail("it began"))
        assert all(one.reused for one in again)

    def test_whoever_was_not_reached_is_started_again(self, lab):
        """A crash at item 2 of 4: items 3 and 4 get another start."""
        begun = []

        def breaks(launch):
            begun.append(len(launch.jobs))
            names = [path.stem for path in sorted(launch.input.glob("*.h5ad"))]
            if "e" not in names:
                return embed_view(launch)
            request = json.loads((launch.input / "request.json").read_text())
            assert [item["name"] for item in request["items"]] == ["d", "e", "f", "g"]
            embed_first(launch, "d")
            begin_item(launch.output, "e")
            return 139

        prepared = lab.prepare(datasets=("d", "e", "f", "g"))
        lab.run(prepared, breaks, warm=True)
        assert begun == [4, 2]
        found = {one.dataset: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found == {
            **dict.fromkeys("dfg", ("ok", "")),
            "e": ("model_error", "killed by SIGSEGV"),
        }

    def test_a_model_that_breaks_down_every_time_comes_to_an_end(self, lab):
        begun = []
        prepared = lab.prepare(datasets=("d", "e", "f", "g"))
        lab.run(prepared, lambda launch: begun.append(len(launch.jobs)) or 139, warm=True)
        assert begun == [4, 3, 2, 1]
        assert lab.document(prepared).states == {"model_error": 4}

    def test_one_view_that_cannot_be_made_is_not_the_failure_of_the_others(self, lab):
        datasets = ("d", lab.dataset("e", matrix={"kind": "log1p"}), "f")
        prepared = lab.prepare(datasets=datasets)
        lab.run(prepared, warm=True)
        found = {one.dataset: one.state for one in lab.document(prepared).results}
        assert found == {"d": "ok", "e": "infrastructure", "f": "ok"}


def embed_first(launch, name):
    import h5py

    with h5py.File(launch.input / f"{name}.h5ad") as file:
        obs = file["obs"]
        write_item(launch.output, name, [one.decode() for one in obs[obs.attrs["_index"]][()]])


class TestStopping:
    def test_what_has_not_begun_does_not_and_what_runs_is_stopped(self, lab):
        cancel, begun = Cancel(), []

        class Stoppable(FunctionEngine):
            def run(self, launch, cancel):
                begun.append(launch)
                while not cancel.asked:
                    cancel.sleep(10)
                return Exit(code=143, cancelled=True)

        prepared = lab.prepare(datasets=("d", "e", "f", "g"))
        timer = threading.Timer(0.5, cancel.ask)
        timer.start()
        began = time.monotonic()
        happened = lab.run(prepared, engine=Stoppable(embed_view), slots=2, cancel=cancel)
        timer.join()
        assert time.monotonic() - began < 10
        assert len(begun) == 2
        assert [one.state for one in finished(happened)] == ["cancelled", "cancelled"]
        assert lab.document(prepared).states == {"cancelled": 4}
        assert not list((lab.store.root / "jobs").glob(".*~*"))

    def test_closing_the_generator_stops_what_runs_too(self, lab):
        cancel = Cancel()

        class Stoppable(FunctionEngine):
            def run(self, launch, cancel):
                while not cancel.asked:
                    cancel.sleep(10)
                return Exit(code=143, cancelled=True)

        following = evaluate(lab.prepare(), Reuse(), lab.kit(engine=Stoppable(embed_view)), cancel)
        assert isinstance(next(following), Started)
        following.close()
        assert cancel.asked
        assert not cancel.hurry

    def test_scores_that_wait_are_not_waited_for(self, lab):
        """Ctrl-C ends within seconds though there is much to score."""
        cancel, dropped = Cancel(), []

        class Slow(Scorers):
            def __init__(self):
                super().__init__(1)

            def submit(self, function, then):
                cancel.ask()

            def close(self, *, at_once=False):
                dropped.append(at_once)

        lab.run(lab.prepare(), cancel=cancel, scorers=Slow())
        assert dropped == [True]

    def test_a_fault_of_our_own_ends_the_run_and_stops_what_runs(self, lab):
        stopped = threading.Event()

        class Broken(FunctionEngine):
            def run(self, launch, cancel):
                if launch.model == "m":
                    raise StorageError("the disk is full")
                cancel.sleep(20)
                stopped.set()
                return Exit(code=None, cancelled=True)

        with pytest.raises(StorageError, match="the disk is full"):
            lab.run(lab.prepare(models=("n", "m")), engine=Broken(embed_view), slots=2)
        assert stopped.is_set()
        assert not list((lab.store.root / "jobs").glob(".*~*"))


class TestScoring:
    def test_it_overlaps_execution(self, lab):
        """The first score is not made before the second job has begun, with one slot: so nothing waits for it."""
        second = threading.Event()
        begun = []

        def act(launch):
            begun.append(launch)
            if len(begun) > 1:
                second.set()
            return embed_view(launch)

        class Waiting(Scorers):
            def __init__(self):
                super().__init__(1)

            def submit(self, function, then):
                threading.Thread(target=lambda: then(function() if second.wait(20) else None, "")).start()

        prepared = lab.prepare(datasets=("d", "e", "f"))
        happened = lab.run(prepared, act, slots=1, scorers=Waiting())
        assert len(scored(happened)) == 3
        assert {one.state for one in scored(happened)} == {"ok"}

    def test_in_processes_with_the_shipped_tasks(self, lab):
        prepared = lab.prepare(models=("m", "n"), tasks={"embedding": find()["embedding"]})
        happened = lab.run(prepared, scorers=Scorers(1))
        assert [one.state for one in scored(happened)] == ["ok", "ok"]
        assert {one.run for one in scored(happened)} == {"r1"}
        assert lab.store.result(prepared.plan.scorings[0].id).scores

    def test_a_scoring_process_that_dies_is_a_reason_for_each_of_its_scores(self, lab):
        class Dying(Scorers):
            def __init__(self):
                super().__init__(1)

            def submit(self, function, then):
                then(None, "the scoring process died")

        prepared = lab.prepare(tasks={"t": task(), "u": task("u")})
        lab.run(prepared, scorers=Dying())
        found = [(one.state, one.reason) for one in lab.document(prepared).results]
        assert found == [("infrastructure", "the scoring process died")] * 2

    def test_an_output_that_was_changed_since_is_not_scored(self, lab):
        prepared = lab.prepare()
        lab.run(prepared)
        (path,) = (lab.store.root / "jobs").rglob("cells.txt")
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
        both = lab.prepare(tasks={"u": task("u")})
        lab.run(both)
        (found,) = lab.document(both).results
        assert (found.state, "was changed since it was checked" in found.reason) == ("infrastructure", True)


class TestProgress:
    def test_what_a_running_model_says_is_passed_on(self, lab):
        heard = threading.Event()

        def act(launch):
            with (launch.output / "progress.jsonl").open("w") as file:
                file.write('{"item": "d", "state": "running", "done": 3, "total": 10}\n')
            assert heard.wait(20)
            return embed_view(launch)

        prepared = lab.prepare()
        happened = []
        for one in evaluate(prepared, Reuse(), lab.kit(act), Cancel()):
            happened.append(one)
            if isinstance(one, Advanced):
                heard.set()
        (said,) = [one.progress for one in happened if isinstance(one, Advanced)]
        assert (said.item, said.done, said.total) == ("d", 3, 10)

    def test_what_it_says_of_somebody_elses_items_is_not(self, lab):
        def act(launch):
            (launch.output / "progress.jsonl").write_text('{"item": "\\u001b[2J", "state": "running", "done": 3}\n')
            time.sleep(1.5)
            return embed_view(launch)

        assert not [one for one in lab.run(lab.prepare(), act) if isinstance(one, Advanced)]


@pytest.fixture
def two_gpus(tmp_path):
    """Two devices of 80 GB, of which 5 GB are in use, and who lends them."""
    devices = [
        {"index": str(n), "uuid": f"GPU-{n}", "name": "H100", "memory_mb": 80_000, "free_mb": 75_000, "driver": "550"}
        for n in range(2)
    ]
    (tmp_path / "gpus.json").write_text(json.dumps(devices))
    inventory = gpus.Listed(tmp_path / "gpus.json")
    return Site(lessor=gpus.Lessor(tuple(inventory.devices()), inventory, tmp_path / "locks"))


class Watched:
    """A model that notes which devices it has, and fails if another has one of them."""

    def __init__(self, seconds=0.05):
        self.now, self.seen, self.seconds, self.lock = set(), [], seconds, threading.Lock()

    def __call__(self, launch):
        with self.lock:
            assert not self.now & set(launch.gpus), "shared"
            self.now |= set(launch.gpus)
            self.seen.append(launch.gpus)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= set(launch.gpus)
        return embed_view(launch)


class TestGpus:
    def test_six_jobs_on_two_devices_never_share_one(self, lab, two_gpus):
        watched = Watched()
        prepared = lab.prepare(datasets=("d", "e", "f"), seeds=(1, 2), site=two_gpus, resources=GPU)
        happened = lab.run(prepared, watched, site=two_gpus, slots=6)
        assert lab.document(prepared).states == {"ok": 6}
        assert Counter(watched.seen).keys() == {("GPU-0",), ("GPU-1",)}
        assert len(watched.seen) == 6
        told = {one.job.id: one.devices for one in happened if isinstance(one, Started)}
        for record in lab.records():
            (used,) = record.gpus
            assert told[record.job.id] == (used.uuid,)
            assert (used.name, used.driver, used.memory_mb, used.peak_memory_mb) == ("H100", "550", 80_000, 5_000)
            assert record.job.device == "gpu"

    def test_a_model_that_needs_two_gets_both_and_is_not_starved(self, lab, two_gpus):
        watched = Watched()
        big = made_model(name="big", resources={"gpu": "required", "gpus": 2})
        models = (made_model(name="small", resources=GPU), big, made_model(name="plain"))
        prepared = lab.prepare(models=models, datasets=("d", "e"), seeds=(1, 2), site=two_gpus)
        lab.run(prepared, watched, site=two_gpus, slots=4)
        assert lab.document(prepared).states == {"ok": 12}
        assert Counter(map(len, watched.seen)) == {0: 4, 1: 4, 2: 4}

    def test_a_model_without_a_gpu_does_not_wait_for_one(self, lab, two_gpus):
        release = threading.Event()

        def act(launch):
            if launch.model == "plain":
                release.set()
            else:
                assert release.wait(20)
            return embed_view(launch)

        models = (made_model(name="m", resources=GPU), made_model(name="plain"))
        prepared = lab.prepare(models=models, datasets=("d", "e", "f"), site=two_gpus)
        lab.run(prepared, act, site=two_gpus, slots=3)
        assert lab.document(prepared).states == {"ok": 6}

    @pytest.mark.parametrize(("needs", "hint"), [("optional", "; `--gpus none` runs it on the CPU"), ("required", "")])
    def test_without_one_it_is_infrastructure_that_says_what_is_missing(self, lab, needs, hint):
        site = Site(no_gpu="the NVIDIA driver is not installed")
        prepared = lab.prepare(models=(made_model(name="m", resources={"gpu": needs}), made_model(name="n")), site=site)
        lab.run(
            prepared, lambda launch: embed_view(launch) if launch.model == "n" else pytest.fail("it ran"), site=site
        )
        found = {one.model: (one.state, one.reason) for one in lab.document(prepared).results}
        assert found["n"] == ("ok", "")
        assert found["m"] == (
            "infrastructure",
            f"it uses a GPU, and the NVIDIA driver is not installed{hint}",
        )

    def test_more_than_there_is_is_infrastructure_with_figures(self, lab, two_gpus):
        models = (
            made_model(name="many", resources={"gpu": "required", "gpus": 3}),
            made_model(name="large", resources={"gpu": "required", "gpu_memory_mb": 90_000}),
        )
        prepared = lab.prepare(models=models, site=two_gpus)
        lab.run(prepared, lambda launch: pytest.fail("it ran"), site=two_gpus)
        found = {one.model: one.reason for one in lab.document(prepared).results}
        assert "3 GPUs needed, 2 there" in found["many"]
        assert "1 GPU with 90,000 MB needed, 0 there" in found["large"]

    def test_asked_to_do_without_it_runs_on_the_cpu_which_is_another_result(self, lab, two_gpus):
        plain = Site(cpu_only=True)
        resources = {"resources": {"gpu": "optional"}}
        with_gpu = lab.prepare(site=two_gpus, **resources)
        without = lab.prepare(site=plain, **resources)
        assert with_gpu.plan.jobs[0].id != without.plan.jobs[0].id
        lab.run(without, lambda launch: embed_view(launch) if launch.gpus == () else 1, site=plain)
        (record,) = lab.records()
        assert (record.state, record.job.device, record.gpus) == ("ok", "cpu", ())
        request = lab.store.job_folder(record.job.id) / "input" / "request.json"
        assert json.loads(request.read_text())["device"] == "cpu"
        assert pipeline.reusable(with_gpu.plan, lab.store) == Reuse()

    def test_asked_to_do_without_what_needs_one_does_not_apply(self, lab):
        site = Site(cpu_only=True)
        prepared = lab.prepare(models=("m",), resources={"gpu": "required"}, site=site)
        assert prepared.plan.jobs == ()
        lab.run(prepared, site=site)
        (found,) = lab.document(prepared).results
        assert (found.state, "asked to run without one" in found.reason) == ("not_applicable", True)

    def test_a_gpu_that_is_never_free_is_given_up_with_who_has_it(self, lab, two_gpus):
        prepared = lab.prepare(site=two_gpus, resources=GPU)
        with two_gpus.lessor.lease(2, 0, lambda: False):
            lab.run(prepared, lambda launch: pytest.fail("it ran"), site=two_gpus, gpu_wait=0.2)
        (found,) = lab.document(prepared).results
        assert found.state == "infrastructure"
        assert "no GPU became free within 0.2 s: GPU 0 (H100) is leased to pid" in found.reason

    def test_waiting_for_a_gpu_ends_when_somebody_wishes_it(self, lab, two_gpus):
        cancel, began = Cancel(), time.monotonic()
        prepared = lab.prepare(site=two_gpus, resources=GPU)
        with two_gpus.lessor.lease(2, 0, lambda: False):
            threading.Timer(0.3, cancel.ask).start()
            happened = lab.run(prepared, lambda launch: pytest.fail("it ran"), site=two_gpus, cancel=cancel)
        assert [one.state for one in finished(happened)] == ["cancelled"]
        assert time.monotonic() - began < 10

    def test_a_container_that_somebody_else_started_keeps_its_gpu(self, lab, two_gpus):
        class Busy(FunctionEngine):
            def gpus_in_use(self):
                return frozenset({"GPU-0"})

        watched = Watched()
        prepared = lab.prepare(datasets=("d", "e"), site=two_gpus, resources=GPU)
        lab.run(prepared, engine=Busy(watched), site=two_gpus, slots=2)
        assert watched.seen == [("GPU-1",)] * 2

    def test_no_lease_outlives_its_job_however_it_ends(self, lab, two_gpus):
        ends = iter([1, 139, Exit(code=137, oom_killed=True)])

        def act(launch):
            end = next(ends, None)
            if end is None:
                raise EngineError("away")
            return end

        prepared = lab.prepare(datasets=("d", "e"), seeds=(1, 2), site=two_gpus, resources=GPU)
        lab.run(prepared, act, site=two_gpus, slots=2)
        with two_gpus.lessor.lease(2, 0, lambda: False, wait=0) as devices:
            assert len(devices) == 2

    def test_the_loss_of_a_gpu_is_not_the_models_fault(self, lab, two_gpus, tmp_path):
        def act(launch):
            (tmp_path / "gpus.json").write_text((tmp_path / "gpus.json").read_text().replace(launch.gpus[0], "GPU-x"))
            time.sleep(1.5)
            return 139

        prepared = lab.prepare(site=two_gpus, resources=GPU)
        lab.run(prepared, act, site=two_gpus)
        (record,) = lab.records()
        assert record.state == "infrastructure"
        assert record.reason.startswith("the GPU was lost: ")
        assert "killed by SIGSEGV" in record.reason

    def test_several_share_one_by_declared_memory_where_that_was_asked_for(self, lab, two_gpus):
        site = replace(two_gpus, lessor=replace(two_gpus.lessor, devices=two_gpus.lessor.devices[:1], share=True))
        both = threading.Barrier(2, timeout=20)

        def act(launch):
            both.wait()
            return embed_view(launch)

        resources = {"gpu": "optional", "gpu_memory_mb": 30_000}
        prepared = lab.prepare(datasets=("d", "e"), site=site, resources=resources)
        lab.run(prepared, act, site=site, slots=2)
        assert lab.document(prepared).states == {"ok": 2}
        assert {one.gpus[0].uuid for one in lab.records()} == {"GPU-0"}


def test_bad_data_is_an_error_before_anything_starts(lab):
    from cellgauge.errors import DatasetError

    good, bad = lab.dataset("d"), [lab.dataset(name, obs={"cell_type": "nothing"}) for name in ("e", "f")]
    with pytest.raises(DatasetError) as caught:
        lab.prepare(datasets=(good, *bad))
    assert caught.value.message.count("obs has no column 'nothing'") == 2


def test_the_limits_of_the_sandbox_that_were_lifted_are_part_of_the_identity(lab):
    lifted = lab.prepare(site=Site(allow=("network",)))
    assert lifted.plan.jobs[0].allow == ("network",)
    assert lifted.plan.jobs[0].id != lab.prepare().plan.jobs[0].id
    seen = []
    lab.run(lifted, lambda launch: seen.append(launch.allow) or embed_view(launch))
    assert seen == [("network",)]


def test_a_model_that_nothing_asks_for_is_not_made(lab):
    asked = []

    def image_of(model):
        asked.append(model.spec.name)
        return Runnable("sha256:1", model.folder)

    models = (made_model(name="foreign", organisms=["Mus musculus"]), made_model(name="m"))
    assert len(lab.prepare(models=models, image_of=image_of).plan.skips) == 1
    assert asked == ["m"]


def test_images_are_made_side_by_side_and_each_once(lab):
    both, asked = threading.Barrier(2, timeout=20), []

    def image_of(model):
        both.wait()
        asked.append(model.spec.name)
        return Runnable(f"sha256:{model.spec.name}", model.folder)

    prepared = lab.prepare(models=("m", "n"), datasets=("d", "e"), seeds=(1, 2, 3), image_of=image_of)
    assert sorted(asked) == ["m", "n"]
    assert len(prepared.plan.jobs) == 12


def test_the_plan_needs_nothing_but_choices():
    assert plan.make([], [], [], [1]).jobs == ()
