import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modules.core.errors import BadFile, StorageError, UserError
from modules.models.convert import convert_to_safetensors
from modules.models.files.header import read_header

ZIPPED = pytest.mark.parametrize("zipped", [True, False])


def save(path, content, *, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@ZIPPED
def test_the_same_numbers_stand_under_the_same_names(tmp_path, zipped):
    whole = torch.arange(24.0).reshape(4, 6)
    content = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[1:3, 2:4],
        "half": torch.randn(3, 5).half(),
        "brain": torch.randn(7).bfloat16(),
        "byte": torch.tensor([True, False, True]),
        "count": torch.tensor(875000),
        "nothing": torch.empty(0, 4),
        "wide": torch.arange(3, dtype=torch.float64),
    }
    path = save(tmp_path / "a.ckpt", {"state_dict": content, "epoch": 3}, zipped=zipped)
    target = convert_to_safetensors(path)
    assert target == tmp_path / "a.safetensors"
    read = load_file(target)
    assert read.keys() == content.keys()
    for name, value in content.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value), name
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "converted_from": "a.ckpt"}
    assert set(read_header(target).tensors) == set(content)
    assert path.exists()
    assert {file.name for file in tmp_path.iterdir()} == {"a.ckpt", "a.safetensors"}


def test_nothing_is_overwritten(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"'a\.safetensors' already exists"):
        convert_to_safetensors(path)
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"


def test_what_is_safetensors_inside_is_told(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    convert_to_safetensors(path).rename(tmp_path / "b.ckpt")
    with pytest.raises(UserError, match="already"):
        convert_to_safetensors(tmp_path / "b.ckpt")


@ZIPPED
def test_a_truncated_file_leaves_nothing_behind(tmp_path, zipped):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(5000)}, zipped=zipped)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(BadFile):
        convert_to_safetensors(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_what_a_killed_conversion_left_is_removed(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    (tmp_path / ".a.safetensors.1-2.part").touch()
    convert_to_safetensors(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ckpt", "a.safetensors"]


def test_a_disk_that_refuses_is_a_sentence_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        convert_to_safetensors(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]
