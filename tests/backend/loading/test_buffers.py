import sys

import pytest
import torch

from modules.backend.components import Precision
from modules.backend.loading import madvise
from modules.backend.loading.buffers import materialize
from modules.backend.loading.loader import load_components
from modules.backend.loading.state_dict import read_state_dict
from modules.models.files.header import read_header
from tests.backend.checkpoints import same, tiny_modules, tiny_weights, write_checkpoint

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def shifted(path, count):
    """Make the header of a .safetensors file longer, so that its tensors lie elsewhere."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length] + b" " * count
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    return path


def place(weights, dtype):
    return materialize(weights, dtype, CPU, lambda number: None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_numbers_are_those_of_a_plain_conversion_bit_for_bit(stored, dtype):
    weights = list(tiny_weights(dtype=stored).values())
    for copy, weight in zip(place(weights, dtype), weights, strict=True):
        assert torch.equal(copy, weight.to(dtype))


def test_kernels_are_laid_out_with_channels_last_in_full_precision():
    (kernel,) = place([torch.ones(4, 8, 3, 3, dtype=torch.float16)], torch.float32)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    (kernel,) = place([torch.ones(4, 8, 3, 3)], torch.float16)
    assert kernel.is_contiguous()


def test_what_is_right_as_it_is_is_not_copied():
    right, wrong = torch.ones(3), torch.ones(3, dtype=torch.float16)
    copied = []
    mine, other = materialize([right, wrong], torch.float32, CPU, copied.append)
    assert mine is right
    assert torch.equal(other, right)
    assert copied == [1]


def test_memory_of_the_file_is_given_back_only_when_it_was_copied(tmp_path, monkeypatch):
    path = write_checkpoint(tmp_path / "a.safetensors", dtype=torch.float16)
    weights = read_state_dict(path, read_header(path))
    given = []
    monkeypatch.setattr(madvise, "drop_pages", lambda begin, end: given.append(end - begin))
    half = Precision(torch.float16, torch.float16, torch.float16)
    load_components(path, path.with_suffix(".yaml"), half)
    assert given == []
    load_components(
        path, path.with_suffix(".yaml"), Precision(torch.float32, torch.float32, torch.float32)
    )
    assert sum(given) == sum(weight.nbytes for weight in weights.values())


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_whose_tensors_lie_at_odd_addresses_loads_the_same(tmp_path, count, dtype):
    path = shifted(write_checkpoint(tmp_path / "a.safetensors"), count)
    components = load_components(
        path, path.with_suffix(".yaml"), Precision(dtype, torch.float32, dtype)
    )
    unet, vae, _ = tiny_modules()
    state = components.unet.state_dict()
    assert all(torch.equal(state[key], value.to(dtype)) for key, value in unet.state_dict().items())
    assert same(components.vae, vae)
    assert all(parameter.data_ptr() % 4 == 0 for parameter in components.vae.parameters())


def test_an_odd_count_copies_nothing_that_lies_behind_it(tmp_path):
    weights = {"a": torch.ones(3, dtype=torch.float16), "b": torch.ones(5, dtype=torch.float16)}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    read = read_state_dict(path, read_header(path))
    begin = min(tensor.data_ptr() for tensor in read.values())
    assert {tensor.data_ptr() - begin for tensor in read.values()} <= {0, 6, 10}


def test_it_loads_where_memory_takes_no_advice(tmp_path, monkeypatch):
    path = write_checkpoint(tmp_path / "a.safetensors", dtype=torch.float16)
    monkeypatch.setattr(sys, "platform", "darwin")
    madvise._madvise.cache_clear()
    full = Precision(torch.float32, torch.float32, torch.float32)
    state = load_components(path, path.with_suffix(".yaml"), full).unet.state_dict()
    madvise._madvise.cache_clear()
    unet = tiny_modules()[0].state_dict()
    assert all(torch.equal(state[key], value.half().float()) for key, value in unet.items())
