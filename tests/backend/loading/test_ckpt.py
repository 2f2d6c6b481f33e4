import os
import zipfile

import pytest
import torch

from modules.backend.loading import ckpt
from modules.backend.loading.state_dict import OpenedFile
from modules.core.errors import BadFile
from modules.models.files.header import read_header

ZIPPED = pytest.mark.parametrize("zipped", [True, False])


def read_tensors(path, *, zipped):
    return ckpt.read_ckpt_tensors(path, OpenedFile(path).mapped, zipped=zipped)


def save(path, content, *, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_same(read, written):
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


@ZIPPED
def test_tensors_of_every_dtype_come_back_bit_for_bit(tmp_path, zipped):
    torch.manual_seed(0)
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    written = {str(dtype): torch.randn(3, 5).to(dtype) for dtype in floats}
    written |= {str(d): torch.arange(7).to(d) for d in (torch.int64, torch.int32, torch.uint8)}
    written |= {"flags": torch.tensor([True, False]), "scalar": torch.tensor(3.5)}
    written |= {"empty": torch.zeros(0, 4)}
    path = save(tmp_path / "a.ckpt", written, zipped=zipped)
    assert_same(read_tensors(path, zipped=zipped), written)


@ZIPPED
def test_views_share_their_storage_as_when_saved(tmp_path, zipped):
    base = torch.arange(12.0).reshape(3, 4)
    written = {"base": base, "transposed": base.T, "row": base[1], "slice": base[:, 1:3]}
    read = read_tensors(save(tmp_path / "a.ckpt", written, zipped=zipped), zipped=zipped)
    assert_same(read, written)
    assert read["row"].untyped_storage().data_ptr() == read["base"].untyped_storage().data_ptr()


@ZIPPED
def test_a_state_dict_is_found_among_other_training_data(tmp_path, zipped):
    written = {"w": torch.ones(2), "b": torch.nn.Parameter(torch.zeros(3))}
    content = {
        "state_dict": {"state_dict": written},
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"momentum": torch.ones(5)}}}],
        "size": torch.Size([2]),
        "kind": torch.float16,
    }
    path = save(tmp_path / "a.ckpt", content, zipped=zipped)
    assert set(read_tensors(path, zipped=zipped)) == {"w", "b"}
    assert torch.equal(read_tensors(path, zipped=zipped)["w"], torch.ones(2))
    assert read_header(path).tensors["b"].shape == (3,)


@ZIPPED
def test_a_module_s_own_state_dict_is_read(tmp_path, zipped):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    path = save(tmp_path / "a.ckpt", module.state_dict(), zipped=zipped)
    assert_same(read_tensors(path, zipped=zipped), module.state_dict())


@ZIPPED
def test_writing_to_a_mapped_tensor_does_not_change_the_file(tmp_path, zipped):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(1000)}, zipped=zipped)
    before = path.read_bytes()
    read_tensors(path, zipped=zipped)["w"].zero_()
    assert path.read_bytes() == before


@ZIPPED
def test_pickled_modules_are_refused_by_class_name(tmp_path, zipped):
    path = save(tmp_path / "a.ckpt", {"model": torch.nn.Linear(2, 2)}, zipped=zipped)
    with pytest.raises(BadFile, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_tensors(path, zipped=zipped)


class Nested:
    def __reduce__(self):
        return torch.load, ("other.pt",)


class Shell:
    def __reduce__(self):
        return os.system, ("touch executed",)


@ZIPPED
@pytest.mark.parametrize(("attack", "name"), [(Nested(), "load"), (Shell(), "system")])
def test_code_next_to_tensors_is_refused_by_name_and_not_run(
    tmp_path, monkeypatch, zipped, attack, name
):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"w": torch.ones(2)}, "callbacks": attack}
    path = save(tmp_path / "a.ckpt", content, zipped=zipped)
    with pytest.raises(BadFile, match=rf"not safe: it asks for [\w.]+\.{name}, which"):
        read_tensors(path, zipped=zipped)
    assert list(tmp_path.iterdir()) == [path]


@ZIPPED
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_incomplete(tmp_path, zipped, fraction):
    path = save(tmp_path / "a.ckpt", {"w": torch.ones(50_000)}, zipped=zipped)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * fraction))
    with pytest.raises(BadFile, match=r"incomplete|damaged"):
        read_tensors(path, zipped=zipped)


def test_a_compressed_archive_is_read(tmp_path):
    torch.manual_seed(0)
    path = save(tmp_path / "a.ckpt", {"w": torch.randn(1000)}, zipped=True)
    repacked = tmp_path / "b.ckpt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(repacked, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert torch.equal(
        read_tensors(repacked, zipped=True)["w"], read_tensors(path, zipped=True)["w"]
    )


def test_weights_that_unpack_to_far_more_than_the_file_are_refused(tmp_path):
    path = save(tmp_path / "a.ckpt", {"w": torch.zeros(3_000_000)}, zipped=True)
    bomb = tmp_path / "b.ckpt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(BadFile, match="damaged"):
        read_tensors(bomb, zipped=True)
