import json

import pytest

import frozen

KNOWN = json.loads(frozen.FILE.read_text())
NOW = frozen.scores()


def test_every_task_has_its_numbers_written_down():
    assert set(KNOWN) == set(NOW)


@pytest.mark.parametrize("name", NOW)
def test_a_number_that_changed_has_a_new_version(name):
    known, now = KNOWN[name], NOW[name]
    assert known["version"] == now["version"], "write the new numbers down: python tests/frozen.py"
    assert known["scores"].keys() == now["scores"].keys(), "raise the task's version"
    for metric, numbers in now["scores"].items():  # its value, and where its interval begins and ends
        assert numbers == pytest.approx(known["scores"][metric], abs=2e-6), f"{metric}: raise the task's version"
