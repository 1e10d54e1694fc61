"""What stays of a run that is over: nothing that runs, a way to do it again, and no trace of a dead owner's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellgauge.engines.conformance.bench import Bench, beats, make, needs, until
from cellgauge.engines.launch import Engine, Launch, quote

NOBODY = 4_000_000
"""A user's, and a process's, that is not there: Linux counts processes to 2²² = 4 194 304."""


class Remains(Bench):
    """Runs do not meet, and leave nothing behind that goes on."""

    def test_a_child_in_the_background_ends_with_its_model(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "fork sleep=1 write"))
        assert ran.exit.code == 0, ran.log
        ran.took(1 + 2 * self.slack)
        assert (ran.launch.output / "beat child").exists()
        assert not beats(ran.launch, "child")

    def test_a_child_that_left_its_session_ends_with_its_model(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.kills_strays, "this engine does not find processes that left their session")
        ran = self.run(engine, self.launch(tmp_path, "deaf stray sleep=1 write"))
        assert ran.exit.code == 0, ran.log
        ran.took(1 + 2 * self.slack)
        assert (ran.launch.output / "beat stray").exists()
        assert not beats(ran.launch, "stray")

    def test_two_runs_at_once_do_not_meet(self, engine: Engine, tmp_path: Path) -> None:
        both = [self.start(engine, self.launch(tmp_path / name, f"{name} fork hang")) for name in ("say=1", "say=2")]
        for running in both:
            running.wait_for("beat self")
        both[0].cancel.ask()
        ended = both[0].end()
        assert beats(both[1].launch, "self"), "the end of one is the end of another"
        both[1].cancel.ask()
        for ran, count in ((ended, 1), (both[1].end(), 2)):
            assert ran.exit.cancelled, ran.exit
            assert ran.log.count(b"\n") == 2 * count, "logs of two runs are mixed"

    def test_a_sweep_leaves_alone_what_its_own_process_runs(self, engine: Engine, tmp_path: Path) -> None:
        launches = [self.launch(tmp_path / str(n), "sleep=0.3 write") for n in range(6)]
        with ThreadPoolExecutor(3) as pool:
            ended = [pool.submit(self.run, engine, launch) for launch in launches]
            while not all(one.done() for one in ended):
                for sweeper in (engine, make(self.remake(engine))):  # notebooks make an engine in every cell
                    sweeper.sweep()
        assert [one.result().exit.code for one in ended] == [0] * len(launches)

    def test_a_replay_does_the_same_again(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.replays, "what this engine writes cannot be run here")
        weights = tmp_path / "größe: 7,5 µm"
        weights.mkdir()
        (weights / "model.bin").write_text("trained")
        launch = self.launch(tmp_path / 'mein "Ergebnis", d\'été $HOME 細胞', "tell write", weights)
        ran = self.run(engine, launch)
        line = quote(engine.replay(launch))
        assert line, "an engine that cannot write a command sets `replays = False`"
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=120, check=False)
        assert done.returncode == ran.exit.code == 0, done.stderr
        again = launch.output.parent / "replay" / "output"
        assert _files(again / "first") == _files(launch.output / "first") != {}
        first, second = (json.loads((folder / "told.json").read_text()) for folder in (launch.output, again))
        moved = {name: first[name] for name in ("arguments", "input", "weights", "output", "descriptors")}
        assert {name: second[name] for name in moved} == moved
        assert set(first["environment"]) <= set(second["environment"])

    def test_what_a_dead_owner_left_is_swept_and_what_a_living_one_has_is_not(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        needs(self.leaves, "what this engine starts ends with its owner")
        launch = self.launch(tmp_path, "hang")
        with self._child(engine, launch) as child:
            engine.sweep()
            assert beats(launch, "self"), "the owner lives"
            child.kill()
            child.wait()
            swept = engine.sweep()  # at once: other runs of this user's may sweep, too
            assert swept, "sweep() says what it removed; if nothing outlives its owner, set `leaves = False`"
            assert all(isinstance(one, str) and one for one in swept)
            assert not beats(launch, "self")

    def test_what_another_user_left_is_not_swept(self, engine: Engine, tmp_path: Path) -> None:
        launch = self.launch(tmp_path, "hang")
        with self._child(engine, launch, uid=NOBODY, pid=NOBODY) as child:
            engine.sweep()
            assert beats(launch, "self"), "it is not ours to remove"
            child.terminate()
            out, err = child.communicate(timeout=60)
            assert json.loads(out)["cancelled"], err
        assert not beats(launch, "self")

    @contextmanager
    def _child(self, engine: Engine, launch: Launch, **owner: int) -> Iterator["subprocess.Popen[str]"]:
        """Run a launch in another process, which may pretend to be yet another one."""
        told: dict[str, Any] = {"engine": self.remake(engine), "launch": launch.model_dump(mode="json")}
        words = [sys.executable, "-m", "cellgauge.engines.conformance.child"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(words, text=True, **pipes) as child:
            try:
                assert child.stdin
                child.stdin.write(json.dumps({**told, "owner": owner, "path": sys.path}))
                child.stdin.close()
                child.stdin = None
                shows = launch.output / "beat self"
                until(lambda: shows.exists() or child.poll() is not None, 60, "the probe in another process is silent")
                assert shows.exists(), child.communicate()[1]
                yield child
            finally:
                child.terminate()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
