"""What survives when things are broken on purpose: nothing that had finished is lost, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import quick
from place import Place, containers, until
from support import closed_to_others, entry

pytestmark = pytest.mark.docker


@pytest.fixture
def here(tmp_path, made_dataset):
    """A folder with the quick model and the made dataset, and the command line in it."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    return Place(tmp_path, quick.write(tmp_path / "models", made_dataset), catalog)


def test_after_kill_nine_the_next_run_goes_on_and_clears_up(here):
    words = ["-m", "quick", "-s", "1,2,3", "--set", "quick.wait=0", "--json"]
    assert here.run(*words).returncode == 0
    slow = ["-m", "quick,misbehave", "-s", "1,2,3", "--set", "misbehave.how=hang", "--limit", "time=2", "-j", "2"]
    process = here.start(*slow, "--limit", "time=100")
    hanging = until(lambda: containers(all=False, model="misbehave"))
    process.kill()
    process.communicate()
    assert set(containers(all=False, model="misbehave")) >= set(hanging), "nobody told them"
    assert here.workspaces() != []
    died = json.loads(here.run("latest", "--json", command="status").stdout)
    assert died["state"] == "died"

    again = here.run(*slow, "--json")
    document = json.loads(again.stdout)
    assert again.stderr.count("from the cache") == 3, "what had finished is used again"
    assert "removed, left by a run that was killed: container" in again.stderr
    assert document["states"] == {"ok": 3, "timeout": 3}
    assert document["planned"] == 6
    here.nothing_is_left()


