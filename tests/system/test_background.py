"""Runs without a terminal, and what can be asked of any run: status, logs, cancel, retry, reproduce, explain."""

import json
import os
import signal
import subprocess
import time

import pytest
import yaml

import quick
from cellgauge.events import Event
from place import Place, containers, until
from support import entry


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def here(request, tmp_path, made_dataset):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    place = Place(tmp_path, quick.write(tmp_path / "models", made_dataset), catalog)
    place.common[-1] = request.param
    return place


def status(here, run="latest"):
    return json.loads(here.run(run, "--json", command="status").stdout)


def test_a_detached_run_outlives_its_terminal_and_can_be_asked_and_stopped(here):
    words = ["-m", "quick", "-s", "1,2,3,4,5,6", "--set", "quick.wait=6", "--detach"]
    process = here.start(*words, "--json", start_new_session=True)  # a terminal of its own, to be hung up
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    told = json.loads(out)
    os.kill(told["pid"], signal.SIGHUP)
    until(lambda: status(here)["done"] >= 1)
    now = status(here)
    assert (now["run"], now["state"], now["jobs"]) == (told["run"], "running", 6)
    assert "--run-id" not in now["command"]
    assert told["run"] in here.run(command="status").stdout
    document = json.loads(here.run("--json", command="show").stdout)
    assert document["planned"] == 6
    assert document["states"]["pending"] >= 1
    follower = here.start("-f", told["run"], command="logs")
    (running,) = until(lambda: status(here)["running"])
    until(lambda: "devices" in here.run(running["job"], command="logs").stdout)

    stopped = here.run(told["run"], command="cancel")
    assert stopped.returncode == 0, stopped.stderr
    heard, _ = follower.communicate(timeout=30)
    assert "quick wait=6 on made (seed" in heard
    assert "stopped on request" in heard
    assert status(here)["state"] == "cancelled"
    assert here.run(told["run"], command="cancel").returncode == 2
    document = json.loads(here.run("--json", command="show").stdout)
    assert set(document["states"]) <= {"ok", "cancelled"}
    assert sum(document["states"].values()) == 6
    assert here.workspaces() == []


def test_what_is_wrong_with_a_detached_run_is_said_at_once(here):
    done = here.run("-m", "quickk", "--detach")
    assert (done.returncode, "Did you mean 'quick'?" in done.stderr) == (2, True)
    assert list((here.results / "runs").iterdir()) == []


def test_retry_runs_again_only_what_failed_and_only_what_failed_so(here):
    words = ["-m", "quick,misbehave,shell", "-j", "2", "--set", "misbehave.how=crash", "--limit", "time=60"]
    assert here.run(*words).returncode == 1
    assert "nothing ended as timeout in run" in here.run("--state", "timeout", command="retry").stdout
    assert json.loads(here.run("--state", "timeout", "--json", command="retry").stdout)["planned"] == 3
    wrong = here.run("--state", "slow", command="retry")
    assert (wrong.returncode, "nothing that failed is in state 'slow'" in wrong.stderr) == (2, True)
    again = here.run("--state", "model_error,timeout", "--json", command="retry")
    assert again.returncode == 1
    assert "1 of 3 jobs are tried again" in again.stderr
    assert again.stderr.count("from the cache") == 2
    document = json.loads(again.stdout)
    assert document["states"] == {"model_error": 1, "ok": 2}
    (job,) = {one["job"] for one in document["results"] if one["state"] == "model_error"}
    record = json.loads(here.run(job, "--json", command="show").stdout)
    (attempt,) = record["attempts"]
    assert (attempt["state"], attempt["exit_code"]) == ("model_error", 1)
    kept = here.results / "jobs" / job[:2] / job / attempt["log"]
    assert "a bug in the model" in kept.read_text()


