"""What a start of a model gets and gives: GPUs out of a list, leases by real locks."""

import json
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from cellgauge import gpus, pipeline
from cellgauge.engines import Cancel, Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError
from cellgauge.evaluate import Started
from cellgauge.pipeline import Reuse, Site
from lab import finished
from support import embed_view, made_model

GPU = {"gpu": "optional"}


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


class Counted:
    """A model that notes how many run at once."""

    def __init__(self, seconds=0.1):
        self.now, self.peak, self.seconds, self.lock = 0, 0, seconds, threading.Lock()

    def __call__(self, launch):
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return embed_view(launch)


class TestSlots:
    """As many run at once as was asked for, however many devices there are."""

    MODELS = (made_model(name="m", resources=GPU), made_model(name="n", resources=GPU), made_model(name="plain"))

    @pytest.mark.parametrize("slots", [1, 2])
    @pytest.mark.parametrize("share", [False, True])
    def test_hold_where_devices_are_free(self, lab, two_gpus, slots, share):
        site = replace(two_gpus, lessor=replace(two_gpus.lessor, share=share))
        counted = Counted()
        prepared = lab.prepare(models=self.MODELS, datasets=("d", "e"), seeds=(1, 2), site=site)
        lab.run(prepared, counted, site=site, slots=slots)
        assert lab.document(prepared).states == {"ok": 12}, lab.reasons()
        assert counted.peak == slots

    def test_hold_where_devices_come_back_while_others_run(self, lab, two_gpus):
        counted, held = Counted(0.3), threading.Event()

        def hold():
            with two_gpus.lessor.lease(2, 0, lambda: False):
                held.set()
                time.sleep(0.5)

        other = threading.Thread(target=hold)
        other.start()
        assert held.wait(10)
        prepared = lab.prepare(models=self.MODELS, datasets=("d", "e", "f"), site=two_gpus)
        lab.run(prepared, counted, site=two_gpus, slots=1)
        other.join()
        assert lab.document(prepared).states == {"ok": 9}, lab.reasons()
        assert counted.peak == 1

    @pytest.mark.parametrize("share", [False, True])
    def test_are_not_taken_by_those_that_wait_for_a_gpu(self, lab, two_gpus, share):
        site = replace(two_gpus, lessor=replace(two_gpus.lessor, share=share))
        resources = {**GPU, "gpu_memory_mb": 10_000}
        models = (made_model(name="m", resources=resources), made_model(name="plain"))
        prepared = lab.prepare(models=models, datasets=("d", "e"), seeds=(1, 2, 3, 4), site=site)
        cancel, done = Cancel(), []

        def act(launch):
            done.append(launch.model)
            if len(done) == 8:
                threading.Timer(0.1, cancel.ask).start()
            return embed_view(launch)

        guard = threading.Timer(30, cancel.ask)
        guard.start()
        with two_gpus.lessor.lease(2, 0, lambda: False):
            lab.run(prepared, act, site=site, slots=1, cancel=cancel)
        guard.cancel()
        assert done == ["plain"] * 8

    def test_those_that_wait_for_one_end_when_somebody_wishes_it(self, lab, two_gpus):
        cancel = Cancel()

        class Stoppable(FunctionEngine):
            def run(self, launch, cancel):
                threading.Timer(0.3, cancel.ask).start()
                while not cancel.asked:
                    cancel.sleep(10)
                return Exit(code=143, cancelled=True)

        prepared = lab.prepare(models=self.MODELS, site=two_gpus)
        happened = lab.run(prepared, engine=Stoppable(embed_view), site=two_gpus, slots=1, cancel=cancel)
        assert {one.state for one in finished(happened)} == {"cancelled"}

    def test_no_device_is_held_for_a_start_that_has_no_slot(self, lab, two_gpus):
        free = []

        def act(launch):
            with two_gpus.lessor.lease(1, 0, lambda: False, wait=5) as devices:
                free.append(len(devices))
            return embed_view(launch)

        prepared = lab.prepare(models=self.MODELS[:2], datasets=("d", "e"), site=two_gpus)
        lab.run(prepared, act, site=two_gpus, slots=1)
        assert (lab.document(prepared).states, free) == ({"ok": 4}, [1] * 4)


class TestGpus:
    def test_six_jobs_on_two_devices_never_share_one(self, lab, two_gpus):
        watched = Watched()
        prepared = lab.prepare(datasets=("d", "e", "f"), seeds=(1, 2), site=two_gpus, resources=GPU)
        happened = lab.run(prepared, watched, site=two_gpus, slots=6)
        assert lab.document(prepared).states == {"ok": 6}, lab.reasons()
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
        assert lab.document(prepared).states == {"ok": 12}, lab.reasons()
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

    def test_none_is_taken_while_the_engine_cannot_tell_which_are_used(self, lab, two_gpus):
        class Away(FunctionEngine):
            def gpus_in_use(self):
                raise EngineError("it is being restarted")

        prepared = lab.prepare(site=two_gpus, resources=GPU)
        lab.run(prepared, engine=Away(lambda launch: pytest.fail("it ran")), site=two_gpus, gpu_wait=0.2)
        (found,) = lab.document(prepared).results
        assert (found.state, "is used by a running container" in found.reason) == ("infrastructure", True)

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

    @staticmethod
    def losing(folder, then):
        """A model whose GPU is gone by the time that it ends."""

        def act(launch):
            (folder / "gpus.json").write_text((folder / "gpus.json").read_text().replace(launch.gpus[0], "GPU-x"))
            time.sleep(1.5)
            return then(launch)

        return act

    def test_the_loss_of_a_gpu_takes_no_good_result_away(self, lab, two_gpus, tmp_path):
        prepared = lab.prepare(site=two_gpus, resources=GPU)
        lab.run(prepared, self.losing(tmp_path, embed_view), site=two_gpus)
        assert (lab.document(prepared).states, [one.state for one in lab.records()]) == ({"ok": 1}, ["ok"])

    def test_the_loss_of_a_gpu_is_not_the_models_fault(self, lab, two_gpus, tmp_path):
        prepared = lab.prepare(site=two_gpus, resources=GPU)
        lab.run(prepared, self.losing(tmp_path, lambda launch: 139), site=two_gpus)
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
        assert lab.document(prepared).states == {"ok": 2}, lab.reasons()
        assert {one.gpus[0].uuid for one in lab.records()} == {"GPU-0"}
