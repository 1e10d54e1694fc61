import pytest

from cellgauge import schedule
from cellgauge.history import History
from cellgauge.schedule import Start
from support import a_job


def job(name, dataset="d", **fields):
    return a_job(f"{name}-{dataset}", dataset, model=name, **fields)


def on(gpus, expected=1.0, name="m"):
    return Start(jobs=(job(name),), gpus=gpus, expected=expected)


def order(starts):
    return [[one.id for one in start.jobs] for start in starts]


class TestOrder:
    def test_gpus_first_then_the_longest_and_what_was_never_seen_before_all(self):
        history = History(
            {("a:default", "d", "cpu"): 5.0, ("b:default", "d", "cpu"): 50.0, ("g:default", "d", "gpu"): 1.0}
        )
        jobs = [job("a"), job("b"), job("new"), job("g", device="gpu"), job("h", device="gpu")]
        found = schedule.starts(jobs, {}, history)
        assert order(found) == [["h-d"], ["g-d"], ["new-d"], ["b-d"], ["a-d"]]
        assert [start.gpus for start in found] == [1, 1, 0, 0, 0]

    def test_of_equals_the_first_stays_first(self):
        assert order(schedule.starts([job("c"), job("a"), job("b")], {}, History())) == [["c-d"], ["a-d"], ["b-d"]]

    def test_a_model_takes_as_many_devices_as_it_says_and_none_on_the_cpu(self):
        jobs = [job("big", device="gpu"), job("big", "e"), job("gone", device="gpu")]
        found = schedule.starts(jobs, {"big": 4, "gone": 0}, History())
        assert {start.jobs[0].id: start.gpus for start in found} == {"big-d": 4, "big-e": 0, "gone-d": 0}


class TestWarm:
    def test_what_differs_in_nothing_but_the_dataset_starts_together(self):
        jobs = [job("m", "d"), job("m", "e"), job("m", "f")]
        (found,) = schedule.starts(jobs, {}, History({("m:default", "d", "cpu"): 3.0}), warm=True)
        assert found.jobs == tuple(jobs)
        assert found.expected == 9.0
        assert len(schedule.starts(jobs, {}, History())) == 3

    @pytest.mark.parametrize(
        "fields",
        [
            {"seed": 2},
            {"params": {"k": 2}},
            {"variant": "big"},
            {"image": "sha256:1"},
            {"weights": "w"},
            {"device": "gpu"},
            {"allow": ("network",)},
            {"verb": "predict"},
        ],
    )
    def test_what_differs_in_anything_else_does_not(self, fields):
        assert len(schedule.starts([job("m", "d"), job("m", "e", **fields)], {}, History(), warm=True)) == 2

    def test_another_model_does_not(self):
        assert len(schedule.starts([job("m", "d"), job("n", "e")], {}, History(), warm=True)) == 2


class TestPick:
    def pick(self, waiting, running=(), slots=8, devices=2):
        return schedule.pick(waiting, running, slots=slots, devices=devices)

    def test_the_first_that_there_is_a_slot_for(self):
        first, second = on(0), on(0)
        assert self.pick([first, second]) is first
        assert self.pick([first, second], [on(0)] * 8) is None
        assert self.pick([]) is None

    def test_devices_in_use_are_not_free(self):
        one = on(1)
        assert self.pick([one], [on(1)]) is one
        assert self.pick([one], [on(1), on(1)]) is None
        assert self.pick([one], [on(2)]) is None

    def test_no_start_on_gpus_overtakes_one_that_waits_for_several(self):
        big, small = on(2), on(1)
        assert self.pick([big, small], [on(1)]) is None
        assert self.pick([big, small]) is big

    def test_what_needs_no_gpu_passes_by(self):
        big, small, plain = on(2), on(1), on(0)
        assert self.pick([big, small, plain], [on(1)]) is plain
        assert self.pick([big, plain], [on(1)], devices=1) is plain

    def test_everything_gets_its_turn(self):
        """Starts of one to three devices over three, until nothing waits: none is overtaken by another on GPUs."""
        waiting, running, begun = [on(1 + n % 3, name=f"m{n}") for n in range(30)], [], []
        asked = list(waiting)
        while waiting or running:
            while found := self.pick(waiting, running, devices=3):
                waiting.remove(found)
                running.append(found)
                begun.append(found)
                assert sum(one.gpus for one in running) <= 3
            running.pop(0)
        assert begun == asked
