"""The page on the sandbox tells all of it, because a test fails otherwise."""

import re
from typing import get_args

import pytest

from cellgauge.engines.docker import DockerEngine
from cellgauge.engines.launch import Launch
from cellgauge.engines.local import LocalEngine
from cellgauge.specs import Changes, Limits, Relaxation
from support import ROOT, made_model

PAGE = (ROOT / "docs" / "reference" / "sandbox.md").read_text()
SEALED, LOCAL = PAGE.split("## The local engine has no sandbox")


def aspects(engine):
    limits = Limits.of(made_model().spec.resources, [], Changes(), 1)
    fields = {"jobs": ("j",), "verb": "embed", "model": "m", "image": "i", "command": ("c",), "limits": limits}
    places = dict.fromkeys(("folder", "input", "output", "scratch", "log"), ROOT)
    return engine.sandbox(Launch(**fields, **places))


@pytest.mark.parametrize(
    ("engine", "text"), [(DockerEngine(), SEALED), (LocalEngine(), LOCAL)], ids=["container", "process"]
)
def test_every_aspect_of_a_sandbox_has_a_line(engine, text):
    lines = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
    assert [name for name in aspects(engine) if name not in lines] == []


@pytest.mark.parametrize("name", [field.removesuffix("_mb") for field in Changes.model_fields])
def test_every_limit_stands_there(name):
    assert re.search(rf"`--limit {name}=[^`]+`", SEALED)


@pytest.mark.parametrize("name", get_args(Relaxation))
def test_every_relaxation_stands_there_with_what_it_costs(name):
    assert f"`--allow {name}`" in SEALED
    assert re.search(rf"^\| `{name}` \| .{{50,}} \|$", SEALED, flags=re.MULTILINE)


def test_every_test_that_it_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = {
        name for path in ROOT.glob("tests/*/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 10
    assert named <= there
    files = {path.name for path in ROOT.glob("tests/*/test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", PAGE)) <= files


def test_every_test_of_the_adversary_is_named():
    for name in ("test_sandbox.py", "test_forgeries.py"):
        tests = set(re.findall(r"def (test_\w+)", (ROOT / "tests" / "system" / name).read_text()))
        assert {test for test in tests if test not in PAGE} <= {
            "test_what_is_odd_and_harmless_is_taken",
            "test_a_long_reason_is_cut",
        }
