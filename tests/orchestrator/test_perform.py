"""How a run ends that does not come to its end, and what a retry asks for: the command line, with processes."""

import json
import os
import signal

import pytest
import yaml

import quick
from cellgauge.cli import options, perform
from cellgauge.errors import UsageError
from cellgauge.evaluate import Scored
from cellgauge.score import failed
from cellgauge.store import Store
from place import Place, until
from support import a_scoring, entry


@pytest.fixture
def here(tmp_path, made_dataset):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    place = Place(tmp_path, quick.write(tmp_path / "models", made_dataset), catalog)
    place.common[-1] = "local"
    place.common += ["-m", "quick"]
    return place


def the_run(here):
    store = Store(here.results)
    (run,) = [store.run(id) for id in store.run_ids()]
    return run


class TestNoted:
    """A failure is noted in the run only where a good result of before stays in the store."""

    def heard(self, store, *results):
        failures = {}
        happened = [Scored(result, reused=False) for result in results]
        assert list(perform.noted(happened, store, failures)) == happened
        return failures

    def test_a_failed_refresh_is_noted(self, store):
        store.keep_result(failed(a_scoring(), "ok", ""))
        assert self.heard(store, failed(a_scoring(), "timeout", "slow")) == {a_scoring().id: ("timeout", "slow")}

    @pytest.mark.parametrize("before", ["timeout", None])
    def test_any_other_failure_is_found_in_the_store_until_another_run_succeeds(self, store, before):
        if before:
            store.keep_result(failed(a_scoring(), before, "slow"))
        assert self.heard(store, failed(a_scoring(), "timeout", "slow")) == {}

    def test_nor_is_what_succeeds(self, store):
        store.keep_result(failed(a_scoring(), "ok", ""))
        assert self.heard(store, failed(a_scoring(), "not_applicable", "")) == {}


class TestPreparing:
    @pytest.fixture
    def endless(self, here):
        """Images that take for ever to be made: the model's folder holds a pipe that nobody writes to."""
        os.mkfifo(here.folder / "models" / "quick" / "pipe")
        return here

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_detached_run_that_is_stopped_is_cancelled(self, endless, number):
        process = endless.start("--run-id", "r1")
        until(lambda: (endless.results / "runs" / "r1.json").exists())
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, "error: stopped on request" in err) == (130, True), err
        run = the_run(endless)
        assert (run.outcome, run.prepared, bool(run.ended), run.reason) == ("cancelled", False, True, "")

    def test_another_run_that_is_stopped_leaves_nothing(self, endless):
        process = endless.start()
        assert "process" in process.stderr.readline()  # which engine it takes
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
        assert (process.returncode, list((endless.results / "runs").iterdir())) == (130, [])

    def test_one_that_fails_says_why_also_later(self, here):
        (here.folder / "made.h5ad").unlink()
        assert here.run("--run-id", "r1").returncode == 4
        run = the_run(here)
        assert (run.outcome, "made.h5ad" in run.reason) == ("failed", True)
        assert run.reason in " ".join(here.run("r1", command="status").stdout.split())
        assert json.loads(here.run("r1", "--json", command="status").stdout)["reason"] == run.reason


def test_a_run_whose_terminal_is_gone_has_failed_and_not_died(here):
    process = here.start("-s", "1,2", "--set", "quick.wait=1")
    until(lambda: "running" in process.stderr.readline())
    process.stderr.close()
    process.stdout.close()
    process.wait(timeout=30)
    run = the_run(here)
    assert (run.outcome, bool(run.ended), "was gone" in run.reason) == ("failed", True, True)
    assert here.workspaces() == []


class TestRetry:
    def test_it_asks_for_what_was_asked_for(self, here):
        (here.folder / "models" / "quick" / "model.sh").write_text("exit 7\n")
        assert here.run("-j", "3", "--retries", "0", "--limit", "time=60").returncode == 1
        assert here.run(command="retry").returncode == 1
        assert here.run("-j", "2", "--limit", "pids=64", command="retry").returncode == 1
        store = Store(here.results)
        asked = [store.run(id).asked for id in store.run_ids()]
        assert [one.jobs for one in asked] == [3, 3, 2]
        assert [(one.changes.time, one.changes.pids) for one in asked] == [(60, None), (60, None), (60, 64)]

    def test_what_a_refresh_failed_at_is_not_taken_from_before(self, here):
        script, broken = here.folder / "models" / "quick" / "model.sh", here.folder / "broken"
        script.write_text(f"[ -e {broken} ] && exit 7\n{script.read_text()}")
        assert here.run().returncode == 0
        broken.touch()
        assert here.run("--refresh", "--retries", "0").returncode == 1
        failed = here.run(command="retry")
        assert (failed.returncode, "1 of 1 jobs are tried again" in failed.stderr) == (1, True)
        broken.unlink()
        assert here.run(command="retry").returncode == 0
        store = Store(here.results)
        assert [store.record(job).run for job in store.job_ids()] == store.run_ids()[-1:]

    @pytest.mark.parametrize(
        ("limit", "message"), [("cpus=9999", "--limit cpus=9999: there are"), ("memory=1MB", "less than the 6 MiB")]
    )
    def test_what_this_machine_has_not_is_refused_whoever_asks(self, limit, message):
        with pytest.raises(UsageError, match=message) as caught:
            options.changes([limit])
        assert caught.value.hint

    def test_also_by_the_command(self, here):
        done = here.run("--limit", "cpus=9999", command="retry")
        assert (done.returncode, "--limit cpus=9999: there are" in done.stderr) == (2, True)
