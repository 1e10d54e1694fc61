import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import cellgauge
from cellgauge.errors import CellgaugeError


@pytest.fixture
def call(tmp_path):
    def run(*arguments, code=0, **environment):
        command = [sys.executable, "-m", "cellgauge", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, **environment}
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def test_the_version_is_the_packages(call):
    assert (
        call("--version").stdout.strip() == f"cellgauge {version('cellgauge')}" == f"cellgauge {cellgauge.__version__}"
    )


def test_help_imports_nothing_heavy(call):
    code = """
import sys
sys.argv = ["cellgauge", "--help"]
from cellgauge.cli import main
try:
    main()
except SystemExit:
    print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"numpy", "pandas", "scanpy", "anndata", "docker", "pydantic", "yaml", "sklearn", "requests"}
    assert not heavy & loaded


@pytest.mark.parametrize("what", ["models", "datasets", "tasks"])
def test_lists_are_tables_and_one_json_document(call, what):
    rows = json.loads(call("list", what, "--json").stdout)
    names = {row["name"] for row in rows}
    assert names & {"pca", "pbmc68k_reduced", "clustering"}
    table = call("list", what, COLUMNS="200").stdout
    assert all(name in table for name in names)


def test_datasets_are_listed_with_their_whole_names_and_how_far_they_can_be_relied_on(call):
    rows = {row["name"]: row for row in json.loads(call("datasets", "list", "--json").stdout)}
    files = {row["status"] for row in rows.values() if not row["members"]}
    assert files == {"verified", "unverified", "deprecated"}
    for name, row in rows.items():
        assert (row["status"] == "deprecated") == bool(row["reason"]), name
        assert row["successor"] is None or row["successor"] in rows
        assert {"size", "modality"} <= set(row)
    table = call("datasets", "list", COLUMNS="80").stdout
    assert max(map(len, table.splitlines())) <= 80
    shown = [line.split() for line in table.splitlines()]
    for name, row in rows.items():
        (line,) = [words for words in shown if words[:1] == [name]]
        assert line[-1] == row["status"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("-m", "pcaa", "-d", "pbmc68k_reduced"), "no model named 'pcaa'", "Did you mean 'pca'?"),
        (("-m", "pca", "-d", "pbmc68k_reducd"), "no dataset named 'pbmc68k_reducd'", "Did you mean 'pbmc68k_reduced'?"),
        (("-m", "pca", "-d", "all", "-t", "clusterin"), "no task named 'clusterin'", "Did you mean 'clustering'?"),
        (("-m", "pca:big", "-d", "all"), "no variant of pca named 'big'", "Known: default."),
        (
            ("-m", "pca", "-d", "all", "--set", "pca.k=1"),
            "no parameter of pca named 'k'",
            "Known: n_components, n_top_genes.",
        ),
        (("-m", "pca", "-d", "all", "--set", "pca.n_components=no"), "False is not of type integer", ""),
        (("-m", "pca", "-d", "all", "--set", "pca"), "--set pca: not of the form", "pca.n_components=20"),
        (("-m", "pca", "-d", "all", "--set", "hvg.n_top_genes=5"), "no model in this run named 'hvg'", ""),
        (("-m", "", "-d", "all"), "no model is named", "Known: "),
        (("-m", "PCA", "-d", "all"), "no model named 'PCA'", "Did you mean 'pca'?"),
        (("-m", "pca", "-d", "all", "-s", "-1"), "--seed -1: not an integer", "--seed 1,2,3"),
        (("-m", "pca", "-d", "zzz"), "no dataset named 'zzz'", "--catalog"),
        (("-m", "pca"), "Missing option '--datasets'", "See: cellgauge run --help"),
        (("-m", "pca", "--dataset", "x"), "No such option: --dataset", "See: cellgauge run --help"),
        (("-m", "pca", "-d", "all", "--engine", "dokcer"), "--engine or CELLGAUGE_ENGINE: Input should be 'auto'", ""),
    ],
)
def test_wrong_words_are_refused_with_a_hint_also_as_json(call, arguments, message, hint):
    done = call(
        "run",
        *arguments,
        "--json",
        "--engine" if "--engine" not in arguments else "--jobs",
        "local" if "--engine" not in arguments else "1",
        code=2,
    )
    told = json.loads(done.stdout)
    assert message in told["error"]
    assert hint in told["hint"]
    assert f"error: {told['error']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_traceback_is_shown_only_when_asked_for(call):
    assert "Traceback" in call("--debug", "run", "-m", "nobody", "-d", "all", code=2).stderr
    assert "Traceback" in call("run", "-m", "nobody", "-d", "all", "--debug", code=2).stderr


def test_an_output_that_cannot_be_written_is_no_bug_of_ours():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "cellgauge", "list", "tasks", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert "No space left on device" in done.stderr
    assert "bug" not in done.stderr


def test_a_wrong_setting_names_its_variable(call):
    assert "CELLGAUGE_JOBS" in call("run", "-m", "pca", "-d", "all", code=2, CELLGAUGE_JOBS="none").stderr


def test_results_that_cannot_be_written_are_an_error_before_any_work(call, tmp_path):
    (tmp_path / "file").write_text("")
    done = call("run", "-m", "random", "-d", "all", "--engine", "local", "--results", str(tmp_path / "file"), code=6)
    assert "Not a directory" in done.stderr
    assert "--results" in done.stderr


def test_showing_nothing_says_what_to_do(call):
    assert "Run `cellgauge run` first" in call("show", code=2).stderr


def test_names_are_completed(call):
    def complete(words, value):
        done = call(
            **{
                "_CELLGAUGE_COMPLETE": "complete_bash",
                "COMP_WORDS": f"{words} {value}",
                "COMP_CWORD": str(len(words.split())),
            }
        )
        return done.stdout.split()

    assert complete("cellgauge", "pl") == ["plan"]
    assert complete("cellgauge run --models", "pc") == ["pca"]
    assert complete("cellgauge run --models", "random,h") == ["random,hvg"]
    assert complete("cellgauge run --datasets", "pbmc6") == ["pbmc68k_reduced"]
    assert complete("cellgauge run --tasks", "cl") == ["clustering"]


def test_every_error_has_an_exit_code_of_its_own_family():
    def family(kind):
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in family(child))]

    codes = {kind.__name__: kind.exit_code for kind in family(CellgaugeError)}
    assert codes["UsageError"] == codes["UnknownNameError"] == 2
    direct = [kind.exit_code for kind in CellgaugeError.__subclasses__()]
    assert len(direct) == len(set(direct))
    assert not {0, 1} & set(direct)


def test_every_error_is_in_the_tree_at_the_top_of_its_file():
    import cellgauge.errors as errors

    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CellgaugeError)]
    assert all(f"* {name}" in errors.__doc__ for name in names)
