import pytest
import torch

from modules.backend.components import Precision
from modules.backend.loading.buffers import ALIGNMENT, TensorSpec, allocate_buffers, materialize
from modules.backend.loading.loader import load_components
from modules.backend.loading.state_dict import read_state_dict
from modules.models.files.header import read_header
from tests.backend.checkpoints import same, tiny_modules, tiny_weights, write_checkpoint

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BIG = TensorSpec(torch.Size((4, 1 << 20)), torch.float32)  # 16 MiB
SPECS = [
    TensorSpec(torch.Size((3,)), torch.float16),
    TensorSpec(torch.Size((5, 7)), torch.float32),
    TensorSpec(torch.Size(()), torch.float64),
    TensorSpec(torch.Size((0, 4)), torch.float32),
    TensorSpec(torch.Size((6, 5, 3, 2)), torch.float32),
    BIG,
]


def pad_header(path, count):
    """Make the header of a .safetensors file longer, which shifts its tensors."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length] + b" " * count
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    return path


def materialize_on_cpu(weights, dtype):
    return materialize(weights, dtype, CPU, {})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_values_equal_a_plain_conversion_bit_for_bit(stored, dtype):
    weights = list(tiny_weights(dtype=stored).values())
    for copy, weight in zip(materialize_on_cpu(weights, dtype), weights, strict=True):
        assert torch.equal(copy, weight.to(dtype))


def test_kernels_are_contiguous_on_the_cpu():
    """As in the stock pipelines: the group norms need contiguous inputs, and a layout that alternates costs copies."""
    kernel = torch.ones(4, 8, 3, 3).contiguous(memory_format=torch.channels_last)
    (copy,) = materialize_on_cpu([kernel], torch.float32)
    assert copy.is_contiguous()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_with_unaligned_tensors_loads_the_same(tmp_path, count, dtype):
    path = pad_header(write_checkpoint(tmp_path / "a.safetensors"), count)
    components = load_components(
        path, path.with_suffix(".yaml"), Precision(dtype, torch.float32, dtype)
    )
    unet, vae, _ = tiny_modules()
    state = components.unet.state_dict()
    assert all(torch.equal(state[key], value.to(dtype)) for key, value in unet.state_dict().items())
    assert same(components.vae, vae)
    assert all(parameter.data_ptr() % 4 == 0 for parameter in components.vae.parameters())


def test_an_odd_item_count_does_not_shift_the_next_tensor(tmp_path):
    weights = {"a": torch.ones(3, dtype=torch.float16), "b": torch.ones(5, dtype=torch.float16)}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights)
    state_dict = read_state_dict(path, read_header(path))
    begin = min(tensor.data_ptr() for tensor in state_dict.values())
    assert {tensor.data_ptr() - begin for tensor in state_dict.values()} <= {0, 6, 10}


def test_buffers_match_their_specs():
    for tensor, spec in zip(allocate_buffers(SPECS), SPECS, strict=True):
        expected = torch.empty(spec.shape, dtype=spec.dtype)
        assert tensor.shape == expected.shape
        assert tensor.dtype == expected.dtype
        assert tensor.stride() == expected.stride()
        assert tensor.data_ptr() % ALIGNMENT == 0 or tensor.numel() == 0


def test_buffers_share_one_storage_without_overlap():
    tensors = allocate_buffers(SPECS)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    for index, tensor in enumerate(tensors):
        tensor.fill_(index)
    assert all((tensor == index).all() for index, tensor in enumerate(tensors))


def test_no_specs_give_no_buffers():
    assert allocate_buffers([]) == []
