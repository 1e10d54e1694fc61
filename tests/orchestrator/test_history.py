"""How long jobs took, and what that tells of others."""

import json
import threading
import time

import pytest

from cellgauge.history import UNKNOWN, History
from support import a_job, made_record

JOB = "ab" * 10


def job(dataset, **fields):
    return a_job(f"m-{dataset}", dataset, **fields)


class TestNotes:
    def test_the_last_time_counts_by_model_dataset_and_device(self, store):
        for seconds, device in ((1.0, "cpu"), (2.0, "cpu"), (3.0, "gpu")):
            job = a_job(JOB, "d", "e", device=device)
            store.note(made_record(job=job).model_copy(update={"seconds": {"start": 0.5, "run": seconds}}))
        assert store.history().last == {("m:default", "d,e", "cpu"): 2.5, ("m:default", "d,e", "gpu"): 3.5}

    def test_of_several_in_one_start_each_took_its_share(self, store):
        record = made_record(job=a_job(JOB, "d"), together=("one", "two", "three"))
        store.note(record.model_copy(update={"seconds": {"run": 9.0}}))
        assert store.history().last == {("m:default", "d", "cpu"): 3.0}

    def test_lines_that_cannot_be_read_are_left_out(self, store):
        store.note(made_record(job=a_job(JOB, "d")))
        with (store.root / "history.jsonl").open("a") as file:
            file.write('[]\n{"model": "x"}\n\xff\n{"model": "m:default", "dataset": "e", "device": "cpu", "seco')
        assert store.history().last == {("m:default", "d", "cpu"): 1.0}

    def test_nobody_has_run_anything_yet(self, store):
        assert store.history().last == {}

    def test_lines_of_many_writers_do_not_mix(self, store):
        record = made_record(job=a_job(JOB, "d"))
        threads = [threading.Thread(target=lambda: [store.note(record) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = (store.root / "history.jsonl").read_text().splitlines()
        assert len(lines) == 400
        assert {json.loads(line)["seconds"] for line in lines} == {1.0}

    def test_one_that_cannot_be_read_is_no_reason_to_stop(self, store):
        store.note(made_record(job=a_job(JOB, "d")))
        (store.root / "history.jsonl").unlink()
        (store.root / "history.jsonl").mkdir()
        assert store.history() == History()


class TestExpected:
    HISTORY = History(
        {
            ("m:default", "d", "cpu"): 10.0,
            ("m:default", "e", "cpu"): 30.0,
            ("m:default", "d", "gpu"): 2.0,
            ("m:big", "d", "cpu"): 99.0,
        }
    )

    @pytest.mark.parametrize(
        ("dataset", "fields", "seconds"),
        [
            ("d", {}, 10.0),
            ("d", {"device": "gpu"}, 2.0),
            ("other", {}, 20.0),
            ("other", {"device": "gpu"}, 2.0),
            ("other", {"variant": "big"}, 99.0),
            ("d", {"variant": "small"}, UNKNOWN),
        ],
    )
    def test_as_the_last_time_or_as_on_other_data(self, dataset, fields, seconds):
        assert self.HISTORY.expected(job(dataset, **fields)) == seconds

    def test_thousands_of_jobs_that_were_never_seen_are_guessed_at_once(self):
        history = History({(f"m{n % 50}:default", f"d{n}", "cpu"): float(n) for n in range(5000)})
        began = time.process_time()
        assert {history.expected(a_job("x", f"new{n}", model=f"m{n % 50}")) > 0 for n in range(2500)} == {True}
        assert time.process_time() - began < 1
