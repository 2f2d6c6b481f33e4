"""What devices are told about how to compute."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from modules.backend.device import DEVICES
from modules.backend.tuning import TUNINGS, find_tuning, lay_out, use_tuning
from tests.backend.checkpoints import tiny_modules

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def switches() -> tuple[str, str, bool]:
    backends = torch.backends
    return (
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.benchmark,
    )


def test_every_kind_of_device_has_a_row_with_its_reasons():
    assert [row.kind for row in TUNINGS] == [row.kind for row in DEVICES]
    choices = [choice for row in TUNINGS for name, choice in vars(row).items() if name != "kind"]
    assert all(choice.reason for choice in choices)


def test_a_device_without_a_row_computes_like_a_processor():
    assert find_tuning(torch.device("meta")) is find_tuning(CPU)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float16, "tf32"), (torch.bfloat16, "tf32"), (torch.float32, "ieee")],
)
def test_full_precision_is_exact_on_a_card_and_the_switches_come_back(
    dtype: torch.dtype, precision: str
):
    before = switches()
    with pytest.raises(ValueError), use_tuning(CUDA, dtype):
        assert switches() == (precision, precision, False)
        raise ValueError
    assert switches() == before


def test_a_processor_leaves_the_switches_alone():
    before = switches()
    with use_tuning(CPU, torch.float16):
        assert switches() == before


def test_the_kernels_of_a_card_lie_with_their_channels_innermost_and_compute_the_same():
    stock = tiny_modules()[1]
    vae = copy.deepcopy(stock)
    lay_out(vae, CPU)
    kernels = [one.weight for one in vae.modules() if isinstance(one, nn.Conv2d)]
    assert all(kernel.is_contiguous() for kernel in kernels)
    lay_out(vae, CUDA)
    layouts = {kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels}
    assert layouts == {True}
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            vae.decode(latents)[0], stock.decode(latents)[0], rtol=1e-4, atol=1e-4
        )
