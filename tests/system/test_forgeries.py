"""A model whose output is not what it seems: it is read without trust, kept without harm, and shown without tricks."""

import json
import os
import pty
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from attack import AnotherUser, attacker, told
from cellgauge import disk
from cellgauge.engines.docker_client import connect
from place import Place
from support import MODELS, closed_to_others, entry

pytestmark = pytest.mark.docker
VIOLATION = "contract_violation"


@pytest.fixture
def attack(models, run_job, tmp_path):
    yield attacker(run_job, models["adversary"])
    disk.remove(tmp_path / "job")
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("forgery", "words"),
    [
        ("symlink=result.json:/etc/passwd", r"result\.json: Too many levels of symbolic links"),
        ("symlink=embedding.npy:/etc/passwd", r"embedding\.npy: Too many levels of symbolic links"),
        ("symlink=cells.txt:/job/input/request.json", r"cells\.txt: Too many levels of symbolic links"),
        ("symlink=embedding.npy:/dev/zero", r"embedding\.npy: Too many levels of symbolic links"),
        ("hardlink=embedding.npy:/job/input/item0.h5ad", r"embedding\.npy: No such file"),
        ("hardlink=cells.txt:/etc/passwd", r"cells\.txt: No such file"),
        ("fifo=result.json", r"result\.json is not a plain file"),
        ("fifo=cells.txt", r"cells\.txt is not a plain file"),
        ("sock=result.json", r"result\.json: No such device"),
        ("device=embedding.npy", r"embedding\.npy: No such file"),
        ("folder=embedding.npy", r"embedding\.npy is not a plain file"),
        ("folder=result.json", r"result\.json is not a plain file"),
        ("item_elsewhere=/etc", "output folder 'item0': Not a directory"),
        ("item_elsewhere=moved", "output folder 'item0': Not a directory"),
        ("item_elsewhere=../input", "output folder 'item0': Not a directory"),
        ("item_is_a_file", r"wrote no result\.json"),
        ("header=30", "not an .npy file"),
        ("result=huge", "more than the 4194304 allowed"),
        ("result=long", "unknown status 'x{200}…'"),
        ("result=deep", "is not JSON"),
        ("result=deep-in-place", "warnings"),
        ("result=empty", "is not JSON"),
        ("result=list", "dictionary"),
        ("result=infinite", "is not JSON: Out of range float"),
        ("result=infinite-word", "is not JSON: Out of range float"),
        ("result=half-a-letter", "surrogates not allowed"),
    ],
)
def test_what_is_not_a_plain_output_is_refused(attack, forgery, words):
    record, _ = attack("good", forgery)
    assert record.state == VIOLATION
    assert re.search(words, record.reason), record.reason
    assert len(record.reason) < 500


@pytest.mark.parametrize(
    "oddity",
    ["odd_names", "item_closed", "output_closed", "result=traversal", "result=loud", "progress_elsewhere=/etc/passwd"],
)
def test_what_is_odd_and_harmless_is_taken(attack, oddity):
    record, _ = attack("good", oddity)
    assert (record.state, record.reason) == ("ok", "")
    assert len(record.items[0].warnings) <= 50
    assert all(len(text) <= 500 for text in record.items[0].warnings)


def test_a_flood_of_progress_and_nonsense_in_it_do_no_harm(attack):
    record, folder = attack("progress=20", "progress_lies", "good")
    assert record.state == "ok"
    assert (folder / "output" / "progress.jsonl").stat().st_size > 20_000_000


def test_a_long_reason_is_cut(attack):
    record, _ = attack("good", "result=verbose")
    assert (record.state, record.reason) == ("model_error", "m" * 2000)
    record.model_dump_json()


def test_no_program_is_left_that_runs_as_its_caller(attack):
    _, folder = attack("good", "setuid_program")
    assert told(folder)["setuid_program"] == "0o104755", "in there it can be made"
    modes = [path.stat().st_mode for path in (folder / "output").rglob("program")]
    assert [stat.S_IMODE(mode) for mode in modes] == [0o755, 0o777]


