"""What a model finds where it runs: its folders, its environment, and nothing else."""

import os
import re
import socket
from pathlib import Path
from unittest.mock import patch

from cellgauge.engines.conformance.bench import CELLS, Bench, needs
from cellgauge.engines.launch import Cancel, Engine, environment

SECRET = "not for models"  # noqa: S105
OURS = {"CELLGAUGE_OWNER", "CELLGAUGE_JOB"}
"""What an engine may set beside the contract's variables, to know its own again."""


class Inside(Bench):
    """A model finds what the contract promises, and nothing of the caller's."""

    def test_an_engine_says_what_it_is(self, engine: Engine, tmp_path: Path) -> None:
        assert engine.name
        assert isinstance(engine.check(), str)
        assert engine.check().strip(), "check() says which engine this is"
        assert all(isinstance(uuid, str) for uuid in engine.gpus_in_use())
        packages = engine.packages(self.image(), Cancel())
        wrong = [line for line in packages if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)]
        assert not wrong, "packages() lists name==version"
        assert list(packages) == sorted(set(packages)), "packages() lists each once, in order"

    def test_a_sandbox_is_told_in_words(self, engine: Engine, tmp_path: Path) -> None:
        told = engine.sandbox(self.launch(tmp_path, "write"))
        assert told, "a result says what was withheld from its model"
        assert all(isinstance(part, str) and part for pair in told.items() for part in pair), told
        assert ("memory" in told) == self.limits_memory, told
        assert ("disk" in told) == self.limits_disk, told

    def test_the_environment_is_the_contracts_and_not_the_callers(self, engine: Engine, tmp_path: Path) -> None:
        launch = self.launch(tmp_path, "tell")
        ours = {"CELLGAUGE_TEST_SECRET": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "HTTPS_PROXY": SECRET}
        with patch.dict(os.environ, ours):
            ran = self.run(engine, launch)
        assert ran.exit.code == 0, ran.log
        seen = ran.told("told.json")["environment"]
        folders = {name: seen[f"CELLGAUGE_{name.upper()}"] for name in ("input", "output", "weights", "scratch")}
        expected = environment(launch, **folders)
        assert {name: seen.get(name) for name in expected} == expected
        assert not [name for name, value in seen.items() if SECRET in value], "secrets of the caller's are seen"
        extra = {name for name in seen if name.startswith("CELLGAUGE_")} - set(expected)
        assert extra <= OURS, f"the contract has no {extra}"
        assert seen.get("CUDA_VISIBLE_DEVICES") == "" or not ran.told("told.json")["devices"], "it sees a GPU"

    def test_folders_are_as_the_contract_says(self, engine: Engine, tmp_path: Path) -> None:
        weights = tmp_path / "weights"
        weights.mkdir()
        (weights / "model.bin").write_text("trained")
        launch = self.launch(tmp_path / "job", "tell", weights)
        ran = self.run(engine, launch)
        assert ran.exit.code == 0, ran.log
        told = ran.told("told.json")
        assert told["arguments"] == ["embed"], "the verb is the only argument"
        assert told["folder"] == told["environment"]["CELLGAUGE_SCRATCH"], "it starts in its scratch folder"
        assert told["input"] == {path.name: path.read_text() for path in sorted(launch.input.iterdir())}
        assert told["weights"] == {"model.bin": "trained"}
        assert told["output"] == [], "the output is empty at the start"
        assert told["stdin"] == 0, "stdin is empty"
        assert told["home is writable"]
        assert set(told["descriptors"]) == {0, 1, 2}, "it inherits files of the caller's"

    def test_folders_may_be_named_as_people_name_them(self, engine: Engine, tmp_path: Path) -> None:
        weights = tmp_path / "größe: 7,5 µm"
        weights.mkdir()
        ran = self.run(engine, self.launch(tmp_path / 'mein "Ergebnis", d\'été $HOME 細胞', "tell write", weights))
        assert ran.exit.code == 0, ran.log
        assert (ran.launch.output / "first" / "cells.txt").read_text().split() == list(CELLS)

    def test_what_is_sealed_off_is_out_of_reach(self, engine: Engine, tmp_path: Path) -> None:
        needs(self.isolates, "this engine does not isolate")
        private, weights = tmp_path / "private.txt", tmp_path / "weights"
        private.write_text("of the caller")
        weights.mkdir()
        launch = self.launch(tmp_path / "job", "pry", weights)
        with socket.create_server(("127.0.0.1", 0)) as service:
            told = f'{{"file": "{private}", "port": {service.getsockname()[1]}, "pid": {os.getpid()}}}'
            (launch.input / "attempts.json").write_text(told)
            before = {path.name: path.read_text() for path in launch.input.iterdir()}
            ran = self.run(engine, launch)
        assert ran.exit.code == 0, ran.log
        assert ran.told("worked.json") == []
        assert {path.name: path.read_text() for path in launch.input.iterdir()} == before
        assert list(weights.iterdir()) == []
