import gc

import torch

from modules.backend.arena import ALIGNMENT, Form, allocate
from tests.backend.residence import resident_bytes

BIG = Form(torch.Size((4, 1 << 20)), torch.float32)  # 16 MiB
FORMS = [
    Form(torch.Size((3,)), torch.float16),
    Form(torch.Size((5, 7)), torch.float32),
    Form(torch.Size(()), torch.float64),
    Form(torch.Size((0, 4)), torch.float32),
    Form(torch.Size((6, 5, 3, 2)), torch.float32, channels_last=True),
    BIG,
]


def test_tensors_are_as_their_forms_say():
    for tensor, form in zip(allocate(FORMS), FORMS, strict=True):
        layout = torch.channels_last if form.channels_last else torch.contiguous_format
        alike = torch.empty(form.shape, dtype=form.dtype, memory_format=layout)
        assert tensor.shape == alike.shape
        assert tensor.dtype == alike.dtype
        assert tensor.stride() == alike.stride()
        assert tensor.data_ptr() % ALIGNMENT == 0 or tensor.numel() == 0


def test_tensors_share_one_stretch_and_no_number():
    tensors = allocate(FORMS)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert all((tensor == number).all() for number, tensor in enumerate(tensors))


def test_nothing_asked_for_is_nothing():
    assert allocate([]) == []


def test_the_memory_goes_back_with_the_last_tensor():
    forms = [BIG] * 8
    tensors = allocate(forms)
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
