import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modules.core.errors import BadFile, StorageError, UserError
from modules.models.files.convert import convert_to_safetensors
from modules.models.files.header import read_header

ZIPPED = pytest.mark.parametrize("zipped", [True, False])


def save(path, contents, *, zipped=True):
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    return path


@ZIPPED
def test_converted_tensors_keep_names_and_values(tmp_path, zipped):
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "whole": whole,
        "transposed": whole.T,
        "slice": whole[1:3, 2:4],
        "half": torch.randn(3, 5).half(),
        "bfloat16": torch.randn(7).bfloat16(),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(875000),
        "empty": torch.empty(0, 4),
        "float64": torch.arange(3, dtype=torch.float64),
    }
    path = save(tmp_path / "a.ckpt", {"state_dict": tensors, "epoch": 3}, zipped=zipped)
    target = convert_to_safetensors(path)
    assert target == tmp_path / "a.safetensors"
    converted = load_file(target)
    assert converted.keys() == tensors.keys()
    for name, value in tensors.items():
        assert converted[name].dtype == value.dtype
        assert torch.equal(converted[name], value), name
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "converted_from": "a.ckpt"}
    assert set(read_header(target).tensors) == set(tensors)
    assert path.exists()
    assert {file.name for file in tmp_path.iterdir()} == {"a.ckpt", "a.safetensors"}


def test_an_existing_file_is_not_overwritten(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"'a\.safetensors' already exists"):
        convert_to_safetensors(path)
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"


def test_a_ckpt_with_safetensors_content_is_refused(tmp_path):
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


def test_leftovers_of_a_killed_conversion_are_removed(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})
    (tmp_path / ".a.safetensors.1-2.part").touch()
    convert_to_safetensors(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ckpt", "a.safetensors"]


def test_a_full_disk_is_a_storage_error_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(2)})

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        convert_to_safetensors(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_damaged_compressed_storage_is_an_error_in_words(tmp_path):
    stored = save(tmp_path / "stored.ckpt", {"w": torch.randn(5000)})
    path = tmp_path / "packed.ckpt"
    with (
        zipfile.ZipFile(stored) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
        offset = packed.getinfo("stored/data/0").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 5000 : offset + 5100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"'packed\.ckpt' is incomplete or damaged"):
        convert_to_safetensors(path)
    assert not path.with_suffix(".safetensors").exists()