def test_clean_removes_ones_own_and_nobody_elses(here, tmp_path):
    process = here.start("-m", "misbehave", "--set", "misbehave.how=hang")
    (orphan,) = until(lambda: containers(all=False, model="misbehave"))
    assert "nothing was left over" in here.run(command="clean").stdout, "its owner lives"
    process.kill()
    process.communicate()
    if os.getuid() == 0 and not closed_to_others():
        other = subprocess.run(
            [sys.executable, "-c", CLEAN_AS, "12345"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert other.stdout == "[]\n", "another user's"
        assert containers(model="misbehave") == [orphan]
    done = json.loads(here.run("--json", command="clean").stdout)["removed"]
    assert [line.split()[0] for line in done] == ["folder", "container"]
    here.nothing_is_left()


CLEAN_AS = """
import os, sys
from cellgauge.engines.docker import DockerEngine
engine = DockerEngine()
engine.check()
os.setresuid(int(sys.argv[1]), int(sys.argv[1]), 0)
print(engine.sweep())
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_what_runs_and_a_second_one_at_once(here, times):
    process = here.start("-m", "quick,misbehave", "-s", "1,2", "--set", "misbehave.how=stubborn", "-j", "4")
    until(lambda: len(containers(all=False, model="misbehave")) == 2 and here.run("latest", "--json", command="status"))
    until(lambda: json.loads(here.run("latest", "--json", command="status").stdout)["scored"] == 2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    if times == 2:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert process.returncode == 130
    assert "What had finished is kept" in err
    assert took < (5 if times == 2 else 15), took
    here.nothing_is_left()
    document = json.loads(here.run("latest", "--json", command="show").stdout)
    assert document["states"] == {"ok": 2, "cancelled": 2}


def test_a_full_disk_stops_the_run_with_a_reason_and_keeps_what_was_done(here, small_disk):
    subprocess.run(["mount", "-o", "remount,size=600k", small_disk], check=True)
    done = here.run("-m", "quick", "-s", ",".join(map(str, range(30))), "--results", str(small_disk))
    assert done.returncode == 6, done.stderr
    assert "No space left on device" in done.stderr
    assert "Free some space" in done.stderr
    finished = list((small_disk / "jobs").glob("[!.]*/*/record.json"))
    assert finished, "those that fitted are kept"
    assert all(json.loads(path.read_text())["state"] == "ok" for path in finished)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = here.run("-m", "quick", "-s", ",".join(map(str, range(30))), "--results", str(small_disk))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("from the cache") >= len(finished) - 1
    assert [path.name for path in (small_disk / "jobs").glob(".*~*")] == []


def test_an_image_that_is_deleted_under_a_running_plan_is_told_and_the_others_go_on(here, made_dataset):
    import docker

    quick.write(here.folder / "models", made_dataset, name="doomed")
    here.common += ["--models-path", str(here.folder / "models" / "doomed")]
    words = ["-m", "quick,doomed", "-s", "1,2", "--set", "quick.wait=3", "-j", "1", "--json"]
    process = here.start(*words)
    until(lambda: containers(all=False, model="quick"))
    time.sleep(1.5)  # its packages have been listed by now
    client = docker.from_env()
    for image in client.images.list("cellgauge/doomed"):
        client.images.remove(image.id, force=True)
    out, _ = process.communicate(timeout=120)
    document = json.loads(out)
    states = {(one["model"], one["seed"]): one["state"] for one in document["results"]}
    assert process.returncode == 1
    assert states["quick", 1] == states["quick", 2] == "ok"
    failed = [one for one in document["results"] if one["state"] == "infrastructure"]
    assert failed, states
    assert all("No such image" in one["reason"] for one in failed)
    assert here.run(*words).returncode == 0, "the same command builds it anew"
    here.nothing_is_left()


def test_a_container_that_is_ended_from_outside_is_no_word_on_its_model_and_is_tried_again(here):
    process = here.start("-m", "quick", "--set", "quick.wait=4", "--json")
    (container,) = until(lambda: containers(all=False, model="quick"))
    time.sleep(1)
    subprocess.run(["docker", "kill", container], check=True, capture_output=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (record,) = [json.loads(path.read_text()) for path in here.results.glob("jobs/[!.]*/*/record.json")]
    (attempt,) = record["attempts"]
    assert (record["state"], attempt["state"]) == ("ok", "infrastructure")
    assert "ended from outside" in attempt["reason"]
    assert (
        "devices"
        in (here.results / "jobs" / record["job"]["id"][:2] / record["job"]["id"] / attempt["log"]).read_text()
    )
    here.nothing_is_left()


def test_two_hundred_jobs_eight_at_a_time_leave_nothing(here, monkeypatch):
    temporary = here.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = here.run("-m", "quick", "-s", ",".join(map(str, range(200))), "-j", "8", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (document["planned"], document["states"]) == (200, {"ok": 200})
    here.nothing_is_left()
    assert list(temporary.iterdir()) == []
    assert here.run("-m", "quick", "-s", ",".join(map(str, range(200))), "--json").stderr.count("from the cache") == 200


@pytest.fixture
def as_user(here, tmp_path):
    """Start the command line as another user, who may use the engine."""
    if os.getuid() != 0:
        pytest.skip("becoming two other users needs root")
    if reason := closed_to_others():
        pytest.skip(reason)
    become = ["setpriv", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]  # Python is in /root
    if subprocess.run([*become, "--reuid", "12345", sys.executable, "--version"], check=False).returncode:
        pytest.skip("this machine does not let another user read this Python")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    group = Path(os.environ["DOCKER_HOST"].removeprefix("unix://")).stat().st_gid

    def start(user, *more):
        home = tmp_path / str(user)
        home.mkdir(exist_ok=True)
        os.chown(home, user, user)
        words = [*become, "--reuid", str(user), "--regid", str(user), "--groups", f"{group},4242", sys.executable, "-m"]
        words += [
            "cellgauge",
            "run",
            *here.common,
            "-m",
            "quick,misbehave",
            "-s",
            "1,2,3,4",
            "-j",
            "2",
            "--json",
            *more,
        ]
        environment = {**os.environ, "CELLGAUGE_CACHE": str(home / "cache"), "HOME": str(home)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return home, subprocess.Popen(words, cwd=home, env=environment, umask=0o002, **pipes)

    return start


def test_two_users_at_once_do_not_meet(as_user):
    running = [(user, *as_user(user, "--set", "misbehave.how=whoami")) for user in (12345, 12346)]
    for user, home, process in running:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert json.loads(out)["states"] == {"ok": 8}
        records = [json.loads(path.read_text()) for path in home.glob("cellgauge-results/jobs/*/*/record.json")]
        told = [one["items"][0]["versions"]["uid"] for one in records if one["job"]["model"] == "misbehave"]
        assert told == [str(user)] * 4
        assert all(path.stat().st_uid == user for path in home.rglob("*"))
    assert containers(uid=12345) == containers(uid=12346) == []


def test_two_users_share_a_results_folder(as_user, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4242)
    shared.chmod(0o2775)
    words = ["--set", "misbehave.how=crash", "--results", str(shared)]
    for users in ((12345, 12346), (12346,)):  # at once; and again, over what failed
        for process in [as_user(user, *words)[1] for user in users]:
            out, err = process.communicate(timeout=200)
            assert process.returncode == 1, err
            assert json.loads(out)["states"] == {"model_error": 4, "ok": 4}
    assert [path.name for path in (shared / "jobs").glob(".*~*")] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "shut down"])
def test_an_engine_that_is_restarted_under_a_run_costs_an_attempt_and_no_result(here, own_engine, number, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    process = here.start("-m", "quick", "-s", "1,2,3", "--set", "quick.wait=6", "-j", "2", "--json")
    until(lambda: len(containers(all=False, host=own_engine.host)) == 2, patience=120)
    time.sleep(1)
    own_engine.stop(number)
    time.sleep(2)
    own_engine.start()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["states"] == {"ok": 3}
    records = [json.loads(path.read_text()) for path in here.results.glob("jobs/*/*/record.json")]
    tries = sorted(len(one["attempts"]) for one in records)
    assert tries[-1] >= 1, "it was noticed"
    assert {attempt["state"] for one in records for attempt in one["attempts"]} == {"infrastructure"}
    here.nothing_is_left(host=own_engine.host)


def test_ctrl_c_does_not_wait_for_a_long_score(here, tmp_path, monkeypatch):
    """Nobody waits for minutes of scoring either; what the model gave is kept and scored the next time."""
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "slow_task.py").write_text(SLOW_TASK)
    info = tmp_path / "plugin" / "slow_task-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-task\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cellgauge.tasks]\nslow = slow_task:TASK\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    here.common[here.common.index("-t") + 1] = "slow"
    process = here.start("-m", "quick")
    until(lambda: (tmp_path / "scoring").exists())
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - began < 10) == (130, True)
    here.nothing_is_left()
    again = here.start("-m", "quick")
    until(lambda: "from the cache" in again.stderr.readline())
    again.kill()
    again.communicate()


SLOW_TASK = """
import pathlib, time
from cellgauge_tasks import Task

def score(embedding, obs, *, seed):
    pathlib.Path("scoring").touch()
    time.sleep(600)

TASK = Task(name="slow", version="1", title="Slow.", roles=(), score=score, headline={}, baseline="pca")
"""
