import json

import pytest

from cellgauge_model import contract
from cellgauge_model.contract import Condition, Item, RunRequest, RunResult

REQUEST = RunRequest(1, "j", "predict", "default", [Item("a", "a.h5ad", conditions=[Condition("c", ["G1", "G2"])])])


def test_a_request_comes_back_as_it_went(tmp_path):
    contract.write_atomically(tmp_path / "request.json", contract.to_json(REQUEST))
    assert contract.read_request(tmp_path) == REQUEST
    assert [path.name for path in tmp_path.iterdir()] == ["request.json"]


def test_masked_genes_stand_in_a_request_only_where_there_are_any():
    assert "masked" not in contract.to_json(REQUEST), "an older copy of the contract refuses words unknown to it"
    shown = Item("a", "a.h5ad", conditions=[Condition("c", masked=["G1"]), Condition("d")], masked="a+masked.h5ad")
    request = RunRequest(1, "j", "predict", "default", [shown])
    raw = json.loads(contract.to_json(request))
    assert [one.get("masked") for one in raw["items"][0]["conditions"]] == [["G1"], None]
    assert contract.request_from_dict(raw) == request


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contract": 2}, "contract version 2; this model speaks 1"),
        ({"verb": "train"}, "unknown verb 'train'"),
        ({"surprise": 1}, "surprise"),
        ({"items": [{"name": "a"}]}, "data"),
        ({"items": 5}, "not a request"),
    ],
)
def test_a_request_of_another_kind_is_refused(change, words):
    raw = {**json.loads(contract.to_json(REQUEST)), **change}
    with pytest.raises(contract.BadRequest, match=words):
        contract.request_from_dict(raw)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "request.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(contract.BadRequest):
        contract.read_request(tmp_path)


def test_a_missing_request_is_refused(tmp_path):
    with pytest.raises(contract.BadRequest, match=r"request\.json"):
        contract.read_request(tmp_path)


def test_numbers_that_json_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        contract.to_json(RunResult(1, "ok", timings={"embed": float("nan")}))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    contract.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        contract.write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
