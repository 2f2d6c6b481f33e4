import gc

import torch

from modules.backend.loading.buffers import ALIGNMENT, TensorSpec, allocate_buffers
from tests.backend.residence import resident_bytes

BIG = TensorSpec(torch.Size((4, 1 << 20)), torch.float32)  # 16 MiB
FORMS = [
    TensorSpec(torch.Size((3,)), torch.float16),
    TensorSpec(torch.Size((5, 7)), torch.float32),
    TensorSpec(torch.Size(()), torch.float64),
    TensorSpec(torch.Size((0, 4)), torch.float32),
    TensorSpec(torch.Size((6, 5, 3, 2)), torch.float32, channels_last=True),
    BIG,
]


def test_tensors_are_as_their_forms_say():
    for tensor, form in zip(allocate_buffers(FORMS), FORMS, strict=True):
        layout = torch.channels_last if form.channels_last else torch.contiguous_format
        alike = torch.empty(form.shape, dtype=form.dtype, memory_format=layout)
        assert tensor.shape == alike.shape
        assert tensor.dtype == alike.dtype
        assert tensor.stride() == alike.stride()
        assert tensor.data_ptr() % ALIGNMENT == 0 or tensor.numel() == 0


def test_tensors_share_one_stretch_and_no_number():
    tensors = allocate_buffers(FORMS)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert all((tensor == number).all() for number, tensor in enumerate(tensors))


def test_nothing_asked_for_is_nothing():
    assert allocate_buffers([]) == []


def test_the_memory_goes_back_with_the_last_tensor():
    forms = [BIG] * 8
    tensors = allocate_buffers(forms)
    for tensor in tensors:
        tensor.fill_(1)
    filled = resident_bytes()
    last = tensors.pop()
    del tensors, tensor
    gc.collect()
    assert resident_bytes() > filled - (32 << 20)  # one tensor keeps the stretch
    del last
    gc.collect()
    assert resident_bytes() < filled - (96 << 20)