def test_a_failure_says_how_to_repeat_it_and_that_repeats_it(here):
    assert here.run("-m", "misbehave", "--set", "misbehave.how=crash").returncode == 1
    (folder,) = (path.parent for path in here.results.glob("jobs/[!.]*/*/record.json"))
    shown = here.run(folder.name, command="show").stdout
    again = subprocess.run(["sh", "-c", shown.splitlines()[-1]], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "RuntimeError: a bug in the model" in again.stderr + again.stdout


def test_a_result_is_reproduced_and_a_changed_one_is_noticed(here):
    assert here.run("-m", "random").returncode == 0
    (folder,) = (path.parent for path in here.results.glob("jobs/[!.]*/*/record.json"))
    common = [*here.common[:4], "--engine", here.common[-1]]
    same = here.run(folder.name[:8], "--json", *common, command="reproduce")
    assert same.returncode == 0, same.stderr
    told = json.loads(same.stdout)
    assert (told["identical"], told["agrees"]) == (True, True)
    assert told["scores"]
    assert all(one["kept"] == one["now"] for one in told["scores"])

    record = json.loads((folder / "record.json").read_text())
    record["job"]["seed"] += 1  # as if the model did not keep to its seed
    (folder / "record.json").write_text(json.dumps(record))
    other = here.run(folder.name[:8], "--json", *common, command="reproduce")
    told = json.loads(other.stdout)
    assert (other.returncode, told["identical"], told["agrees"]) == (1, False, False)
    assert told["largest"] > 0.1


def test_events_are_lines_that_another_program_can_follow(here):
    path = here.folder / "events.jsonl"
    assert here.run("-m", "quick", "-s", "1,2", "--set", "quick.wait=1", "--events", str(path)).returncode == 0
    events = [Event.model_validate_json(line) for line in path.read_text().splitlines()]
    kinds = [one.event for one in events]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
    assert [kinds.count(one) for one in ("started", "finished", "scored")] == [2, 2, 2]
    assert events[-1].ok is True
    assert {one.run for one in events} == {events[0].run}
    assert path.read_text() == (here.results / "runs" / f"{events[0].run}.events.jsonl").read_text()


def test_warm_starts_give_the_same_results_in_fewer_starts(here, made_dataset, tmp_path):
    second = tmp_path / "second.h5ad"
    second.write_bytes(made_dataset.path.read_bytes())
    catalog = yaml.safe_load((tmp_path / "catalog.yaml").read_text())
    catalog["datasets"]["second"] = entry(second)
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    words = ["-m", "random,shell", "-d", "made,second", "--json"]
    warm = json.loads(here.run(*words, "--warm", "--results", "warm").stdout)
    cold = json.loads(here.run(*words, "--results", "cold").stdout)
    assert warm["states"] == cold["states"] == {"ok": 4}
    assert [one["scores"] for one in warm["results"]] == [one["scores"] for one in cold["results"]]
    assert [one["job"] for one in warm["results"]] == [one["job"] for one in cold["results"]], "one identity"
    records = [json.loads(path.read_text()) for path in (tmp_path / "warm").glob("jobs/[!.]*/*/record.json")]
    assert [len(one["together"]) for one in records] == [2] * 4
    again = here.run(*words, "--results", "warm")
    assert again.stderr.count("from the cache") == 4


def test_every_job_of_a_warm_start_can_be_followed_and_named(here, made_dataset, tmp_path):
    second = tmp_path / "second.h5ad"
    second.write_bytes(made_dataset.path.read_bytes())
    renamed = made_dataset.model_copy(update={"spec": made_dataset.spec.model_copy(update={"name": "second"})})
    quick.write(tmp_path / "models", made_dataset, renamed)
    entries = {"made": entry(made_dataset.path), "second": entry(second)}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    process = here.start("-m", "quick", "-d", "made,second", "--warm", "--set", "quick.wait=8")
    until(lambda: list(here.results.glob("runs/*.json")) and len(status(here)["running"]) == 2)
    running = status(here)["running"]
    hidden = {name.lstrip(".").partition("~")[0] for name in here.workspaces()}
    (other,) = {one["job"] for one in running} - hidden
    assert "runs now" in here.run(other, command="show").stderr
    assert "devices" in here.run("-f", other[:10], command="logs").stdout
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "devices" in here.run(other, command="logs").stdout


def test_a_detached_run_can_be_stopped_while_its_images_are_made(here):
    os.mkfifo(here.folder / "models" / "quick" / "pipe")  # it is read for ever
    told = json.loads(here.run("-m", "quick", "--detach", "--json").stdout)
    assert status(here)["state"] == "preparing"
    done = here.run(told["run"], command="cancel")
    assert (done.returncode, "is stopped" in done.stdout) == (0, True), done.stderr
    assert status(here)["state"] == "cancelled"


def test_refresh_computes_again_and_explain_says_what_is_used_again(here):
    common = [*here.common[:4], "--engine", here.common[-1], "--json"]
    ask = ["random", "made", "embedding", *common]
    before = json.loads(here.run(*ask, command="explain").stdout)["explained"]
    assert [one["reused"] for one in before] == [False, False]
    assert here.run("-m", "random").returncode == 0
    after = json.loads(here.run(*ask, command="explain").stdout)["explained"]
    assert [one["reused"] for one in after] == [True, True]
    other = json.loads(here.run(*ask, "--set", "random.n_components=7", command="explain").stdout)["explained"]
    assert [field["name"] for field in other[0]["fields"] if not field["same"]] == ["params.n_components"]
    again = here.run("-m", "random", "--refresh")
    assert (again.returncode, "from the cache" in again.stderr, "random on made (seed 42): ok" in again.stderr) == (
        0,
        False,
        True,
    )


def test_a_run_of_another_cannot_be_stopped_by_mistake(here):
    process = here.start("-m", "quick", "--set", "quick.wait=60")
    until(lambda: list(here.results.glob("runs/*.json")) and status(here)["running"])
    process.kill()
    process.communicate()
    time.sleep(0.2)
    assert status(here)["state"] == "died"
    done = here.run("latest", command="cancel")
    assert (done.returncode, "does not run" in done.stderr) == (2, True)
    here.run(command="clean")
    assert here.workspaces() == []
    if here.common[-1] == "docker":
        assert containers(model="quick") == []


def test_retry_takes_the_model_as_it_is_now(here):
    script = here.folder / "models" / "quick" / "model.sh"
    good = script.read_text()
    script.write_text("exit 7\n")
    assert here.run("-m", "quick").returncode == 1
    script.write_text(good)
    again = here.run("--json", command="retry")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["states"] == {"ok": 1}


def test_retry_keeps_to_the_limits_of_its_run_but_for_those_that_it_is_given(here):
    words = ["-m", "quick", "--set", "quick.wait=2", "--limit", "time=0.5,memory=100MiB"]
    assert here.run(*words).returncode == 1
    again = json.loads(here.run("--json", command="retry").stdout)
    assert again["states"] == {"timeout": 1}
    mended = here.run("--limit", "time=60", "--json", command="retry")
    assert (mended.returncode, json.loads(mended.stdout)["states"]) == (0, {"ok": 1})
    (path,) = here.results.glob("jobs/[!.]*/*/record.json")
    record = json.loads(path.read_text())
    assert (record["limits"]["time"], record["limits"]["memory_mb"]) == (60, 100)
    assert [one["state"] for one in record["attempts"]] == ["timeout", "timeout"]


def test_retry_of_a_refresh_refreshes_nothing(here):
    assert here.run("-m", "quick,misbehave", "--set", "misbehave.how=crash", "--refresh").returncode == 1
    again = here.run("--json", command="retry")
    assert (again.returncode, again.stderr.count("from the cache")) == (1, 1)
    assert json.loads(again.stdout)["states"] == {"model_error": 1, "ok": 1}


def test_a_refresh_that_fails_is_a_failure_and_what_was_there_stays(here):
    words = ["-m", "quick", "--limit"]
    assert here.run(*words, "time=60", "--set", "quick.wait=4").returncode == 0
    failed = here.run(*words, "time=1", "--set", "quick.wait=4", "--refresh", "--json")
    assert failed.returncode == 1
    document = json.loads(failed.stdout)
    assert (document["states"], document["complete"]) == ({"timeout": 1}, False)
    (path,) = here.results.glob("jobs/[!.]*/*/record.json")
    record = json.loads(path.read_text())
    assert (record["state"], [one["state"] for one in record["attempts"]]) == ("ok", ["timeout"])
    assert (path.parent / record["attempts"][0]["log"]).exists()
    assert json.loads(here.run("latest", "--json", command="show").stdout)["states"] == {"timeout": 1}
    assert here.run(*words, "time=60", "--set", "quick.wait=4").returncode == 0, "it is used again"
