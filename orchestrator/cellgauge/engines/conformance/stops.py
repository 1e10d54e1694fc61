"""What stops a model: its limits, and somebody who asks it to."""

from pathlib import Path

from cellgauge.engines.conformance.bench import Bench, beats, needs
from cellgauge.engines.launch import GRACE, Engine

LIMIT = 1.5


class Stops(Bench):
    """A limit is a limit, a wish is heard, and nothing goes on afterwards."""

    def test_a_model_past_its_time_is_stopped_and_what_it_did_is_kept(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "say=2 write fork hang", time=LIMIT))
        assert ran.exit.timed_out, ran.exit
        assert not ran.exit.cancelled
        ran.took(ran.exit.start_seconds + LIMIT + self.slack)
        assert ran.seconds >= LIMIT
        assert b"err 00001" in ran.log
        assert (ran.launch.output / "first" / "result.json").exists()
        assert not beats(ran.launch, "self", "child")

    def test_a_model_that_does_not_hear_is_killed_after_its_grace(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "say=2 deaf fork hang", time=LIMIT))
        assert ran.exit.timed_out, ran.exit
        ran.took(ran.exit.start_seconds + LIMIT + GRACE + self.slack)
        assert ran.seconds >= LIMIT + GRACE, "it gets its grace"
        assert b"err 00001" in ran.log
        assert not beats(ran.launch, "self", "child")

    def test_a_model_has_the_grace_to_put_its_things_in_order(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "sing=1 hang", time=LIMIT))
        assert ran.exit.timed_out, "what it says at last changes nothing"
        ran.took(ran.exit.start_seconds + LIMIT + 1 + self.slack)
        assert (ran.launch.output / "swan song").read_text() == "la"
        assert ran.log == b"la\n"

    def test_a_wish_before_the_start_is_heard(self, engine: Engine, tmp_path: Path) -> None:
        running = self.start(engine, launch := self.launch(tmp_path, "hang"))
        running.cancel.ask()
        ran = running.end()
        assert ran.exit.cancelled, ran.exit
        ran.took(GRACE + self.slack)
        assert not beats(launch, "self")

    def test_a_wish_while_it_runs_is_heard(self, engine: Engine, tmp_path: Path) -> None:
        running = self.start(engine, launch := self.launch(tmp_path, "say=2 write fork hang"))
        running.wait_for("beat self")
        before = running.seconds
        running.cancel.ask()
        ran = running.end()
        assert ran.exit.cancelled, ran.exit
        assert not ran.exit.timed_out
        ran.took(before + self.slack)
        assert b"err 00001" in ran.log
        assert (launch.output / "first" / "result.json").exists()
        assert not beats(launch, "self", "child")

    def test_a_second_wish_kills_at_once(self, engine: Engine, tmp_path: Path) -> None:
        running = self.start(engine, launch := self.launch(tmp_path, "deaf hang"))
        running.wait_for("beat self")
        before = running.seconds
        running.cancel.ask()
        running.cancel.ask()
        ran = running.end()
        assert ran.exit.cancelled, ran.exit
        assert ran.seconds - before < GRACE * 0.7, "a second wish waits for no grace"
        assert not beats(launch, "self")

    def test_a_model_that_fills_the_disk_is_stopped(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.limits_disk, "this engine does not limit what is written")
        ran = self.run(engine, self.launch(tmp_path, "fill=24 hang", disk_mb=16))
        assert ran.exit.disk_full, ran.exit
        ran.took(2 * GRACE + self.slack)
        assert not beats(ran.launch, "self")

    def test_a_model_that_takes_too_much_memory_is_stopped(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.limits_memory, "this engine does not limit memory")
        ran = self.run(engine, self.launch(tmp_path, "say=2 hoard=400 hang", memory_mb=64))
        assert ran.exit.oom_killed, ran.exit
        assert ran.exit.code not in (0, None), ran.exit
        assert b"err 00001" in ran.log

    def test_what_a_model_used_is_plausible(self, engine: Engine, tmp_path: Path) -> None:
        ballast = bytearray(b"x" * (400 << 20))  # ours, and none of the model's
        ran = self.run(engine, self.launch(tmp_path, "burn=1.5 sleep=3.5"))
        del ballast
        assert ran.exit.code == 0, ran.log
        seconds, peak = ran.exit.used.cpu_seconds, ran.exit.used.peak_memory
        assert seconds is None or 1 <= seconds <= 3, f"{seconds} s of CPU for 1.5 s of work"
        assert peak is None or 64 << 20 <= peak <= 200 << 20, f"{peak} bytes for a program that holds 64 MiB"