class TestAnotherUser:
    """What root's rights would hide: the same as a user of their own, as on any shared server."""

    @pytest.fixture
    def tmp_path(self):
        """A folder that others may enter; those of pytest are closed to them."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            Path(name).chmod(0o755)
            yield Path(name)
            disk.remove(Path(name) / "job")

    @pytest.fixture
    def another(self):
        if os.getuid() != 0:
            return None  # whoever runs this is such a user
        if reason := closed_to_others():
            pytest.skip(reason)
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        path = Path(address.removeprefix("unix://"))
        if not path.is_socket():
            pytest.skip(f"another user needs a socket to the engine, and it answers at {address}")
        return AnotherUser(12345, path.stat().st_gid)

    def test_a_program_of_roots_gains_nothing(self, attack, another):
        record, folder = attack("setuid", "status", "write=/dev/x", "good", engine=another)
        uid = another.uid if another else os.getuid()
        assert record.state == "ok"
        assert told(folder)["setuid"] == str(uid)
        assert told(folder)["status"]["Uid"].split() == [str(uid)] * 4
        assert told(folder)["write=/dev/x"] == "refused: Permission denied"
        assert (folder / "output" / "told.json").stat().st_uid == uid

    @pytest.mark.parametrize(
        ("steps", "state", "words"),
        [
            (["hidden=output"], VIOLATION, "wrote more than its limit"),
            (["hidden=scratch"], VIOLATION, "wrote more than its limit"),
            (["deleted=output"], VIOLATION, "wrote more than its limit"),
            (["good", "item_closed"], "ok", ""),
            (["good", "output_closed"], "ok", ""),
        ],
    )
    def test_what_is_hidden_from_a_user_is_found(self, attack, another, steps, state, words):
        record, _ = attack(*steps, engine=another)
        assert (record.state, words in record.reason) == (state, True), record.reason


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, made_dataset):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"made": entry(made_dataset.path)}}))
    return Place(tmp_path, MODELS, catalog)


def on_a_terminal(here, *words, **options):
    """What a terminal gets to see of a command."""
    leader, follower = pty.openpty()
    process = here.start(*words, stdin=follower, stdout=follower, stderr=follower, **options)
    os.close(follower)
    seen = b""
    with suppress(OSError):  # the other end is closed
        while chunk := os.read(leader, 1 << 16):
            seen += chunk
    os.close(leader)
    process.wait(60)
    return seen


def test_a_model_does_not_write_to_the_terminal(here, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    seen = {"run": on_a_terminal(here, "-m", "adversary:escapes", "--gpus", "none")}
    assert b"forged" in seen["run"], "it is shown, and does nothing"
    (job,) = (here.results / "jobs").glob("[!.]*/*")
    assert b"\x1b]0;owned" in (job / "log.txt").read_bytes(), "it did say it"
    for command, name in (("show", "latest"), ("show", job.name), ("logs", job.name)):
        seen[f"{command} {name}"] = on_a_terminal(here, name, command=command)
    for words, text in seen.items():
        tricks = (b"\x1b[2J", b"\x1b]", b"\x07", b"\x08", b"\x7f", "\x9b".encode(), "\u202e".encode())
        assert [trick for trick in tricks if trick in text] == [], words
        assert b"owned" in text, words
    here.nothing_is_left()


def need_a_bridge():
    """Skip where `--allow network` has no network to give: a second engine on a machine may have removed it."""
    found = [one for one in connect().networks.list() if one.name == "bridge"]
    name = found[0].attrs["Options"].get("com.docker.network.bridge.name", "docker0") if found else "none"
    if not Path("/sys/class/net", name).exists():
        pytest.skip(f"this engine has no bridge ({name})")


@pytest.mark.parametrize(
    ("allowed", "aspect", "without", "with_it"),
    [("network", "network", "none", "bridge"), ("writable-root", "root", "read-only", "writable")],
)
def test_a_relaxation_is_part_of_what_was_done_and_is_recorded_and_shown(here, allowed, aspect, without, with_it):
    if allowed == "network":
        need_a_bridge()
    folders = []
    for words in ([], ["--allow", allowed]):
        done = here.run("-m", "adversary:relaxed", "--gpus", "none", "--json", *words)
        assert done.returncode == 0, done.stderr
        folders += set((here.results / "jobs").glob("[!.]*/*")) - set(folders)
    assert len(folders) == 2, "it is another job, and not the same one used again"
    records = [json.loads((folder / "record.json").read_text()) for folder in folders]
    assert [one["job"]["allow"] for one in records] == [[], [allowed]]
    changed = {name for name, value in records[0]["sandbox"].items() if records[1]["sandbox"][name] != value}
    assert changed == {aspect}
    assert [one["sandbox"][aspect] for one in records] == [without, with_it]
    strict, relaxed = (told(folder) for folder in folders)
    assert (strict["interfaces"], strict["write=/var/tmp/x"]) == (["lo"], "refused: Read-only file system")
    assert relaxed["interfaces"] == (["eth0", "lo"] if allowed == "network" else ["lo"])
    assert (relaxed["write=/var/tmp/x"] == "done") == (allowed == "writable-root")
    shown = [" ".join(here.run(folder.name, command="show").stdout.split()) for folder in folders]
    assert "allowed" not in shown[0]
    assert f"allowed {allowed}" in shown[1]
    assert f"{aspect}: {with_it}" in shown[1]
    here.nothing_is_left()
