"""Several jobs in one start, and the end of a run before its time."""

import json
import threading
import time
from concurrent.futures import CancelledError

import pytest

from cellgauge.engines import Cancel, Exit
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import StorageError
from cellgauge.evaluate import Advanced, Started, evaluate
from cellgauge.pipeline import Reuse
from cellgauge.schedule import Start
from cellgauge.scorers import Scorers
from cellgauge.worker import Worker
from lab import finished
from support import begin_item, embed_view, write_item


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
                if len(begun) == 2:
                    threading.Timer(0.3, cancel.ask).start()
                while not cancel.asked:
                    cancel.sleep(10)
                return Exit(code=143, cancelled=True)

        prepared = lab.prepare(datasets=("d", "e", "f", "g"))
        began = time.monotonic()
        happened = lab.run(prepared, engine=Stoppable(embed_view), slots=2, cancel=cancel)
        assert time.monotonic() - began < 10
        assert len(begun) == 2
        assert [one.state for one in finished(happened)] == ["cancelled", "cancelled"]
        assert lab.document(prepared).states == {"cancelled": 4}
        assert not list((lab.store.root / "jobs").glob(".*~*"))

    def test_a_job_whose_view_is_being_made_is_cancelled_and_does_not_begin(self, lab):
        cancel, prepared = Cancel(), lab.prepare()

        class Slow:
            def given(self, job):
                cancel.ask()
                raise CancelledError

            def packages(self, image):
                return ""

        kit = lab.kit(lambda launch: pytest.fail("it began"))
        worker = Worker(prepared, kit, Slow(), cancel, lambda said: None, threading.BoundedSemaphore(1))
        done = worker.do(Start(prepared.plan.jobs))
        assert ([one.state for one in done.records], done.left) == (["cancelled"], [])

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
