"""Which GPUs there are, and which are meant."""

import ctypes

import pytest

from cellgauge import gpus
from cellgauge.errors import GpuError, UsageError
from support import listed_gpus


def test_without_a_driver_the_error_names_it():
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        with pytest.raises(GpuError, match="NVIDIA driver is not installed") as caught:
            gpus.Nvml().devices()
        assert caught.value.lasting
        assert "--gpus none" in caught.value.hint
    else:
        pytest.skip("this machine has NVIDIA's library")


def test_a_list_stands_for_devices(tmp_path):
    inventory = listed_gpus(tmp_path, free_mb=50_000)
    assert [(one.index, one.free_mb) for one in inventory.devices()] == [("0", 50_000), ("1", 50_000)]
    assert inventory.used_mb("GPU-00") == 30_000
    assert listed_gpus(tmp_path).used_mb("GPU-10") == 0
    with pytest.raises(GpuError, match="no GPU GPU-7"):
        inventory.used_mb("GPU-7")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "list.json: "),
        ("[]", "not a list of one device"),
        ('[{"index": "0", "uuid": "../x", "memory_mb": 1}]', "device 0: uuid"),
        ('[{"index": "0", "uuid": "a"}]', "memory_mb"),
        ('[{"index": "0", "uuid": "a", "memory_mb": 1}, {"index": "0", "uuid": "b", "memory_mb": 1}]', "same index"),
        ("[3]", "device 0: entry"),
    ],
)
def test_a_wrong_list_is_refused_with_its_field(tmp_path, text, words):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(GpuError, match=words) as caught:
        gpus.Listed(tmp_path / "list.json").devices()
    assert "list.json" in caught.value.message


def test_devices_are_chosen_by_index_uuid_or_its_beginning(tmp_path):
    entry = {"name": "A", "memory_mb": 1, "free_mb": 1, "driver": ""}
    names = [("0", "GPU-aa1"), ("1:0", "MIG-b"), ("1:1", "MIG-c"), ("2", "GPU-aa2")]
    devices = [gpus.Device(index=index, uuid=uuid, **entry) for index, uuid in names]

    def chosen(wanted):
        return [one.index for one in gpus.choose(devices, wanted)]

    assert chosen("all") == ["0", "1:0", "1:1", "2"]
    assert chosen("none") == []
    assert chosen("2, 1:1,2") == ["2", "1:1"]
    assert chosen("GPU-aa1,mig-b") == ["0", "1:0"]
    for wanted, words in [("5", "no GPU '5'"), ("GPU-aa", "of 2 GPUs"), ("0,,2", "no GPU ''"), ("", "no GPU ''")]:
        with pytest.raises(UsageError, match=words) as caught:
            chosen(wanted)
        assert "1:0: A, MIG-b" in caught.value.hint
