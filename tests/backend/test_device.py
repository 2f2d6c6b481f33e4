from __future__ import annotations

import dataclasses

import pytest
import torch

from modules.backend.device import BF16, DEVICES, FP16, FP32, choose_device
from modules.core.errors import UserError
from modules.params.device_options import DeviceOptions


def test_the_cpu_computes_in_single_precision():
    device = choose_device(DeviceOptions(use_cpu=True))
    assert device.torch_device == torch.device("cpu")
    assert device.precisions == (FP32,)
    assert device.label.startswith("CPU (")


def test_a_requested_cpu_gives_no_warning():
    assert choose_device(DeviceOptions(use_cpu=True)).warning == ""


def test_an_unusable_gpu_gives_a_permanent_warning():
    device = choose_device(DeviceOptions(cpu_fallback_reason="the driver is too old."))
    assert device.torch_device.type == "cpu"
    assert device.warning.endswith("the driver is too old.")


@pytest.mark.skipif(
    any(row.is_available() for row in DEVICES[:-1]), reason="this machine has a GPU"
)
def test_a_machine_without_a_gpu_gives_a_warning():
    device = choose_device(DeviceOptions())
    assert device.torch_device.type == "cpu"
    assert "no supported GPU was found" in device.warning


def test_full_precision_has_no_lower_precision():
    assert choose_device(DeviceOptions(full_precision=True)).precisions == (FP32,)


def test_a_large_model_computes_in_bf16_on_a_cpu_that_can():
    device = choose_device(DeviceOptions(use_cpu=True))
    abilities = torch.cpu.get_capabilities()
    has_bf16 = abilities.get("avx512_bf16") or abilities.get("amx_bf16")
    assert device.precisions_for(1_300_000_000) == (FP32,)  # SD 2.x
    assert device.precisions_for(3_469_000_000) == ((BF16, FP32) if has_bf16 else (FP32,))
    full = choose_device(DeviceOptions(use_cpu=True, full_precision=True))
    assert full.precisions_for(3_469_000_000) == (FP32,)


def test_a_cpu_has_no_memory_of_its_own():
    assert choose_device(DeviceOptions(use_cpu=True)).free_bytes() is None


def test_the_last_device_type_is_always_available():
    assert [row.kind for row in DEVICES] == ["cuda", "xpu", "mps", "cpu"]
    assert DEVICES[-1].is_available()


@pytest.mark.parametrize("precision", [FP16, BF16, FP32])
def test_the_vae_always_computes_in_single_precision(precision):
    assert precision.vae == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_a_cuda_card_computes_in_half_precision_first():
    device = choose_device(DeviceOptions())
    assert device.torch_device.type == "cuda"
    assert device.precisions[0] == FP16
    assert device.precisions[-1] == FP32
    assert device.warning == ""


def test_a_named_device_is_that_one_or_an_error():
    before = torch.get_num_threads()
    try:
        device = choose_device(DeviceOptions(kind="cpu", use_cpu=True, threads=1))
        assert device.torch_device.type == "cpu"
        assert device.warning == ""
        assert "1 threads" in device.label
    finally:
        torch.set_num_threads(before)
    with pytest.raises(
        UserError, match=r"There is no device cuda:77 on .*\. PyTorch finds .*cpu\."
    ):
        choose_device(DeviceOptions(kind="cuda", index=77))


def test_any_card_but_no_processor_is_taken_where_a_cluster_gave_one():
    there = dataclasses.replace(
        DEVICES[-1], kind="mps", is_available=lambda: True, label=lambda _: "A card"
    )
    assert choose_device(DeviceOptions(kind="gpu"), (there, DEVICES[-1])).label == "A card"
    absent = dataclasses.replace(there, is_available=lambda: False)
    with pytest.raises(UserError, match="There is no device gpu on"):
        choose_device(DeviceOptions(kind="gpu"), (absent, DEVICES[-1]))
