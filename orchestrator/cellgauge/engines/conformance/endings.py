"""How a model ends, and what is left of it to read: its exit code, its output and its log."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cellgauge.engines.conformance.bench import CELLS, Bench, needs
from cellgauge.engines.launch import Engine
from cellgauge.errors import EngineError

LINES = 1500
"""Of each stream: more than a pipe holds."""


class Endings(Bench):
    """What a model says at its end arrives, whatever it is."""

    def test_a_good_run_leaves_its_output_to_the_caller(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "say=1 write"))
        told = ran.exit.model_dump(include={"code", "oom_killed", "timed_out", "cancelled", "disk_full"})
        usual = {"code": 0, "oom_killed": False, "timed_out": False, "cancelled": False, "disk_full": False}
        assert told == usual, ran.log
        assert 0 <= ran.exit.start_seconds <= ran.seconds
        files = sorted(path.name for path in (ran.launch.output / "first").iterdir())
        assert files == ["cells.txt", "embedding.npy", "result.json"]
        assert (ran.launch.output / "first" / "cells.txt").read_text().split() == list(CELLS)
        places = (ran.launch.output, ran.launch.scratch, ran.launch.log.parent)
        owners = {path.lstat().st_uid for place in places for path in place.rglob("*")}
        assert owners == {os.getuid()}, "the output is the caller's"

    def test_exit_codes_are_those_of_the_program(self, engine: Engine, tmp_path: Path) -> None:
        codes = (1, 3, 99, 130, 137, 143)
        with ThreadPoolExecutor(3) as pool:
            launches = (self.launch(tmp_path / str(code), f"exit={code}") for code in codes)
            ended = tuple(pool.map(lambda launch: self.run(engine, launch).exit, launches))
        assert tuple(exit.code for exit in ended) == codes
        assert not [exit for exit in ended if exit.oom_killed or exit.timed_out or exit.cancelled or exit.disk_full]

    def test_a_death_by_signal_can_be_told(self, engine: Engine, tmp_path: Path) -> None:
        signals = (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT)
        with ThreadPoolExecutor(3) as pool:
            launches = (self.launch(tmp_path / number.name, f"die={number}") for number in signals)
            ended = tuple(pool.map(lambda launch: self.run(engine, launch).exit, launches))
        for number, exit in zip(signals, ended, strict=True):
            assert exit.code in (-number, 128 + number), f"{number.name}: {exit}"
            assert not any((exit.oom_killed, exit.timed_out, exit.cancelled)), f"{number.name}: {exit}"

    def test_a_program_that_cannot_be_started_is_told(self, engine: Engine, tmp_path: Path) -> None:
        launch = self.unstartable(self.launch(tmp_path, "write"))
        try:
            ran = self.run(engine, launch)
        except EngineError as problem:
            assert problem.phase == "start"
            assert problem.message
        else:
            assert ran.exit.code, "a program that never ran has not succeeded"
            assert ran.log.strip(), "the log says why"

    def test_an_image_that_is_not_there_is_an_error_of_the_engine(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.has_images, "this engine has no images")
        launch = self.launch(tmp_path, "write").model_copy(update={"image": f"sha256:{'0' * 64}"})
        try:
            ran = self.run(engine, launch)
        except EngineError as problem:
            assert problem.lasting, "another attempt would end the same way"
        else:
            raise AssertionError(f"no EngineError, but {ran.exit}")

    def test_the_log_has_every_line_of_both_streams_whole(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, f"say={LINES}"))
        assert ran.exit.code == 0
        lines = ran.log.decode().splitlines()
        broken = [line for line in lines if not re.fullmatch(r"out \d{5} o{60}|err \d{5} e{60}", line)]
        assert not broken, f"{len(broken)} lines are broken: {broken[:3]}"
        for stream in ("out", "err"):
            numbers = [int(line.split()[1]) for line in lines if line.startswith(stream)]
            assert numbers == list(range(LINES)), f"std{stream} is not all there, in order"

    def test_the_log_keeps_every_byte_and_the_last_words(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, f"say=3 gibber last die={signal.SIGKILL:d}"))
        assert bytes(range(256)) in ran.log
        assert ran.log.endswith(b"last words"), "what was said before a crash says most"

    def test_a_long_log_keeps_its_beginning_and_its_end(self, engine: Engine, tmp_path: Path) -> None:
        ran = self.run(engine, self.launch(tmp_path, "flood=5 last", log_mb=1))
        assert ran.exit.code == 0, ran.log[-500:]
        assert len(ran.log) <= (1 << 20) + 1000
        assert ran.log.startswith(b"%063d\n%063d\n" % (0, 1))
        assert ran.log.endswith(b"%063d\nlast words" % (5 * (1 << 20) // 64 - 1))
        assert len(list(ran.launch.log.parent.iterdir())) == 4, "nothing else is left beside it"
